"""Rows that are polled ahead come out in their order, and count as read when they came out."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import cast

from consumers.attempts import AHEAD, Attempts
from consumers.broker import RawDocument
from consumers.memory import MemoryBroker, World
from daemon.prepared.ahead import Ahead
from daemon.prepared.pool import Pool
from state.store import Store


class Slow:
    """A pool whose processes answer when they are told to."""

    processes = 2

    def __init__(self) -> None:
        self.asked: list[tuple[list[RawDocument], Future[list[RawDocument]]]] = []

    def prepare(self, rows: list[RawDocument]) -> Future[list[RawDocument]]:
        self.asked.append((rows, Future()))
        return self.asked[-1][1]

    def answer(self, number: int) -> None:
        rows, future = self.asked[number]
        future.set_result(rows)


def rows_of(num: int) -> list[RawDocument]:
    return [RawDocument("in", at, b"{}") for at in range(num)]


def ahead_of(folder: Path, num_rows: int, chunk_rows: int) -> tuple[Ahead, Slow, MemoryBroker]:
    pool = Slow()
    broker = MemoryBroker(World(documents=rows_of(num_rows)), Store(folder))
    return Ahead(broker, cast(Pool, pool), chunk_rows, lambda source, position, how: None), pool, broker


def test_rows_come_in_their_order_however_the_processes_answer(tmp_path: Path) -> None:
    ahead, pool, _ = ahead_of(tmp_path, 10, 3)

    assert ahead.poll(256, 0.0) == []
    assert len(pool.asked) == 4
    for number in (3, 1, 2):
        pool.answer(number)
    assert ahead.poll(256, 0.0) == []
    pool.answer(0)
    polls = [ahead.poll(2, 0.0) for _ in range(7)]

    assert [row.position for poll in polls for row in poll] == list(range(10))
    assert max(map(len, polls)) == 2
    assert ahead.ended()


def test_nothing_has_ended_or_passed_while_rows_are_on_their_way(tmp_path: Path) -> None:
    ahead, pool, broker = ahead_of(tmp_path, 2, 3)
    broker._world.end = 9

    ahead.poll(256, 0.0)
    assert broker.ended()
    assert not ahead.ended()
    assert ahead.passed() == {}
    pool.answer(0)
    assert len(ahead.poll(256, 0.0)) == 2
    assert ahead.ended()
    assert ahead.passed() == {"in": 9}


def test_the_mark_covers_rows_from_the_first_that_has_not_come_out(tmp_path: Path) -> None:
    ahead, pool, broker = ahead_of(tmp_path, 4 * AHEAD, AHEAD // 2)

    ahead.poll(1, 0.0)
    for number in range(2):
        pool.answer(number)
        ahead.poll(AHEAD // 2, 0.0)
    ahead.poll(1, 0.0)

    left = Attempts(left=broker._world.mark)
    (stretch,) = left.cut_short
    assert stretch.first <= AHEAD
    assert stretch.end >= 3 * AHEAD


def test_rows_over_which_a_life_ended_are_not_polled_ahead(tmp_path: Path) -> None:
    _, _, broker = ahead_of(tmp_path / "before", 5, 2)
    broker.poll(5, 0.0)
    pool = Slow()
    again = MemoryBroker(World(documents=rows_of(5), mark=broker._world.mark), Store(tmp_path / "after"))
    ahead = Ahead(again, cast(Pool, pool), 2, lambda source, position, how: None)

    assert len(ahead.poll(3, 0.0)) == 3
    assert not pool.asked
