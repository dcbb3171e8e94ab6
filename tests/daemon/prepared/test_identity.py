"""The options that both sides must agree on, and those that the deciding side has for itself."""

from __future__ import annotations

import pytest

from consumers.formats.prepared import decode_message, encode_message
from curatord.errors import IdentityError
from tests.daemon.prepared.parts import preparer, usual
from tests.simulation.world import make_config, make_rows


def test_options_of_the_lane_alone_do_not_count() -> None:
    lane = make_config(quality={"preset": "fineweb"}, output={"holdout": 0.5}, dedup={"near": {"min_similarity": 0.9}})

    assert preparer(lane).identity == preparer(make_config()).identity


def test_rows_that_were_prepared_otherwise_are_refused_with_both_values() -> None:
    raw = encode_message(usual().prepare(make_rows(1, 4)))
    other = preparer(make_config(input={"id_scope": "source"}, quality={"thresholds": {"gopher_too_few_words": 20}}))

    with pytest.raises(
        IdentityError, match=r"thresholds: it was prepared with \{\}, now it is .{2}gopher_too_few_words"
    ):
        decode_message(raw, other.identity, "it")
    with pytest.raises(IdentityError, match='id_scope: it was prepared with "global", now it is "source"'):
        decode_message(raw, other.identity, "it")
