"""The libraries that own vocabularies, where they need help."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import pytest

from packing.encoders import PART_CHARACTERS, TiktokenEncoder, is_panic, with_version

BYTES = [bytes([b]) for b in range(256)]


def test_a_run_on_which_tiktokens_engine_gives_up_is_encoded_in_parts() -> None:
    encoder = TiktokenEncoder.of([*BYTES, b"  "], r"\s+(?!\S)|\s+|\S+")
    with pytest.raises(BaseException, match="StackOverflow") as caught:
        encoder.encoding.encode_ordinary("a" + " " * 1_100_000 + "b")
    assert is_panic(caught.value)

    text = "a" + " " * 1_100_000 + "b"
    ids = encoder.encode(["a b", text])

    assert len(text) > PART_CHARACTERS
    assert ids[0].tolist() == [97, 32, 98]
    assert b"".join([*BYTES, b"  "][token] for token in ids[1].tolist()).decode() == text
    assert len(ids[1]) < 560_000


def test_no_texts_have_no_ids() -> None:
    ids = TiktokenEncoder.of(BYTES, r"\S+|\s+").encode([])

    assert len(ids) == 0
    assert ids.values_T.dtype == np.uint32


def test_a_library_without_its_metadata_is_named_without_a_version() -> None:
    assert with_version("tiktoken") == f"tiktoken {version('tiktoken')}"
    assert with_version("no-such-package") == "no-such-package"
