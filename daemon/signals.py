"""Signals: a stop that was asked for, and how work that takes long ends at it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType

from ops.stacks import stacks_on

POLL_S = 0.2  # a signal is seen after this long


class Interrupted(BaseException):
    """A stop was asked for in the middle of work that takes long; the open epoch is given up.

    Not an Exception, so that nothing on the way takes it for a failure.
    """


class StopRequest:
    """TERM and INT ask for a drain; the second one ends the process now. HUP is noted. USR1 dumps the stacks.

    A drain that takes longer than `drain_timeout_s` ends the process with exit code 1: what was committed is safe.
    """

    def __init__(self, drain_timeout_s: float | None = None) -> None:
        self._drain_timeout_s = drain_timeout_s
        self.requested = False
        self.signal_number = 0
        self._hangup = False

    @contextmanager
    def installed(self) -> Iterator[StopRequest]:
        """Handle the signals of this process for a while. Main thread only."""
        before = [(number, signal.signal(number, self._handle)) for number in (signal.SIGINT, signal.SIGTERM)]
        before.append((signal.SIGHUP, signal.signal(signal.SIGHUP, self._hang_up)))
        try:
            with nullcontext() if sys.__stderr__ is None else stacks_on(signal.SIGUSR1, sys.__stderr__):
                yield self
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    def wait(self, seconds: float) -> None:
        """Wait that long, or until a stop was asked for."""
        end = time.monotonic() + seconds
        while not self.requested and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, POLL_S))

    def take_hangup(self) -> bool:
        """Whether HUP came since the last call."""
        was, self._hangup = self._hangup, False
        return was

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        self._hangup = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            os._exit(128 + number)
        self.requested = True
        self.signal_number = number
        if self._drain_timeout_s is not None:
            late = threading.Timer(self._drain_timeout_s, os._exit, [1])
            late.daemon = True
            late.start()

    def check(self) -> None:
        """Raise `Interrupted` if a stop was asked for."""
        if self.requested:
            raise Interrupted
