"""The numbers of commits, as an operator is told of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from numpy.typing import ArrayLike

from ops.readings import Counts, Gauges


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochCommitted:
    """The numbers of one commit. Counts are those of its epoch, gauges as of now."""

    epoch: int
    counts: Counts
    gauges: Gauges
    commit_s: float
    transaction_s: float = 0.0
    journal_bytes: int = 0
    received_ages_s: ArrayLike = ()  # of its messages, when they were polled
    committed_ages_s: ArrayLike = ()


@dataclass(slots=True)
class Unlogged:
    """Epochs since the last line."""

    epochs: int = 0
    numbers: Counter[str] = field(default_factory=Counter)
    latest: EpochCommitted | None = None
