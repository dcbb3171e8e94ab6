"""Assignments: the cluster of every document that a tick took, one fact a tick.

Ticks take documents in the order of their numbers, so a tick's documents lie between its first and the next one's. The
ids are those of the time of the tick; what became of them since is the clusters' to say.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from state.epoch import Epoch
from state.lookup import at_or_before
from state.store import Store

FAMILY = "assignments"


class _Assigned(msgspec.Struct, frozen=True, array_like=True):
    """Columns of B documents."""

    places: bytes  # u32 [B]: doc_no less that of the first, ascending
    clusters: bytes  # i32 [B]


def _key(doc_no: int) -> bytes:
    return doc_no.to_bytes(8, "big")


class Assignments:
    """Clusters by document number, those of the open epoch included."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, doc_nos_B: NDArray[np.int64], clusters_B: NDArray[np.int32], epoch: Epoch) -> None:
        """The clusters of one tick's documents, of which there is at least one."""
        first = int(doc_nos_B[0])
        fact = _Assigned((doc_nos_B - first).astype(np.uint32).tobytes(), clusters_B.astype(np.int32).tobytes())
        epoch.put(FAMILY, _key(first), msgspec.msgpack.encode(fact))

    def find(self, doc_no: int, epoch: Epoch) -> int | None:
        """The cluster that a tick found for a document; None if no tick took it."""
        found = at_or_before(self._store, epoch, FAMILY, _key(doc_no))
        if found is None:
            return None
        key, value = found
        fact = msgspec.msgpack.decode(value, type=_Assigned)
        places_B = np.frombuffer(fact.places, np.uint32)
        place = doc_no - int.from_bytes(key, "big")
        row = int(np.searchsorted(places_B, place))
        if row == len(places_B) or places_B[row] != place:
            return None
        return int(np.frombuffer(fact.clusters, np.int32)[row])
