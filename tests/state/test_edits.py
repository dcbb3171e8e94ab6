"""Edits as one string."""

from __future__ import annotations

from state.edits import decode_edits, encode_edits


def test_numbers_come_back_from_the_string() -> None:
    counts = {("text", "email"): 2, ("text", "national_id"): 1, ("url", "ip"): 12}

    assert decode_edits(encode_edits(counts)) == counts
    assert decode_edits(encode_edits({})) == {}
