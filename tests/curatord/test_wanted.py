"""A job trains on one tokenizer and one context length, those that it names or the first that it meets."""

from __future__ import annotations

import msgspec
import pytest

from curatord.errors import ForeignStream
from curatord.position import StreamState
from curatord.wanted import Wanted
from tests.curatord.streams import CONTEXT, DIGEST, row

ROW = msgspec.structs.replace(row(3), tokenizer_digest=DIGEST)
OTHER_TOKENIZER = msgspec.structs.replace(ROW, tokenizer_digest=DIGEST + 1)
OTHER_LENGTH = msgspec.structs.replace(ROW, context_length=CONTEXT * 2)


@pytest.mark.parametrize("other", [OTHER_TOKENIZER, OTHER_LENGTH])
def test_the_first_sequence_sets_what_is_open(other: object) -> None:
    wanted = Wanted("folder", "", 0)
    assert wanted.check(ROW) is ROW
    with pytest.raises(ForeignStream):
        wanted.check(other)  # type: ignore[arg-type]


def test_the_place_of_a_missing_sequence_fits_every_job() -> None:
    missing = msgspec.structs.replace(OTHER_TOKENIZER, context_length=0)
    assert Wanted("folder", f"{DIGEST:016x}", CONTEXT).check(missing) is missing


def test_a_state_sets_and_is_held_to_the_same() -> None:
    wanted = Wanted("folder", "", 0)
    wanted.check_state(
        StreamState(generation=0, next_seq_no=5, tokenizer_digest=f"{DIGEST:016x}", context_length=CONTEXT)
    )

    assert wanted.check(ROW) is ROW
    for other in ({"tokenizer_digest": "00"}, {"context_length": CONTEXT + 1}):
        with pytest.raises(ForeignStream, match="the state was taken"):
            wanted.check_state(StreamState(generation=0, next_seq_no=5, **other))  # type: ignore[arg-type]
