"""Positions are those of the last epoch that was committed."""

from __future__ import annotations

from pathlib import Path

from kafka import TopicPartition

from consumers.kafka.positions import Positions, source_name
from state.epoch import Epoch
from state.store import Store


def test_positions_count_from_the_commit_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    positions = Positions(store)
    read, unread = (source_name(TopicPartition("my-documents", number)) for number in (0, 11))
    epoch = Epoch(number=1, identity="{}", positions={read: 0, unread: 3})

    positions.put(epoch)
    assert positions.of(read) is None
    store.apply(epoch.changes())

    assert (positions.of(read), positions.of(unread), positions.of("other-0")) == (0, 3, None)
    store.close()
