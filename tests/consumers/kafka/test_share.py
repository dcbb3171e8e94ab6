"""The mark in a worker's offset counts lives, and nothing that another client wrote there."""

from __future__ import annotations

import pytest

from consumers.kafka.share import Mark, decode_mark, marked_offset


def test_a_mark_goes_with_the_offset() -> None:
    offset = marked_offset(42, Mark(lives=3, alone=1))

    assert offset.offset == 42
    assert decode_mark(offset.metadata) == Mark(lives=3, alone=1)


@pytest.mark.parametrize("metadata", ["", "null", "{}", "text", '["a", 1]', "[1, 2, 3, 4, 5"])
def test_metadata_of_another_client_tell_of_no_life(metadata: str) -> None:
    assert decode_mark(metadata) == Mark()
