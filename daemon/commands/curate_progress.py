"""Progress of `curate` on a terminal: what is being done, how fast, how long it will take. Silent elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from consumers.files.broker import FilesBroker
from curatord.printable import printable
from daemon.pipeline import Pipeline
from daemon.signals import StopRequest
from ops.phases import PhaseClock


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
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._documents: TaskID | None = None
        self._teacher: TaskID | None = None
        self._pipeline: Pipeline | None = None
        self._broker: FilesBroker | None = None
        self._rows = 0
        self._began = time.monotonic()
        self.seconds = 0.0

    def __enter__(self) -> CurateProgress:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    def say(self, what: str) -> None:
        """Show what is being done before the first document; without a terminal, say it in a line."""
        if self._bars.disable:
            print(what, file=sys.stderr, flush=True)
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
        self._began = time.monotonic()
        if self._documents is not None:
            self._bars.update(self._documents, description="Curating", total=1.0)

    def advance(self, rows: int) -> None:
        """So many rows more. The rate is that of curating: training has a line of its own, and its own time."""
        assert self._pipeline is not None
        assert self._broker is not None
        assert self._documents is not None
        self._rows += rows
        seconds = max(time.monotonic() - self._began - training_seconds(self._pipeline.phases), 1e-3)
        note = f"{self._rows:,} documents, {self._rows / seconds:,.0f}/s, {self._pipeline.ledger.sequences:,} sequences"
        self._bars.update(self._documents, completed=self._broker.share_read(), note=note)

    def teacher(self, done: int, total: int) -> None:
        """The teacher embedded so many documents for the student. Raises `Interrupted` where a stop was asked for."""
        self._stop.check()
        if self._teacher is None:
            self._teacher = self._bars.add_task("Training", total=total, note="")
        self._bars.update(
            self._teacher, completed=done, total=total, note=f"{done:,} of {total:,} documents through the teacher"
        )
        if done == total:
            self._bars.update(self._teacher, note="training the student on them")

    def end(self) -> None:
        """All documents were processed."""
        self.seconds = time.monotonic() - self._began
