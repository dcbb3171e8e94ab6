"""Novelty: documents that fit no cluster wait for others like them.

A document is novel if its similarity to its centre is under a quantile of what documents usually have. Novel ones wait
in two bounded queues. The least similar (5 %) wait long: rare topics gather slowly. The others (up to 20 %) are
forgotten after 64 more: five of them agree within so short a memory only when a topic arrives in a burst, which is
when a cluster is needed at once, while under an even mix they come and go without effect.

The usual similarity is a histogram that fades over ~100 ticks, so that the share of novel documents stays the same
for vectors of any kind.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from curation.topics.cluster_features import Features, cohesion
from kernels.novelty import Known, Waiting, wait_until_agreed
from kernels.products import products, row_products
from state.fact_table import FactCell, FactOwner, FactTable, Table
from state.facts import NUMBER, RAW, Facts, FactSource, Family, packed, single

NOVEL_QUANTILE = 0.2
OUTLIER_QUANTILE = 0.05
MAX_RECENT = 64
MAX_OUTLIERS = 512
# Two waiting documents agree if their cosine is this share of what two members of a cluster usually have.
AGREEMENT = 0.75

NUM_BINS = 200  # over similarities -1 to 1
TICK_FADE = 0.99


class _State(msgspec.Struct, frozen=True, array_like=True):
    histogram: bytes
    next_number: int


_STATE = single("novelty", packed(_State))
# One byte for which queue it is in, then the vector.
_WAITING = Facts(Family("novelty", "a document that waits to found a cluster"), NUMBER, RAW)


Vectors = NDArray[np.float32]

_NEVER = 2  # queue of a candidate that did not join one


class Novelty(FactOwner):
    """The waiting documents, and the histogram of similarities.

    Columns are in the order of the kernel: outliers, then recent ones, each oldest first.
    """

    def __init__(self) -> None:
        self._histogram = np.zeros(NUM_BINS)
        self._next_number = 0
        self._wait_for([], np.zeros(0, np.uint8), np.zeros((0, 0), np.float32))
        self._cell = FactCell(_STATE, _State(self._histogram.tobytes(), 0))
        self._rows = FactTable(_WAITING)

    def _wait_for(self, numbers: list[int], is_outlier_W: NDArray[np.uint8], vectors_WD: Vectors) -> None:
        self.numbers, self._is_outlier_W, self._vectors_WD = numbers, is_outlier_W, vectors_WD

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

    def meet(self, vectors_CD: Vectors) -> Waiting:
        """Those that wait, and the candidates of a tick behind them."""
        num_columns = len(self.numbers) + len(vectors_CD)
        waits_W, is_outlier_W = np.zeros(num_columns, np.bool_), np.zeros(num_columns, np.uint8)
        waits_W[: len(self.numbers)], is_outlier_W[: len(self.numbers)] = True, self._is_outlier_W
        return Waiting(
            vectors_WD=np.concatenate((self._vectors_WD, vectors_CD)) if len(self.numbers) else vectors_CD,
            waits_W=waits_W,
            queues_W=is_outlier_W,
            oldest_2=np.zeros(2, np.int64),
            counts_2=np.bincount(self._is_outlier_W, minlength=2),
            limits_2=np.array([MAX_RECENT, MAX_OUTLIERS]),
        )

    def part(self, waiting: Waiting, joined_C: NDArray[np.bool_]) -> None:
        """The end of a tick: those of its candidates that joined were numbered in their order, and some still wait."""
        numbers = self._next_number + np.cumsum(joined_C) - 1
        self._next_number += int(np.count_nonzero(joined_C))
        numbers_W = np.concatenate((np.array(self.numbers, np.int64), numbers))
        left_W = np.flatnonzero(waiting.waits_W)
        left_W = left_W[np.argsort(1 - waiting.queues_W[left_W], kind="stable")]
        self._wait_for(numbers_W[left_W].tolist(), waiting.queues_W[left_W], waiting.vectors_WD[left_W])

    def forget(self) -> None:
        """The embedding has changed: no document waits, and no similarity is usual yet."""
        self._histogram[:] = 0.0
        self._wait_for([], np.zeros(0, np.uint8), np.zeros((0, 0), np.float32))

    def before_commit(self) -> None:
        """The histogram as bytes, and a row for each that waits."""
        self._cell.value = _State(self._histogram.tobytes(), self._next_number)
        for number in set(self._rows).difference(self.numbers):
            del self._rows[number]
        for number, is_outlier, vector_D in zip(self.numbers, self._is_outlier_W, self._vectors_WD, strict=True):
            if number not in self._rows:
                self._rows[number] = bytes([is_outlier]) + vector_D.tobytes()

    def restored(self, committed: FactSource) -> None:
        """The columns again."""
        self._histogram = np.frombuffer(self._cell.value.histogram).copy()
        self._next_number = self._cell.value.next_number
        rows = sorted(self._rows.items(), key=lambda row: (not row[1][0], row[0]))
        vectors = [np.frombuffer(value, np.float32, offset=1) for _, value in rows]
        self._wait_for(
            [number for number, _ in rows],
            np.array([value[0] for _, value in rows], np.uint8),
            np.array(vectors) if vectors else np.zeros((0, 0), np.float32),
        )


class Worth:
    """How much is needed for a cluster of its own, against the features at the tick's start and since.

    Waiting documents that agree found none if it would be merged at once. When all places are taken, it must also save
    more squared error than the merge costs that makes room, or clusters would be founded and merged for ever.
    """

    def __init__(self, features: Features, *, max_clusters: int, merge_gap: float) -> None:
        self._features = features
        self._max_clusters = max_clusters
        self._merge_gap = merge_gap
        self._costs: NDArray[np.float64] | None = None  # of merges when the last place was taken, ascending
        self._cohesions_K = features.cohesions()  # they change when a cluster is founded

    def usual_cohesion(self) -> float:
        """Mean cosine of two documents of one cluster, over documents."""
        return float(np.average(self._cohesions_K, weights=np.maximum(self._features.column("weight"), 1e-9)))

    def known(self) -> Known:
        """The clusters of now."""
        features = self._features
        new = slice(len(self._cohesions_K), len(features))
        if new.start < new.stop:
            news_K = cohesion(features.column("weight")[new], features.column("sum")[new])
            self._cohesions_K = np.concatenate((self._cohesions_K, news_K))
        sums = features.column("weight"), features.column("sum")
        return Known(*sums, self._cohesions_K, self._merge_gap, self._least_saved())

    def _least_saved(self) -> float:
        """The cost of the merge that makes room for one more cluster; others of this tick need room, too."""
        room = self._max_clusters - len(self._features)
        if room > 0:
            return -np.inf
        if self._costs is None:
            costs_KK = self._features.merge_costs()
            self._costs = np.sort(costs_KK[np.isfinite(costs_KK)])
        return float(self._costs[min(-room, len(self._costs) - 1)]) if len(self._costs) else -np.inf


def found_in_tick(
    embeddings_BD: Vectors,
    nearest: tuple[NDArray[np.int64], Vectors],
    novelty: Novelty,
    worth: Worth,
    found_documents: int,
    found: Callable[[NDArray[np.float64], int], tuple[int, Vectors]],
) -> NDArray[np.bool_]:
    """Found clusters on the novel documents of a tick, in order; which documents wait.

    `nearest` has the slot of the nearest centre and the cosine to it: they change for documents that come after a
    founding and are nearer to the new centre. `found` makes a cluster beside a slot, of members of which the last
    will be added with all others, at the end of the tick: (its slot, its centre with all members).
    """
    slots_B, similarities_B = nearest
    waits_B = np.zeros(len(embeddings_BD), np.bool_)
    thresholds_2 = novelty.thresholds()
    candidates_C = np.flatnonzero(similarities_B < thresholds_2[0])
    if not len(candidates_C):
        return waits_B
    waiting = novelty.meet(embeddings_BD[candidates_C])
    queues_C = waiting.queues_W[len(novelty.numbers) :]
    queues_C[:] = _NEVER
    cosines_CW = products(embeddings_BD[candidates_C], waiting.vectors_WD)
    agrees_CW = cosines_CW >= AGREEMENT * worth.usual_cohesion()
    place = 0
    while True:
        place, parent = wait_until_agreed(
            *(place, candidates_C, agrees_CW, similarities_B, slots_B, thresholds_2, waiting, worth.known()),
            found_documents,
        )
        if parent < 0:
            break
        b = int(candidates_C[place])
        agreeing = np.flatnonzero(agrees_CW[place] & waiting.waits_W)
        members_MD = np.concatenate((waiting.vectors_WD[agreeing], embeddings_BD[b : b + 1])).astype(np.float64)
        np.subtract.at(waiting.counts_2, waiting.queues_W[agreeing], 1)
        waiting.waits_W[agreeing] = False
        slot, centre_D = found(members_MD, parent)
        to_new_B = row_products(centre_D, embeddings_BD[b:])
        nearer_B = to_new_B > similarities_B[b:]
        nearer_B[0] = True
        similarities_B[b:][nearer_B], slots_B[b:][nearer_B] = to_new_B[nearer_B], slot
        place += 1
    waits_B[candidates_C] = queues_C != _NEVER
    novelty.part(waiting, queues_C != _NEVER)
    return waits_B
