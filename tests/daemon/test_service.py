"""The service before its loop: what takes long is told to the supervisor, and ends when it is asked to."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path

import pytest

from consumers.broker import JournalRecord, RawDocument
from consumers.memory import MemoryBroker, World
from curatord.errors import StateError
from daemon.app import build
from daemon.restore import restore_journalled, take_in
from daemon.service import Service
from daemon.signals import Interrupted, StopRequest
from state.epoch import Committed
from state.store import Store, state_folder
from tests.ops.conftest import Process
from tests.simulation.world import make_config, new_world, outcome, run, tokenizer


class HiddenJournal(MemoryBroker):
    """A journal that gives nothing: an open transaction of another client hides it. The third poll asks for a stop."""

    stop = StopRequest()
    polls = 0

    def committed(self) -> Committed:
        return Committed(epoch=4, identity="{}")

    def journal(self, *, from_offset: int, follow: bool) -> Iterator[JournalRecord | None]:
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
        restore_journalled(broker, broker.committed(), store, events, broker.stop)

    assert (broker.polls, len(beats)) == (3, 3)
    store.close()


def test_an_empty_state_takes_no_journal_whose_beginning_is_gone(tmp_path: Path) -> None:
    """Made anew under an owner that went on, it begins at offset 0 all the same."""
    store = Store(tmp_path)
    with pytest.raises(StateError, match="begins at epoch 8"):
        take_in(JournalRecord(epoch=8, identity="{}", changes=(), next_offset=9), store)
    store.close()


class Stopping(MemoryBroker):
    """Asks its process to stop when polls found nothing often enough."""

    def __init__(self, world: World, store: Store, process: Process, stop: StopRequest) -> None:
        super().__init__(world, store)
        self._process, self._stop = process, stop
        self._empty = 0

    def _stop_after(self, num: int) -> None:
        self._stop.requested = self._empty > num
        self._stop.signal_number = signal.SIGTERM


class AfterAnOutage(Stopping):
    """A cluster that is just back: the first poll gives nothing, though messages wait. Each poll takes 20 s."""

    def poll(self, max_rows: int, timeout_s: float) -> list[RawDocument]:
        self._process.clock.now += 20
        if not self._empty:
            self._empty = 1
            return []
        rows = super().poll(max_rows, timeout_s)
        self._empty += not rows
        self._stop_after(4)
        return rows

    def lag(self) -> dict[str, int]:
        return {"simulated-0": len(self._world.documents) - self._world.num_read}


def test_an_outage_is_no_end_of_the_input(tmp_path: Path) -> None:
    world = new_world(0, 300, tmp_path / "state")
    expected = new_world(0, 300, tmp_path / "expected")
    config = make_config(output={"max_wait_s": 10.0}, state={"dir": str(tmp_path / "state")})
    run(expected, config, tmp_path / "expected")
    store, process, stop = Store(state_folder(tmp_path / "state")), Process(), StopRequest()
    pipeline = build(config, store, tokenizer())
    broker = AfterAnOutage(world, store, process, stop)

    Service(broker, pipeline, store, config, process.events, clock=process.clock).serve(stop)
    pipeline.close()
    store.close()

    assert [line["event"] for line in process.lines()].count("idle_flushed") == 1
    assert outcome(world) == outcome(expected)


class AtItsEnd(Stopping):
    """A topic that a process reads until nothing came for three polls. Each that finds nothing takes 20 s."""

    def poll(self, max_rows: int, timeout_s: float) -> list[RawDocument]:
        rows = super().poll(max_rows, timeout_s)
        if not rows and timeout_s:  # nothing is on its way
            self._process.clock.now += 20
            self._empty += 1
            self._stop_after(3)
        return rows


class LatePool:
    """A pool whose processes have nothing at the first two looks for it, which take 20 s each."""

    processes = 2

    def __init__(self, process: Process) -> None:
        self._process = process

    def prepare(self, rows: list[RawDocument]) -> Future[list[RawDocument]]:
        process = self._process

        class Late(Future[list[RawDocument]]):
            looks = 0

            def result(self, timeout: float | None = None) -> list[RawDocument]:
                process.clock.now += 20
                self.looks += 1
                if self.looks < 3:
                    raise TimeoutError
                return rows

        return Late()


def test_rows_that_a_pool_prepares_are_no_end_of_the_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = new_world(0, 300, tmp_path / "state")
    expected = new_world(0, 300, tmp_path / "expected")
    config = make_config(output={"max_wait_s": 10.0}, state={"dir": str(tmp_path / "state")})
    run(expected, config, tmp_path / "expected")
    store, process, stop = Store(state_folder(tmp_path / "state")), Process(), StopRequest()
    monkeypatch.setattr("daemon.service.opened_pool", lambda *_: nullcontext(LatePool(process)))
    pipeline = build(config, store, tokenizer())
    broker = AtItsEnd(world, store, process, stop)

    Service(broker, pipeline, store, config, process.events, clock=process.clock).serve(stop)
    pipeline.close()
    store.close()

    assert [line["event"] for line in process.lines()].count("idle_flushed") == 1
    assert outcome(world) == outcome(expected)
