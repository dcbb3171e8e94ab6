"""The loop commits all that it took, also when it is stopped, and gives an epoch up only where no one waits for it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from consumers.attempts import Attempts
from consumers.broker import RawDocument
from consumers.memory import MemoryBroker, World
from curatord.errors import BrokerUnavailable, StorageError
from daemon.app import build
from daemon.loop import Hooks, Loop, marked
from daemon.pipeline import Pipeline
from daemon.signals import Interrupted, StopRequest
from state.epoch import Epoch
from state.store import Store
from tests.simulation.world import make_config, make_rows, tokenizer

CONFIG = make_config(daemon={"epoch_documents": 10, "poll_documents": 5})


class Away(MemoryBroker):
    """A cluster that is away for some commits."""

    outages = 2

    def commit(self, epoch: Epoch) -> None:
        if self.outages:
            self.outages -= 1
            raise BrokerUnavailable("no broker answers")
        super().commit(epoch)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def pipeline(store: Store) -> Pipeline:
    pipeline = build(CONFIG, store, tokenizer())
    pipeline.restore(store)
    return pipeline


def test_an_epoch_ends_at_its_number_of_documents(store: Store, pipeline: Pipeline) -> None:
    world = World(documents=make_rows(1, 25))
    loop = Loop(pipeline, MemoryBroker(world, store), CONFIG.daemon, "{}", lambda: 0.0)

    assert loop.run(StopRequest(), flush=False)

    assert [record.epoch for record in world.journal] == [1, 2, 3]
    assert world.num_read == 25


def test_a_stop_commits_what_was_taken(store: Store, pipeline: Pipeline) -> None:
    world, stop = World(documents=make_rows(1, 25)), StopRequest()
    stop.requested = True
    loop = Loop(pipeline, MemoryBroker(world, store), CONFIG.daemon, "{}", lambda: 0.0)

    assert not loop.run(stop, flush=True)

    assert world.num_read == 5


def test_an_outage_is_told_until_the_same_epoch_is_committed(store: Store, pipeline: Pipeline) -> None:
    world, told = World(documents=make_rows(1, 10)), list[BrokerUnavailable]()
    loop = Loop(pipeline, Away(world, store), CONFIG.daemon, "{}", lambda: 0.0, Hooks(away=told.append))

    assert loop.run(StopRequest(), flush=False)

    assert len(told) == Away.outages
    assert [record.epoch for record in world.journal] == [1]


def test_an_outage_ends_a_run_that_does_not_wait(store: Store, pipeline: Pipeline) -> None:
    world = World(documents=make_rows(1, 10))
    loop = Loop(pipeline, Away(world, store), CONFIG.daemon, "{}", lambda: 0.0)

    with pytest.raises(BrokerUnavailable):
        loop.run(StopRequest(), flush=False)
    assert not world.journal


class Slow(MemoryBroker):
    """Commits that begin when they are allowed to; how many rows were polled by then."""

    def __init__(self, world: World, store: Store, failing: int = 0) -> None:
        super().__init__(world, store)
        self.failing = failing
        self.num_polled = 0
        self.polled_at_commit: list[int] = []
        self.may_begin = threading.Semaphore(0)

    def poll(self, max_rows: int, timeout_s: float) -> list[RawDocument]:
        rows = super().poll(max_rows, timeout_s)
        self.num_polled += len(rows)
        if self.num_polled % 10 == 5:  # in the middle of an epoch
            self.may_begin.release()
        return rows

    def commit(self, epoch: Epoch) -> None:
        assert self.may_begin.acquire(timeout=60)
        self.polled_at_commit.append(self.num_polled)
        if epoch.number == self.failing:
            raise StorageError("the disk is full")
        super().commit(epoch)


def run_beside(broker: Slow, pipeline: Pipeline) -> bool:
    with ThreadPoolExecutor(max_workers=1) as committing:
        hooks = Hooks(committing=committing)
        return Loop(pipeline, broker, CONFIG.daemon, "{}", lambda: 0.0, hooks).run(StopRequest(), flush=False)


def test_an_epoch_is_committed_while_the_next_is_computed_which_waits_for_it(store: Store, pipeline: Pipeline) -> None:
    broker = Slow(world := World(documents=make_rows(1, 55)), store)
    broker.may_begin.release()  # for the last two, behind which nothing is polled

    assert run_beside(broker, pipeline)

    assert [record.epoch for record in world.journal] == [1, 2, 3, 4, 5, 6]
    assert world.num_read == 55
    assert all(at >= 10 * epoch for epoch, at in enumerate(broker.polled_at_commit, 1) if epoch < 6)
    assert all(at <= 10 * epoch + 10 for epoch, at in enumerate(broker.polled_at_commit, 1))


def test_an_epoch_that_fails_beside_the_next_is_the_last(store: Store, pipeline: Pipeline) -> None:
    broker = Slow(world := World(documents=make_rows(1, 100)), store, failing=3)
    for _ in range(10):
        broker.may_begin.release()

    with pytest.raises(StorageError):
        run_beside(broker, pipeline)

    assert [record.epoch for record in world.journal] == [1, 2]
    assert broker.num_polled <= 40


@pytest.mark.parametrize(
    ("error", "is_open"), [(Interrupted(), False), (BrokerUnavailable(""), False), (ValueError(), True)]
)
def test_rows_at_hand_stay_marked_only_where_the_life_ends_over_them(error: BaseException, is_open: bool) -> None:
    marks: list[bytes] = []
    attempts = Attempts(lambda mark, *, wait: marks.append(mark))
    attempts.begin([("a", 0)])

    with pytest.raises(type(error)), marked(attempts):
        raise error

    assert bool(Attempts(left=marks[-1]).cut_short) is is_open
