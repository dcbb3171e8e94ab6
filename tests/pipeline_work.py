"""Counts the work of the pipeline on a fixed small stream, stage by stage: what a change may not raise unseen.

    make record-work        writes pipeline_work.json anew

1,000 rows of `tests.simulation.world` go from a file to Parquet over a state that is warm. Counted are, a row, the
calls of kernels, and those of Python and C functions in the loop's thread. They are the same on every machine, but for
how long another thread is waited for. The work within a kernel is counted by tests/test_linear_time.py.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from numba.core.dispatcher import Dispatcher

from consumers.files.broker import FilesBroker
from consumers.files.inputs import expand
from daemon.app import build_restored, encode_identity
from daemon.loop import Loop
from daemon.signals import StopRequest
from ops.phases import PhaseClock
from state.store import Store, state_folder
from tests.simulation.world import NUM_WARM_ROWS, make_config, make_rows

TABLE = Path(__file__).with_suffix(".json")
NUM_ROWS = 1000
TOLERANCE = 1.05
# Of each counter, as much more a row is no more work: a wait that ends earlier or later.
SLACK = {"kernel_calls": 0.001, "python_calls": 0.5}


@dataclass
class Work:
    """The work of a stage for a row."""

    kernel_calls: float = 0.0
    python_calls: float = 0.0


def more_work(recorded: dict[str, dict[str, float]], found: dict[str, dict[str, float]]) -> list[str]:
    """Stages that are not in the table, and counters that rose beyond the tolerance."""
    rose = [f"{stage} is not in the table" for stage in found.keys() - recorded.keys()]
    for stage in found.keys() & recorded.keys():
        for counter, value in found[stage].items():
            before = recorded[stage][counter]
            if value > TOLERANCE * before + SLACK[counter]:
                rose.append(f"{stage}: {counter} {before:,.2f} to {value:,.2f} a row")
    return sorted(rose)


def count_stream(folder: Path) -> dict[str, dict[str, float]]:
    """Work a row by stage. The stream is taken twice, for the first pass loads what the second finds."""
    rows = [row.value for row in make_rows(99, NUM_WARM_ROWS + NUM_ROWS) if isinstance(row.value, bytes)]
    lines = [row for row in rows if b"\n" not in row]
    warm_up, documents = folder / "warm-up.jsonl", folder / "documents.jsonl"
    warm_up.write_bytes(b"\n".join(lines[:NUM_WARM_ROWS]) + b"\n")
    documents.write_bytes(b"\n".join(lines[NUM_WARM_ROWS:]) + b"\n")
    for name in ("first", "second"):
        _curate(warm_up, folder / name)
        work = _curate(documents, folder / name)
    num_rows = len(lines) - NUM_WARM_ROWS
    return {
        stage: {name: round(value / num_rows, 3) for name, value in asdict(counts).items()}
        for stage, counts in work.items()
    }


def _curate(documents: Path, output: Path) -> dict[str, Work]:
    """`curate` without its screen; its work by stage."""

    class Counters(PhaseClock):
        """The counters since a stage began, added to it when it ends."""

        def __init__(self) -> None:
            self.work: dict[str, Work] = {}
            self.kernel_calls = self.python_calls = 0
            super().__init__(time.thread_time)

        def enter(self, phase: str) -> None:
            stage = self.work.setdefault(self._phase, Work())
            stage.kernel_calls += self.kernel_calls
            stage.python_calls += self.python_calls
            self.kernel_calls = self.python_calls = 0
            super().enter(phase)

        def profile(self, frame: object, event: str, argument: object) -> None:
            self.python_calls += event in ("call", "c_call")

    counters = Counters()
    call = Dispatcher.__call__

    def counted_call(self: Any, *arguments: Any) -> Any:
        counters.kernel_calls += 1
        return call(self, *arguments)

    config = make_config()
    store = Store(state_folder(output))
    pipeline = build_restored(config, store, phases=counters)
    broker = FilesBroker(expand([str(documents)]), config.input, output, store)
    identity = encode_identity(config, pipeline.decide.prepare.tokenizer)
    loop = Loop(pipeline, broker, config.daemon, identity, lambda: 0.0)
    counters.enter("poll")
    counters.work.clear()
    Dispatcher.__call__ = counted_call
    sys.setprofile(counters.profile)
    try:
        loop.run(StopRequest(), flush=False)
    finally:
        sys.setprofile(None)
        Dispatcher.__call__ = call
    counters.enter("end")
    pipeline.close()
    store.close()
    return counters.work


def main() -> None:
    """Write the table."""
    with TemporaryDirectory() as folder:
        found = count_stream(Path(folder))
    lines = [f"  {json.dumps(stage)}: {json.dumps(work)}" for stage, work in sorted(found.items())]
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
