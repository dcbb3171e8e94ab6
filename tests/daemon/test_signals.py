"""Signals: the first asks for a stop, the second ends the process; handlers are those from before afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.signals import Interrupted, StopRequest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_for_a_stop_and_ends_work_that_checks_for_it(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopRequest().installed() as stop:
        stop.check()
        os.kill(os.getpid(), number)
        stop.wait(3600)  # ends at once

        assert (stop.requested, stop.signal_number) == (True, number)
        with pytest.raises(Interrupted):
            stop.check()
    assert signal.getsignal(number) is before


def test_a_hangup_is_told_once_and_stops_nothing() -> None:
    with StopRequest().installed() as stop:
        os.kill(os.getpid(), signal.SIGHUP)

        assert [stop.take_hangup(), stop.take_hangup()] == [True, False]
        assert not stop.requested


@pytest.mark.parametrize(
    ("timeout_s", "signals", "code"),
    [(None, 2, 128 + signal.SIGTERM), (0.05, 1, 1)],
    ids=["a second signal", "a drain that takes too long"],
)
def test_a_process_that_does_not_stop_is_ended(timeout_s: float | None, signals: int, code: int) -> None:
    program = (
        "import os, signal, threading; from daemon.signals import StopRequest\n"
        f"with StopRequest({timeout_s}).installed():\n"
        f"    for _ in range({signals}): os.kill(os.getpid(), signal.SIGTERM)\n"
        "    while True: threading.Event().wait(60)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=120, check=False).returncode == code
