"""The loop commits all that it took, also when it is stopped, and gives an epoch up only where no one waits for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumers.attempts import Attempts
from consumers.memory import MemoryBroker, World
from curatord.errors import BrokerUnavailable
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
