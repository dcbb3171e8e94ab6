"""The loop of a worker: steps, lag, outages and hangups, until it is asked to stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from curatord.errors import BrokerUnavailable, StateError
from daemon import work
from daemon.signals import StopRequest
from daemon.work import work_until_stopped


@dataclass
class Told:
    """Events and a share of two partitions, which note what they hear."""

    partitions: tuple[int, ...] = (0, 1)
    heard: list[object] = field(default_factory=list)

    def lag(self) -> dict[str, int]:
        return {"a-0": 3}

    def rewind(self) -> None:
        self.heard.append("rewind")

    def beat(self) -> None:
        self.heard.append("beat")

    def lag_measured(self, lag: dict[str, int]) -> None:
        self.heard.append(lag)

    def shared(self, num_partitions: int, *, scores: bool) -> None:
        self.heard.append((num_partitions, scores))

    def broker_away(self, problem: str) -> None:
        self.heard.append(problem)

    def broker_back(self) -> None:
        self.heard.append("back")


def working(steps: list[Callable[[], None]], told: Told, *, is_scorer: bool = False) -> None:
    """Take these steps, and stop in the last."""
    with StopRequest().installed() as stop:
        left = list(steps)

        def step() -> None:
            if len(left) == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            left.pop(0)()

        check = lambda: told.heard.append("checked")  # noqa: E731
        work_until_stopped(step, told, stop, told, check_config=check, is_scorer=is_scorer)


def nothing() -> None:
    """A step in which nothing came."""


def away() -> None:
    raise BrokerUnavailable("no broker")


@pytest.mark.parametrize("is_scorer", [True, False])
def test_lag_and_share_are_told_at_first_and_then_now_and_then(is_scorer: bool) -> None:
    told = Told()
    working([nothing, nothing], told, is_scorer=is_scorer)
    assert told.heard == ["beat", {"a-0": 3}, (2, is_scorer), "back", "beat", "back"]


def test_a_share_that_changed_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "LAG_INTERVAL_S", 0.0)
    told = Told()

    def move() -> None:
        told.partitions = ()

    working([nothing, nothing, move], told)
    assert [heard for heard in told.heard if isinstance(heard, tuple)] == [(2, False), (0, False)]


def test_an_outage_is_waited_for_and_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "RETRY_S", 0.0)
    told = Told()
    working([away, nothing], told)
    assert told.heard[:4] == ["beat", "no broker", "rewind", "beat"]
    assert told.heard[-1] == "back"


def test_a_hangup_has_the_file_checked() -> None:
    told = Told()
    working([lambda: os.kill(os.getpid(), signal.SIGHUP), nothing], told)
    assert told.heard.count("checked") == 1


def test_what_no_restart_repairs_ends_it() -> None:
    def lost() -> None:
        raise StateError("lost")

    with pytest.raises(StateError, match="lost"):
        working([nothing, lost], Told())
