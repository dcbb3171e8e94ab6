"""Looks at a stream from the side: over a connection of their own, without moving a reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from curatord.open_source import open_source
from curatord.sequence import EndOfStream, PackedSequence
from curatord.source import Bounds, Plan


def bounds_of(url: str, client_options: Mapping[str, Any], generation: int | None, archive: str = "") -> Bounds:
    """The bounds of a generation, or of the newest, as they are now."""
    source = open_source(url, client_options, archive)
    try:
        return source.bounds(generation)
    finally:
        source.close()


def read_again(
    url: str, client_options: Mapping[str, Any], generation: int, first: int, end: int, archive: str = ""
) -> Iterator[PackedSequence]:
    """The sequences `first <= seq_no < end` of all ranks; waits for those that are still to come."""
    source = open_source(url, client_options, archive)
    try:
        stop_from = max(first, min(end, source.bounds(generation).end))
        for item in source.read(Plan(generation=generation, first=first, stop_from=stop_from)):
            if isinstance(item, EndOfStream) or (item is not None and item.seq_no >= end):
                return
            if item is not None:
                yield item.load()
                if item.seq_no == end - 1:
                    return
    finally:
        source.close()
