"""Where a training job stands in a stream, as one number that all ranks agree on."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

import msgspec

from curatord.errors import StreamError


class StreamState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `PackedStream.state_dict`; under 1 kB."""

    generation: int
    next_seq_no: int  # of the first sequence that no rank has consumed
    skips: list[tuple[int, int]] = []  # ranges ahead that are left out, `first <= seq_no < end`, in order
    source: str = ""  # id of the topic
    tokenizer_digest: str = ""  # hexadecimal; "" before the first sequence
    context_length: int = 0  # tokens; 0 before the first sequence
    version: Literal[1] = 1

    def advanced(self, count: int) -> StreamState:
        """After `count` more sequences, of all ranks together, were consumed.

        >>> StreamState(generation=0, next_seq_no=10, skips=[(12, 16)]).advanced(4).next_seq_no
        18
        """
        at, skips = self.next_seq_no, []
        for first, end in self.skips:
            if count >= first - at:
                count -= first - at
                at = end
            else:
                skips.append((first, end))
        return msgspec.structs.replace(self, next_seq_no=at + count, skips=skips)

    def skipping(self, first: int, end: int) -> StreamState:
        """With one more range to leave out. Raises ValueError if it overlaps another."""
        ranges = sorted([*self.skips, (first, end)])
        if any(before[1] > after[0] for before, after in pairwise(ranges)):
            raise ValueError(f"some of the sequences {first} to {end - 1} are skipped already")
        return msgspec.structs.replace(self, skips=ranges)

    def leaves_out(self, seq_no: int) -> bool:
        """Whether a sequence is in a range to be skipped."""
        return any(first <= seq_no < end for first, end in self.skips)


def state_from(values: Mapping[str, Any]) -> StreamState:
    """The state in what `state_dict` returned. Raises `StreamError`."""
    try:
        return msgspec.convert(dict(values), StreamState)
    except msgspec.ValidationError as error:
        raise StreamError(f"this is no state of a PackedStream ({error}): give what state_dict() returned") from None
