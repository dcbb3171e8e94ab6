"""Assignments: the cluster of every document that a tick took, one fact a tick.

Ticks take documents in the order of their numbers, so a tick's documents lie between its first and the next one's. The
ids are those of the time of the tick; what became of them since is the clusters' to say.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from state.epoch import Epoch
from state.facts import NUMBER, Facts, FactSource, Family, packed


class _Assigned(msgspec.Struct, frozen=True, array_like=True):
    """Columns of B documents."""

    places: bytes  # u32 [B]: doc_no less that of the first, ascending
    clusters: bytes  # i32 [B]


# By the number of the first.
_ASSIGNED = Facts(Family("assignments", "the clusters of the documents of a tick"), NUMBER, packed(_Assigned))


class Assignments:
    """Clusters by document number, those of the open epoch included."""

    def __init__(self, committed: FactSource) -> None:
        self._committed = committed

    def put(self, doc_nos_B: NDArray[np.int64], clusters_B: NDArray[np.int32], epoch: Epoch) -> None:
        """The clusters of one tick's documents, of which there is at least one."""
        first = int(doc_nos_B[0])
        fact = _Assigned((doc_nos_B - first).astype(np.uint32).tobytes(), clusters_B.astype(np.int32).tobytes())
        _ASSIGNED.put(epoch, first, fact)

    def find(self, doc_no: int, epoch: Epoch) -> int | None:
        """The cluster that a tick found for a document; None if no tick took it."""
        found = _ASSIGNED.at_or_before(self._committed, epoch, doc_no)
        if found is None:
            return None
        first, fact = found
        places_B = np.frombuffer(fact.places, np.uint32)
        place = doc_no - first
        row = int(np.searchsorted(places_B, place))
        if row == len(places_B) or places_B[row] != place:
            return None
        return int(np.frombuffer(fact.clusters, np.int32)[row])
