"""Everything an operator sees of one process, and a clock that only moves when a test moves it."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from ops.events import Events
from ops.health import Health
from ops.log import LogConfig, RateLimit, open_log
from ops.metrics import Metrics
from ops.systemd import ServiceManager


@dataclass
class Clock:
    """Seconds."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Process:
    """Events with the real things behind them."""

    clock: Clock = field(default_factory=Clock)
    file: io.BytesIO = field(default_factory=io.BytesIO)
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.health = Health(self.clock)
        self.events = Events(
            self.metrics,
            open_log(LogConfig(), self.file),
            self.health,
            ServiceManager({}),
            limit=RateLimit(clock=self.clock),
            clock=self.clock,
        )

    def lines(self) -> list[dict[str, Any]]:
        """Lines that were logged."""
        return [json.loads(line) for line in self.file.getvalue().splitlines()]

    def samples(self) -> list[Sample]:
        """Values of a scrape."""
        text = generate_latest(self.metrics.registry).decode()
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """One series; fails if there is none."""
        (found,) = [sample.value for sample in self.samples() if (sample.name, sample.labels) == (name, labels)]
        return found

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        """All series of a name, by the values of their labels in the order of the labels' names."""
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for sample in self.samples()
            if sample.name == name
        }


@pytest.fixture
def process() -> Process:
    """A process that just began."""
    return Process()
