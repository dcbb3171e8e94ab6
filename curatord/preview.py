"""A preview of sequences, before a run is spent on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from curatord.sequence import HEAD_PRESENT, TAIL_PRESENT, PackedSequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """Result of `PackedStream.dry_run`."""

    sequences: int
    tokens: int
    padding: float  # share of the places in the rows that hold no token
    segments: int
    segments_per_sequence: float
    longest_segment: int  # tokens
    fragments: int  # segments that lack the head or the tail of their document
    attention: float  # Σ length² over segments, as a share of that of rows without boundaries


def preview(rows: Sequence[PackedSequence]) -> Preview:
    """Counted over sequences that hold something."""
    rows = [row for row in rows if not row.is_filler]
    places = sum(row.context_length for row in rows)
    tokens = sum(len(row.tokens_T) for row in rows)
    lengths = [int(length) for row in rows for length in row.segment_lengths_S]
    whole = HEAD_PRESENT | TAIL_PRESENT
    squares = sum(row.context_length**2 for row in rows)
    return Preview(
        sequences=len(rows),
        tokens=tokens,
        padding=1 - tokens / places if places else 0.0,
        segments=len(lengths),
        segments_per_sequence=len(lengths) / len(rows) if rows else 0.0,
        longest_segment=max(lengths, default=0),
        fragments=sum(int(flag) & whole != whole for row in rows for flag in row.segment_flags_S),
        attention=sum(length**2 for length in lengths) / squares if squares else 0.0,
    )
