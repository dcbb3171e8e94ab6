"""Order of a corpus: G2S and S2G as published, for an input that has an end.

ClusterClip's order from general to specific (Shao et al., Findings of ACL 2024) draws a cluster uniformly among those
that have documents left, and one of its documents that did not go out yet, until none is left: the last part is the
largest cluster alone. From specific to general is the reverse. Here the clusters that have documents left give one
each, round after round: the shares of the draws, without their noise.

Documents wait until the input ends. The order is decided then, by the clusters of then, and is a fact: a process that
is stopped on the way goes on in it.

Shape legend: N documents that wait.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curation.selection.buffered import MIXTURE
from curation.selection.mixture_config import Schedule
from state.chance import draw
from state.fact_table import FactOwner, FactTable, Table
from state.facts import NUMBER, NUMBERS, Facts, FactSource

STRETCH = 512  # documents that go out together
_UNDECIDED = 0  # places begin at 1
_WAITING = Facts(MIXTURE, NUMBER, NUMBERS, prefix=b"o")  # by document: its place, and the hash of its id


def rounds(clusters_N: NDArray[np.integer], keys_N: NDArray[np.uint64], *, seed: int = 0) -> NDArray[np.int64]:
    """The documents from general to specific: a round after another, each with one of every cluster that has one left.

    >>> rounds(np.array([7, 7, 7, 2]), np.arange(4, dtype=np.uint64)).tolist()
    [0, 3, 2, 1]
    """
    within_N = np.lexsort((draw(keys_N, seed=seed, purpose="corpus order"), clusters_N))
    sorted_N = clusters_N[within_N]
    firsts_N = np.searchsorted(sorted_N, sorted_N)  # where the cluster begins
    round_N = np.empty(len(keys_N), np.int64)
    round_N[within_N] = np.arange(len(keys_N)) - firsts_N
    order_N: NDArray[np.int64] = np.lexsort((draw(keys_N, seed=seed, purpose="corpus round"), round_N))
    return order_N


class CorpusOrder(FactOwner):
    """Documents that wait for the end of the input, and their order from then on."""

    def __init__(self, schedule: Schedule, *, seed: int = 0) -> None:
        self._schedule = schedule
        self._seed = seed
        self._waiting = FactTable(_WAITING)
        self._num_undecided = 0
        self._decided: list[tuple[int, int]] = []  # places and documents, the next one last

    def tables(self) -> tuple[Table, ...]:
        """The documents."""
        return (self._waiting,)

    def add(self, doc_nos_B: NDArray[np.int64], keys_B: NDArray[np.uint64]) -> None:
        """These wait, too."""
        for doc_no, key in zip(doc_nos_B.tolist(), keys_B.tolist(), strict=True):
            self._waiting[doc_no] = _UNDECIDED, key
        self._num_undecided += len(doc_nos_B)

    def remove(self, doc_no: int) -> None:
        """Forget a document that was retracted."""
        waited = self._waiting.pop(doc_no, None)
        self._num_undecided -= waited is not None and waited[0] == _UNDECIDED

    def waiting(self) -> list[int]:
        """All documents that did not go out."""
        return list(self._waiting)

    def undecided(self) -> NDArray[np.int64]:
        """Those without a place, in the order in which they came."""
        if not self._num_undecided:
            return np.zeros(0, np.int64)
        return np.array([doc_no for doc_no, (place, _) in self._waiting.items() if place == _UNDECIDED], np.int64)

    def decide(self, doc_nos_N: NDArray[np.int64], clusters_N: NDArray[np.int32]) -> None:
        """Their places, behind all that have one; without a schedule any more, in the order in which they came."""
        last = max((place for place, _ in self._waiting.values()), default=_UNDECIDED)
        keys_N = np.array([self._waiting[doc_no][1] for doc_no in doc_nos_N.tolist()], np.uint64)
        order_N = np.arange(len(keys_N)) if self._schedule == "static" else rounds(clusters_N, keys_N, seed=self._seed)
        if self._schedule == "s2g":
            order_N = order_N[::-1]
        for place, n in enumerate(order_N.tolist(), last + 1):
            self._waiting[int(doc_nos_N[n])] = place, int(keys_N[n])
        self._num_undecided -= len(doc_nos_N)
        self._line_up()

    def take(self) -> NDArray[np.int64]:
        """The documents of the next stretch of places, which wait no more.

        Stretches begin at the same places however calls were interrupted.
        """
        taken: list[int] = []
        last = _UNDECIDED
        while self._decided and (not taken or self._decided[-1][0] <= last):
            place, doc_no = self._decided.pop()
            if self._waiting.pop(doc_no, None) is not None:
                last = last or (place - 1) // STRETCH * STRETCH + STRETCH
                taken.append(doc_no)
        return np.array(taken, np.int64)

    def restored(self, committed: FactSource) -> None:
        """The line again."""
        self._num_undecided = sum(place == _UNDECIDED for place, _ in self._waiting.values())
        self._line_up()

    def _line_up(self) -> None:
        placed = ((place, doc_no) for doc_no, (place, _) in self._waiting.items() if place != _UNDECIDED)
        self._decided = sorted(placed, reverse=True)
