"""Ticks: nothing is taken before the warm-up, and a restart finds the same documents waiting."""

from __future__ import annotations

from curation.ticks import TICK_ORDINALS, Accepted
from daemon.stages.ticks import Ticks
from tests.curation.test_ticks import accepted_at


def test_documents_wait_until_the_warm_up_and_then_go_tick_by_tick() -> None:
    ticks, asked = Ticks(), list[int]()
    ticks.waiting.add(accepted_at(3, 600, 700, 1100))

    def is_warm(waiting: Accepted) -> bool:
        asked.append(len(waiting))
        return len(waiting) >= 3

    assert [tick.ordinals_B.tolist() for tick in ticks.complete(0, 1023, is_warm)] == []
    assert [tick.ordinals_B.tolist() for tick in ticks.complete(1023, 1536, is_warm)] == [[3], [600, 700]]
    assert asked == [1, 3, 1]
    assert ticks.waiting.until().ordinals_B.tolist() == [1100]


def test_the_end_of_the_input_takes_an_open_tick() -> None:
    ticks = Ticks()
    ticks.waiting.add(accepted_at(TICK_ORDINALS, TICK_ORDINALS + 1))
    taken = list(ticks.rest(TICK_ORDINALS + 2, lambda waiting: bool(len(waiting))))
    assert [tick.ordinals_B.tolist() for tick in taken] == [[TICK_ORDINALS, TICK_ORDINALS + 1]]
    assert not len(ticks.waiting)
