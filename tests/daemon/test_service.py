"""The service before its loop: what takes long is told to the supervisor, and ends when it is asked to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.broker import JournalRecord
from consumers.memory import MemoryBroker, World
from curatord.errors import StateError
from daemon.lifecycle import Interrupted, StopRequest, take_in
from daemon.restore import restore_journalled
from state.epoch import Committed
from state.store import Store
from tests.ops.conftest import Process


class HiddenJournal(MemoryBroker):
    """A journal that gives nothing: somebody's open transaction hides it. A stop is asked for at the third poll."""

    stop = StopRequest()
    polls = 0

    def committed(self) -> Committed:
        return Committed(epoch=4, identity="{}")

    def journal(self, *, after: int, follow: bool) -> Iterator[JournalRecord | None]:
        for _ in range(10):
            self.polls += 1
            self.stop.requested = self.polls == 3
            yield None


def test_a_restore_that_waits_beats_and_ends_when_it_is_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, beats = Process().events, []
    monkeypatch.setattr(events, "beat", lambda: beats.append(1))
    store = Store(tmp_path)
    broker = HiddenJournal(World(), store)

    with pytest.raises(Interrupted):
        restore_journalled(broker, store, events, broker.stop)

    assert (broker.polls, len(beats)) == (3, 3)
    store.close()


def test_an_empty_state_takes_no_journal_whose_beginning_is_gone(tmp_path: Path) -> None:
    """Made anew under an owner that went on, it begins at offset 0 all the same."""
    store = Store(tmp_path)
    with pytest.raises(StateError, match="begins at epoch 8"):
        take_in(JournalRecord(epoch=8, identity="{}", changes=()), store)
    store.close()
