"""Edits: what was masked in a document, by place and kind, as it stands in prepared rows and in segments."""

from __future__ import annotations

from collections.abc import Mapping


def encode_edits(counts: Mapping[tuple[str, str], int]) -> str:
    """Numbers by (place, kind) as one string; "" for none.

    >>> encode_edits({("text", "email"): 2, ("url", "ip"): 1})
    'text email 2, url ip 1'
    """
    return ", ".join(f"{place} {kind} {count}" for (place, kind), count in counts.items())


def decode_edits(edits: str) -> dict[tuple[str, str], int]:
    """The numbers.

    >>> decode_edits("text email 2, url ip 1")
    {('text', 'email'): 2, ('url', 'ip'): 1}
    """
    found = {}
    for edit in edits.split(", ") if edits else ():
        place, kind, count = edit.split(" ")
        found[place, kind] = int(count)
    return found
