"""Progress on a screen and without one."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from daemon.commands import curate_progress
from daemon.commands.curate_progress import CurateProgress
from daemon.signals import StopRequest
from ops.phases import PhaseClock
from state.ledger import Ledger


def pipeline(training: float) -> SimpleNamespace:
    phases = PhaseClock()
    phases.seconds["warm_up"] = training
    return SimpleNamespace(phases=phases, ledger=Ledger())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of the clock; a line is due every few hundredths of a real one."""
    now = [1000.0]
    monkeypatch.setattr(curate_progress, "LINE_INTERVAL_S", 0.02)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_a_line_now_and_then_has_rate_and_rest(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    with CurateProgress(StopRequest()) as progress:
        progress.say("Loading")
        clock[0] += 20
        progress.begin(SimpleNamespace(share_read=lambda: 0.25), pipeline(training=50.0))
        clock[0] += 80  # of which 50 were training
        progress.advance(3000)
        time.sleep(0.2)

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Loading"
    # 3,000 in 100 s, all of them; a quarter took 30 s without the training, so the rest takes 90.
    assert lines[-1] == "Curating: 25% read, 3,000 documents, 30 a second in all, 0 sequences, 90 s left (100 s)"


def test_the_teacher_says_how_far_it_is_and_how_long_it_will_take(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    with CurateProgress(StopRequest()) as progress:
        progress.teacher(0, 1000)
        clock[0] += 50.0
        progress.teacher(100, 1000)
        time.sleep(0.2)
        told = capsys.readouterr().err.splitlines()[-1]
        progress.teacher(1000, 1000)
        time.sleep(0.2)

    assert told == "Training: 100 of 1,000 documents through the teacher, 8 min left (50 s)"
    assert capsys.readouterr().err.splitlines()[-1] == "Training: training the student on them (50 s)"


def test_no_line_comes_after_the_end(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curate_progress, "LINE_INTERVAL_S", 0.02)

    with CurateProgress(StopRequest()) as progress:
        progress.say("Loading")
    time.sleep(0.05)
    capsys.readouterr()
    time.sleep(0.1)

    assert capsys.readouterr().err == ""
