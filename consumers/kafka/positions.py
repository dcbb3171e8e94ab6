"""Positions: how far each partition was read, as facts of the lane that are committed with what was made of it."""

from __future__ import annotations

from typing import Any

from state.common_facts import POSITIONS
from state.epoch import Epoch
from state.store import Store


def source_name(partition: Any) -> str:
    """The name of a partition, or of that of a message, in facts, ids and messages to humans."""
    return f"{partition.topic}-{partition.partition}"


class Positions:
    """The positions that are committed, by source."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, source: str) -> int | None:
        """The offset after the last one read; None if the lane does not know the source."""
        return POSITIONS.get(self._store, source)

    def put(self, epoch: Epoch) -> None:
        """Make facts of the positions that an epoch moves."""
        for source, position in epoch.positions.items():
            POSITIONS.put(epoch, source, position)
