"""Where the loop's time goes: every moment belongs to exactly one phase, so the shares sum to 1."""

from __future__ import annotations

import time
from collections.abc import Callable


class PhaseClock:
    """Seconds by phase. `clock` counts seconds: of the wall by default, of the processor in benchmarks.

    >>> ticks = iter([0.0, 1.0, 3.0, 3.5])
    >>> phases = PhaseClock(lambda: next(ticks))
    >>> phases.enter("poll"), phases.enter("filter"), phases.enter("poll")
    (None, None, None)
    >>> phases.seconds
    {'start': 1.0, 'poll': 2.0, 'filter': 0.5}
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._phase = "start"
        self._since = clock()
        self.seconds: dict[str, float] = {}

    def enter(self, phase: str) -> None:
        """From now on, time belongs to this phase."""
        now = self._clock()
        self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = phase, now
