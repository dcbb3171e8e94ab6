"""Where a stream's sequences come from: the seam between `PackedStream` and a topic or a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from curatord.sequence import EndOfStream, PackedSequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The sequences of one generation in a source: `first <= seq_no < end`."""

    generation: int
    first: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The sequences for one reader: of a generation, from `first` on, every `seq_no` that is `rank` modulo `world`."""

    generation: int
    first: int
    stop_from: int  # ends before this number are passed
    rank: int = 0
    world: int = 1
    fill_gaps: bool = False  # give an empty sequence for one that is missing, instead of raising

    def start(self) -> int:
        """The first number that is wanted."""
        return self.first + (self.rank - self.first) % self.world


@dataclass(frozen=True, slots=True)
class Found:
    """One sequence, decoded only by the reader that needs it."""

    seq_no: int
    quantum: int  # sequences that become visible together
    load: Callable[[], PackedSequence]


class Source(Protocol):
    """A topic or a folder. One reader at a time, which opens and closes it."""

    identity: str  # tells it from another of the same name; "" where nothing does

    def bounds(self, generation: int | None) -> Bounds:
        """The sequences there are now, of a generation or of the newest. Raises `StreamError` if it is not there."""

    def read(self, plan: Plan) -> Iterator[Found | EndOfStream | None]:
        """The sequences of a plan, in order; None before a short wait for more; an end where one was set.

        Raises `SequenceGap`, `RetentionLost`, `GenerationEnded`, `BrokerUnavailable`.
        """

    def stop_from(self, generation: int, first: int) -> int:
        """End markers below this number are stale for a job that starts at `first` now."""

    def newest(self) -> int:
        """About the `seq_no` after the last one of the generation that is read; may be a little old."""

    def close(self) -> None:
        """Let connections and files go."""


def missing(seq_no: int, generation: int) -> Found:
    """An empty sequence in the place of one that is gone."""

    def load() -> PackedSequence:
        return PackedSequence(
            seq_no=seq_no,
            generation=generation,
            context_length=0,
            tokens_T=np.zeros(0, np.uint32),
            segment_lengths_S=np.zeros(0, np.uint32),
            segment_offsets_S=np.zeros(0, np.uint32),
            segment_flags_S=np.zeros(0, np.uint8),
            doc_ids=(),
            clusters_S=np.zeros(0, np.int32),
            policy_versions_S=np.zeros(0, np.int32),
            propensities_S=np.zeros(0, np.float32),
        )

    return Found(seq_no, 1, load)
