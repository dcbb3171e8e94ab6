"""Health: what the process is doing and when its loop last moved. Set by the loop, read by probes.

A standby that follows the journal is ready: it does all that it is there for, and a rolling update may go on to the
next process. So an orchestrator takes the owner down only when a warm process stands by.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Status(Enum):
    """Activities of the process."""

    CONNECTING = "connecting"
    RESTORING = "restoring"
    STANDBY = "standby"
    TAKING_OVER = "taking_over"
    READY = "ready"
    BROKER_AWAY = "broker_away"
    DRAINING = "draining"


READY_STATUSES = frozenset({Status.STANDBY, Status.READY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """The answer to `/readyz`."""

    status: Status
    reason: str  # a few words for people

    @property
    def is_ready(self) -> bool:
        """Whether this process does what it is there for."""
        return self.status in READY_STATUSES


class Health:
    """Thread-safe. `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._beat_at = clock()
        self._readiness = Readiness(status=Status.CONNECTING, reason="connecting to the broker")
        self._outage: str | None = None

    def beat(self) -> None:
        """The loop moved."""
        self._beat_at = self._clock()

    def heartbeat_age_s(self) -> float:
        """Seconds since the loop last moved."""
        return self._clock() - self._beat_at

    def become(self, status: Status, reason: str = "") -> None:
        """From now on the process does this. Whether the broker is away is another matter, and stays."""
        with self._lock:
            self._readiness = Readiness(status=status, reason=reason or status.value.replace("_", " "))
        self.beat()

    def broker_away(self, reason: str) -> bool:
        """The broker cannot be reached; whether that is new."""
        with self._lock:
            is_new, self._outage = self._outage is None, reason
        return is_new

    def broker_back(self) -> bool:
        """The broker answers; whether it had been away."""
        with self._lock:
            was_away, self._outage = self._outage is not None, None
        return was_away

    def readiness(self) -> Readiness:
        """The answer to a probe. A process that drains is draining, in any state of the broker."""
        with self._lock:
            if self._outage is None or self._readiness.status is Status.DRAINING:
                return self._readiness
            return Readiness(status=Status.BROKER_AWAY, reason=f"the broker is away: {self._outage}")
