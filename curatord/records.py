"""What travels on the topics beside packed sequences: documents in, feedback in, dead letters out.

A document on the wire is a JSON object of the user's making, so it carries no version: fields are only ever added.
The records of our own making carry `version`; a reader refuses one that is newer than it knows.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import msgspec

WIRE_VERSION = 1


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One document, as its producer sent it. The text is never edited: no normalising, no stripping."""

    id: str | None  # None: the reader names it by its place, `source:position`
    text: str
    url: str = ""  # "" where unknown, here and below
    source: str = ""
    language: str = ""
    timestamp_us: int = 0  # microseconds since 1970 UTC; 0 if unknown
    metadata: dict[str, Any] = {}  # every other field of the record, as it was


class Retraction(msgspec.Struct, frozen=True, kw_only=True):
    """The wish that a document be forgotten: on the topic, a key with a null value."""

    id: str
    timestamp_us: int = 0


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """What one rank of a trainer saw in one optimiser step: the summed loss of every segment it trained on.

    Sequence i of the record is `seq_no = first_seq_no + i * stride`. Cluster and propensity need not come back: they
    are known by (seq_no, segment). The arrays are raw little-endian, 6 to 10 bytes a segment.
    Raises ValueError if the arrays contradict each other.
    """

    run_id: str  # the training run; the key of the record
    step: int
    rank: int
    world: int  # number of ranks
    policy_version_min: int  # oldest and newest policy among the sequences
    policy_version_max: int
    first_seq_no: int
    stride: int
    num_segments: bytes  # u16 a sequence
    sum_nll: bytes  # f32 a segment: negative log-likelihood in nats, summed over its targets
    num_targets: bytes  # u32 a segment
    skipped: bool = False  # the optimiser did not take this step
    version: int = WIRE_VERSION

    def __post_init__(self) -> None:
        if len(self.num_segments) % 2:
            raise ValueError("num_segments is no array of u16: its length is odd")
        segments = sum(struct.unpack(f"<{self.count}H", self.num_segments))
        if len(self.sum_nll) != 4 * segments or len(self.num_targets) != 4 * segments:
            raise ValueError(
                f"num_segments adds up to {segments} segments, but sum_nll holds {len(self.sum_nll) / 4:g} "
                f"and num_targets {len(self.num_targets) / 4:g}"
            )

    @property
    def count(self) -> int:
        """Number of sequences."""
        return len(self.num_segments) // 2


class Reward(msgspec.Struct, frozen=True, kw_only=True):
    """A reward from anything that is no trainer (a scorer, an evaluation): for one cluster or for one document.

    Raises ValueError unless exactly one of the two is named and the reward is finite.
    """

    reward: float
    cluster: int | None = None
    doc_id: str | None = None
    version: int = WIRE_VERSION

    def __post_init__(self) -> None:
        if (self.cluster is None) == (self.doc_id is None):
            raise ValueError("a reward names either a cluster or a doc_id")
        if not math.isfinite(self.reward):
            raise ValueError(f"a reward is a finite number, not {self.reward}")


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An input that could not be read: why, where it was, and as much of it as the limit allows."""

    reason: str  # one of consumers.codec.REASONS
    message: str  # a sentence for a human: what is wrong and what to do
    source: str  # file or topic-partition
    position: int  # row of the file or offset of the message
    index: int  # place within a message that holds many documents, else 0
    original: bytes  # the input, or its beginning
    truncated: bool  # whether `original` is only the beginning
    version: int = WIRE_VERSION
