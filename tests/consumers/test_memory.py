"""The broker in memory keeps the journal as a topic does: by offsets, and cut where it was cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumers.memory import MemoryBroker, World
from curatord.errors import JournalUnusable, StateError
from state.epoch import Epoch
from state.journal import journal_position
from state.store import Store


def commit(broker: MemoryBroker, number: int) -> None:
    epoch = Epoch(number=number, identity="{}")
    epoch.put("meta", b"epoch", b"%d" % number)
    broker.commit(epoch)


def test_a_cut_keeps_the_epochs_from_its_offset_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    broker = MemoryBroker(World(), store)
    for number in range(1, 6):
        commit(broker, number)
        if number == 2:
            after_two = journal_position(store)

    broker.cut_journal(before_offset=after_two)

    assert [record and record.epoch for record in broker.journal(from_offset=after_two, follow=False)] == [3, 4, 5]
    with pytest.raises(JournalUnusable, match=f"begins at offset {after_two}, and is to be read on at 0"):
        list(broker.journal(from_offset=0, follow=False))
    store.close()


def test_the_journal_ends_where_the_store_goes_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    broker = MemoryBroker(World(), store)
    commit(broker, 1)

    committed = broker.committed()

    assert committed is not None
    assert (committed.epoch, committed.journal_end) == (1, journal_position(store))
    with pytest.raises(StateError, match="epoch 3 does not follow epoch 1"):
        commit(broker, 3)
    store.close()
