"""Progress of `curate`: what is being done, how fast, how long it will take. Every 10 s a line without a terminal.

There is one rate, and it counts all time since the command began: loading, compiling and training as well.
"""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from consumers.files.broker import FilesBroker
from curatord.printable import printable
from daemon.pipeline import Pipeline
from daemon.signals import StopRequest
from ops.phases import PhaseClock

LINE_INTERVAL_S = 10.0
MIN_SHARE = 0.01  # of the work that is done before the rest can be told


def training_seconds(phases: PhaseClock) -> float:
    """Time in which documents waited for the student."""
    return sum(phases.seconds.get(phase, 0.0) for phase in ("warm_up", "retrain"))


class CurateProgress:
    """One line for the documents, one for the teacher while it works."""

    def __init__(self, stop: StopRequest) -> None:
        self._stop = stop
        self._bars = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._documents: TaskID | None = None
        self._teacher: TaskID | None = None
        self._pipeline: Pipeline | None = None
        self._broker: FilesBroker | None = None
        self._rows = 0
        self._began = self._curating_since = self._teaching_since = time.monotonic()
        self._line = ""  # of what is being done
        self._ended = threading.Event()
        self._lines = threading.Thread(target=self._tell_lines, name="progress", daemon=True)

    def __enter__(self) -> CurateProgress:
        self._bars.start()
        if self._bars.disable:
            self._lines.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._bars.stop()

    @property
    def seconds(self) -> float:
        """Since the command began."""
        return time.monotonic() - self._began

    def _tell_lines(self) -> None:
        while not self._ended.wait(LINE_INTERVAL_S):
            print(f"{self._line} ({self.seconds:,.0f} s)", file=sys.stderr, flush=True)

    def say(self, what: str) -> None:
        """Show what is being done before the first document; without a terminal, say it in a line."""
        if self._bars.disable:
            print(what, file=sys.stderr, flush=True)
        self._line = what
        self._documents = self._bars.add_task(what, total=None, note="")

    def tell(self, what: str) -> None:
        """Say something that stays on the screen."""
        told = printable(f"curatord: {what}", keep="\n")
        if self._bars.disable:
            print(told, file=sys.stderr, flush=True)
        else:
            self._bars.console.print(told, markup=False, highlight=False, soft_wrap=True)

    def begin(self, broker: FilesBroker, pipeline: Pipeline) -> None:
        """The documents come now."""
        self._broker, self._pipeline = broker, pipeline
        self._curating_since = time.monotonic()
        self._line = "Curating"
        if self._documents is not None:
            self._bars.update(self._documents, description="Curating", total=1.0)

    def advance(self, rows: int) -> None:
        """So many rows more. What is left is told by the time without training, which mostly comes once."""
        assert self._pipeline is not None
        assert self._broker is not None
        assert self._documents is not None
        self._rows += rows
        share = self._broker.share_read()
        spent = time.monotonic() - self._curating_since - training_seconds(self._pipeline.phases)
        note = (
            f"{self._rows:,} documents, {self._rows / max(self.seconds, 1e-3):,.0f} a second in all, "
            f"{self._pipeline.ledger.sequences:,} sequences{_left(spent, share)}"
        )
        self._line = f"Curating: {share:.0%} read, {note}"
        self._bars.update(self._documents, completed=share, note=note)

    def teacher(self, done: int, total: int) -> None:
        """The teacher embedded so many documents for the student. Raises `Interrupted` where a stop was asked for."""
        self._stop.check()
        if self._teacher is None:
            self._teaching_since = time.monotonic()
            self._teacher = self._bars.add_task("Training", total=total, note="")
        note = f"{done:,} of {total:,} documents through the teacher"
        note += _left(time.monotonic() - self._teaching_since, done / max(1, total))
        if done == total:
            note = "training the student on them"
        self._line = f"Training: {note}"
        self._bars.update(self._teacher, completed=done, total=total, note=note)


def _left(seconds: float, share: float) -> str:
    """How long the rest will take when this share took these seconds."""
    if not MIN_SHARE <= share < 1:
        return ""
    left = seconds / share * (1 - share)
    return f", {left:,.0f} s left" if left < 120 else f", {left / 60:,.0f} min left"
