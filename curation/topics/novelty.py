"""Novelty: documents that fit no cluster wait for others like them.

A document is novel if its similarity to its centre is under a quantile of what documents usually have. Novel ones wait
in two bounded queues. The least similar (5 %) wait long: rare topics gather slowly. The others (up to 20 %) are
forgotten after 64 more: five of them agree within so short a memory only when a topic arrives in a burst, which is
when a cluster is needed at once, while under an even mix they come and go without effect.

The usual similarity is a histogram that fades over ~100 ticks, so that the share of novel documents stays the same
for vectors of any kind.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from curation.topics.cluster_features import Features
from kernels.products import dots, row_products
from state.fact_table import FactCell, FactOwner, FactTable, Table
from state.facts import NUMBER, RAW, Facts, FactSource, Family, packed, single

NOVEL_QUANTILE = 0.2
OUTLIER_QUANTILE = 0.05
MAX_RECENT = 64
MAX_OUTLIERS = 512

NUM_BINS = 200  # over similarities -1 to 1
TICK_FADE = 0.99


class _State(msgspec.Struct, frozen=True, array_like=True):
    histogram: bytes
    next_number: int


_STATE = single("novelty", packed(_State))
# One byte for which queue it is in, then the vector.
_WAITING = Facts(Family("novelty", "a document that waits to found a cluster"), NUMBER, RAW)


class Novelty(FactOwner):
    """The waiting documents, oldest first, and the histogram of similarities."""

    def __init__(self) -> None:
        self._histogram = np.zeros(NUM_BINS)
        self._next_number = 0
        # By number, oldest first: the recent ones and the outliers.
        self._queues: tuple[dict[int, NDArray[np.float32]], dict[int, NDArray[np.float32]]] = ({}, {})
        self._cell = FactCell(_STATE, _State(self._histogram.tobytes(), 0))
        self._rows = FactTable(_WAITING)

    def tables(self) -> tuple[Table, ...]:
        """The histogram, and the waiting."""
        return self._cell, self._rows

    def thresholds(self) -> tuple[float, float]:
        """Similarities below which a document is (novel, an outlier); -2 while nothing is known."""
        cumulative = np.cumsum(self._histogram)
        if not cumulative[-1] > 0:
            return -2.0, -2.0
        novel, outlier = np.searchsorted(cumulative, np.array([NOVEL_QUANTILE, OUTLIER_QUANTILE]) * cumulative[-1])
        return -1.0 + 2.0 * float(novel) / NUM_BINS, -1.0 + 2.0 * float(outlier) / NUM_BINS

    def observe(self, similarities_B: NDArray[np.floating], *, fade: float = TICK_FADE) -> None:
        """Similarities of documents to their centres."""
        bins_B = np.clip((similarities_B.astype(np.float64) + 1.0) * (NUM_BINS / 2), 0, NUM_BINS - 1).astype(np.int64)
        self._histogram *= fade
        self._histogram += np.bincount(bins_B, minlength=NUM_BINS)

    def waiting(self) -> dict[int, NDArray[np.float32]]:
        """Unit vectors of the waiting documents by number: outliers, then recent ones, each oldest first."""
        return self._queues[1] | self._queues[0]

    def join(self, vector_D: NDArray[np.float32], *, is_outlier: bool) -> tuple[int, int | None]:
        """One more waits; its number, and that of the oldest of its queue if that had to leave."""
        number = self._next_number
        self._next_number += 1
        queue = self._queues[is_outlier]
        queue[number] = vector_D.copy()
        self._rows[number] = bytes([is_outlier]) + queue[number].tobytes()
        if len(queue) <= (MAX_OUTLIERS if is_outlier else MAX_RECENT):
            return number, None
        oldest = next(iter(queue))
        del queue[oldest], self._rows[oldest]
        return number, oldest

    def leave(self, numbers: list[int]) -> None:
        """These founded a cluster."""
        for number in numbers:
            self._rows.pop(number, None)
            for queue in self._queues:
                queue.pop(number, None)

    def forget(self) -> None:
        """The embedding has changed: no document waits, and no similarity is usual yet."""
        self._histogram[:] = 0.0
        self.leave(list(self.waiting()))

    def before_commit(self) -> None:
        """The histogram as bytes."""
        self._cell.value = _State(self._histogram.tobytes(), self._next_number)

    def restored(self, committed: FactSource) -> None:
        """The queues again, oldest first."""
        self._histogram = np.frombuffer(self._cell.value.histogram).copy()
        self._next_number = self._cell.value.next_number
        for number, value in self._rows.items():
            self._queues[value[0]][number] = np.frombuffer(value, np.float32, offset=1).copy()


class Worth:
    """Whether waiting documents that agree are worth a cluster, against the features at the tick's start and since.

    They are not if the new cluster would be merged at once. When all places are taken, it must also save more squared
    error than the merge costs that makes room, or clusters would be founded and merged for ever.
    """

    def __init__(self, features: Features, *, max_clusters: int, merge_gap: float) -> None:
        self._features = features
        self._max_clusters = max_clusters
        self._merge_gap = merge_gap
        self._costs: NDArray[np.float64] | None = None  # of merges, cheapest first, once asked for
        self._cohesions_K = features.cohesions()  # they change when a cluster is founded

    def parent(self, members_MD: NDArray[np.float64]) -> int | None:
        """The nearest cluster if the members are worth one of their own, else None."""
        features, weight = self._features, float(len(members_MD))
        if len(self._cohesions_K) < len(features):
            self._cohesions_K = features.cohesions()
        sum_D = members_MD.sum(axis=0)
        weights_K = np.maximum(features.column("weight"), 1e-9)
        cross_K = row_products(sum_D, features.column("sum")) / (weights_K * weight)
        own = (float(dots(sum_D, sum_D)) - weight) / (weight * (weight - 1.0))
        if (cross_K - (self._cohesions_K + own) / 2).max() >= -self._merge_gap:
            return None
        nearest = int(cross_K.argmax())
        room = self._max_clusters - len(features)
        if room <= 0:
            if self._costs is None:
                costs_KK = features.merge_costs()
                self._costs = np.sort(costs_KK[np.isfinite(costs_KK)])
            difference_D = sum_D / weight - features.column("sum")[nearest] / weights_K[nearest]
            saved = (
                weight * weights_K[nearest] / (weight + weights_K[nearest]) * float(dots(difference_D, difference_D))
            )
            if len(self._costs) and saved < self._costs[min(-room, len(self._costs) - 1)]:
                return None
        return int(features.column("cluster")[nearest])
