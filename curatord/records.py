"""The records on topics beside packed sequences: documents in, feedback in, dead letters out.

A document on the wire is a JSON object of the user's making, so it carries no version: fields are only ever added.
The records of our own making carry `version`; a reader refuses one that is newer than it knows.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import msgspec

WIRE_VERSION = 1
MAX_RUN_ID_BYTES = 256
MAX_STEP = 1 << 53  # counts beyond this are not exact in a double
MAX_SEQ_NO = 1 << 62
MAX_WORLD = 1 << 16
MAX_REWARD = 1e12
MAX_SCORER_BYTES = 64
MAX_WEIGHTS = 10_000


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One document, as its producer sent it. The text is never edited: no normalising, no stripping."""

    id: str | None  # None: the reader names it by its place, `source:position`
    text: str
    url: str = ""  # "" where unknown, here and below
    source: str = ""
    language: str = ""
    timestamp_us: int = 0  # microseconds since 1970 UTC; 0 if unknown
    numbers: tuple[float, ...] = ()  # weight and scores, as [input.fields] names them; NaN where there is none
    metadata: dict[str, Any] = {}  # every other field of the record, as it was
    id_problem: str = ""  # why the id of the record could not be used; "" if it could, or there was none


class Retraction(msgspec.Struct, frozen=True, kw_only=True):
    """The wish that a document be forgotten: on the topic, a key with a null value."""

    id: str
    timestamp_us: int = 0


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """Losses of one rank of a trainer in one optimiser step, summed over every segment that it trained on.

    Sequence i of the record is `seq_no = first_seq_no + i * stride`. Cluster and propensity need not come back: they
    are known by (generation, seq_no, segment). The arrays are raw little-endian, 6 to 10 bytes a segment.
    A run is one life of one model: (run_id, rank, step) is reported once, and repetitions have no effect. A model that
    starts anew is another run.
    Raises ValueError if the arrays contradict each other, or a number is out of its range.
    """

    run_id: str  # the training run; the key of the record
    step: int
    rank: int
    world: int  # number of ranks
    policy_version_min: int  # oldest and newest policy among the sequences
    policy_version_max: int
    generation: int  # of the sequences, as they carry it
    first_seq_no: int
    stride: int  # 1 or more
    num_segments: bytes  # u16 a sequence
    sum_nll: bytes  # f32 a segment: negative log-likelihood in nats, summed over its targets
    num_targets: bytes  # u32 a segment
    skipped: bool = False  # the optimiser did not take this step
    version: int = WIRE_VERSION

    def __post_init__(self) -> None:
        _check_run_id(self.run_id)
        _check_range("step", self.step, MAX_STEP)
        _check_range("world", self.world, MAX_WORLD, lowest=1)
        _check_range("rank", self.rank, self.world - 1)
        _check_range("generation", self.generation, (1 << 32) - 1)
        _check_range("stride", self.stride, MAX_SEQ_NO, lowest=1)
        _check_range("first_seq_no", self.first_seq_no, MAX_SEQ_NO - self.count * self.stride)
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

    It is in any unit, but in one unit for all of one scorer: what counts is which clusters have more of it than others.
    A scorer that measures with a model says with which checkpoint of it, as a number that grows from one to the next
    (its step, or the time at which it was written): the same document by the same checkpoint counts once, and one
    by an older checkpoint counts less.
    Raises ValueError unless exactly one of the two is named, the reward is a number of at most 1e12 either way, and
    scorer and checkpoint are within their limits.
    """

    reward: float
    cluster: int | None = None
    doc_id: str | None = None
    scorer: str = ""  # who measured it: "influence", "perplexity", a name of one's own; "" for the only one
    checkpoint: int | None = None
    version: int = WIRE_VERSION

    def __post_init__(self) -> None:
        if (self.cluster is None) == (self.doc_id is None):
            raise ValueError("a reward names either a cluster or a doc_id")
        if not math.isfinite(self.reward):
            raise ValueError(f"a reward is a finite number, not {self.reward}")
        if abs(self.reward) > MAX_REWARD:
            raise ValueError(f"a reward is between -{MAX_REWARD:g} and {MAX_REWARD:g}, not {self.reward:g}")
        if self.cluster is not None:
            _check_range("cluster", self.cluster, (1 << 31) - 1)
        if len(self.scorer.encode("utf-8", "surrogatepass")) > MAX_SCORER_BYTES:
            raise ValueError(f"a scorer has a name of at most {MAX_SCORER_BYTES} bytes")
        if self.checkpoint is not None:
            _check_range("checkpoint", self.checkpoint, (1 << 63) - 1)


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """A document for which a reward is wanted, since little is known of its cluster: all that a scorer needs.

    It goes out as JSON. A reward answers it with its `doc_id`.
    """

    doc_id: str
    cluster: int  # as its tick found it
    policy_version: int  # of the bandit that asks
    num_tokens: int  # of the whole document, by the lane's tokenizer
    text: str  # its beginning
    source: str = ""
    version: int = WIRE_VERSION


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """Weights of sources and clusters in the mixture, in place of those of the configuration, from the next tick on.

    They stay, also after restarts, until the next record of this kind; one without any gives the configuration's back.
    Raises ValueError if a weight is not above 0 and at most 1e12, or there are more than 10,000.
    """

    weights: dict[str, float]  # by source pattern, or "cluster:ID", as in [mixture] weights
    version: int = WIRE_VERSION

    def __post_init__(self) -> None:
        if len(self.weights) > MAX_WEIGHTS:
            raise ValueError(f"{len(self.weights):,} weights, where {MAX_WEIGHTS:,} are allowed")
        for name, weight in self.weights.items():
            if not 0 < weight <= MAX_REWARD:
                raise ValueError(f"the weight of {name[:64]!r} is above 0 and at most {MAX_REWARD:g}, not {weight:g}")


class SafePoint(msgspec.Struct, frozen=True, kw_only=True):
    """A run will never read a sequence before this one again: its oldest checkpoint goes on there.

    -1 says that the run ended and needs nothing more. A number may be smaller than the one before, since a run may go
    back to an older checkpoint. Raises ValueError if a number is out of its range.
    """

    run_id: str  # the training run; the key of the record
    generation: int  # of the sequences, as they carry it
    safe_seq_no: int
    version: int = WIRE_VERSION

    def __post_init__(self) -> None:
        _check_run_id(self.run_id)
        _check_range("generation", self.generation, (1 << 32) - 1)
        _check_range("safe_seq_no", self.safe_seq_no, MAX_SEQ_NO, lowest=-1)


class EndRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The wish that the stream end: what is held goes out, and a marker after it. Raises ValueError if it says no."""

    end_of_stream: bool
    version: int = WIRE_VERSION

    def __post_init__(self) -> None:
        if not self.end_of_stream:
            raise ValueError("end_of_stream is true, or there is no such request")


def encode_feedback(record: Feedback | Reward | Weights | SafePoint | EndRequest) -> bytes:
    """The value of a message on the feedback topic. A `Feedback` or `SafePoint` goes under its run_id as key."""
    return msgspec.msgpack.encode(record)


def _check_run_id(run_id: str) -> None:
    if not 0 < len(run_id.encode("utf-8", "surrogatepass")) <= MAX_RUN_ID_BYTES:
        raise ValueError(f"a run_id has 1 to {MAX_RUN_ID_BYTES} bytes")


def _check_range(name: str, value: int, highest: int, lowest: int = 0) -> None:
    if not lowest <= value <= highest:
        raise ValueError(f"{name} is between {lowest} and {highest}, not {value}")


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An input that could not be read: why, where it was, and as much of it as the limit allows."""

    reason: str  # one of consumers.formats.undecodable.REASONS or consumers.formats.feedback.FEEDBACK_REASONS
    message: str  # a sentence for a human: what is wrong and what to do
    source: str  # file or topic-partition
    position: int  # row of the file or offset of the message
    index: int | None  # place within a message that holds many documents; None if it is about the whole input
    original: bytes  # the input, or its beginning
    truncated: bool  # whether `original` is only the beginning
    key: str = ""  # of the message
    timestamp_us: int = 0  # when the message was made, microseconds since 1970 UTC; 0 if unknown
    traceparent: str = ""  # W3C trace context of the message
    attempts: int = 0  # how often it was replayed before
    version: int = WIRE_VERSION
