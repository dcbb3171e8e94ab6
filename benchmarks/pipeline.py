"""The whole pipeline on one core: documents a second, and where the time goes, stage by stage.

    python -m benchmarks.pipeline [--repeats 3]

Real documents of about 3.7 KB are cut from the development corpora at paragraph bounds, written as JSON lines, and go
through `curate`'s own code, from raw bytes to Parquet on disk. The warm-up (teacher, training) is run and then left
out: the clock starts when the first tick after it is complete. Processor time of one thread.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from consumers.files.broker import FilesBroker
from consumers.files.inputs import expand
from daemon.app import build_restored, encode_identity
from daemon.config import parse_config
from daemon.loop import Loop
from daemon.signals import StopRequest
from ops.phases import PhaseClock
from state.store import Store, state_folder
from tests.corpus import read_zst_jsonl

CORPORA = Path(os.environ.get("CURATORD_TEST_CORPORA", Path(__file__).parents[2] / "shared" / "corpora"))
FILES = ("win32", "powershell-docs", "peps", "gesetze-de", "arxiv-abstracts", "books")
TARGET_BYTES = 3700
NUM_WARM_UP = 2048
NUM_MEASURED = 16_000


def chunks() -> Iterator[str]:
    """Pieces of real documents of about the target size, one from each source in turn."""
    sources = [chunks_of(read_zst_jsonl(CORPORA / "web" / f"{name}.jsonl.zst")) for name in FILES]
    while sources:
        for source in list(sources):
            piece = next(source, None)
            if piece is None:
                sources.remove(source)
            else:
                yield piece


def chunks_of(documents: Iterator[dict[str, str]]) -> Iterator[str]:
    """Documents joined or cut at paragraphs, and at sentences where a paragraph is longer than the target."""
    pieces: list[str] = []
    size = 0
    for document in documents:
        for paragraph in document["text"].split("\n\n"):
            for piece in paragraph.split(". ") if len(paragraph) > TARGET_BYTES else [paragraph]:
                pieces.append(piece)
                size += len(piece.encode()) + 2
                if size >= TARGET_BYTES - 200:
                    yield "\n\n".join(pieces)
                    pieces, size = [], 0


def write_documents(path: Path, num_documents: int = NUM_WARM_UP + NUM_MEASURED) -> tuple[int, int]:
    """The input file: (documents, bytes of text)."""
    num_bytes = 0
    with path.open("wb") as file:
        for number, text in zip(range(num_documents), chunks(), strict=False):
            file.write(msgspec.json.encode({"id": f"chunk-{number}", "text": text}) + b"\n")
            num_bytes += len(text.encode())
    return number + 1, num_bytes


class Timed:
    """CPU seconds of one run by phase, from the first row after the warm-up."""

    def __init__(self, phases: PhaseClock) -> None:
        self._phases = phases
        self._rows = 0
        self._before: dict[str, float] = {}
        self.rows = 0

    def __call__(self, rows: int) -> None:
        self._rows += rows
        if not self._before and self._rows >= NUM_WARM_UP + 1024:
            self._phases.enter("poll")
            self._before = dict(self._phases.seconds)
            self.rows = -self._rows

    def seconds(self) -> dict[str, float]:
        """By phase."""
        self._phases.enter("poll")
        self.rows += self._rows
        return {name: total - self._before.get(name, 0.0) for name, total in self._phases.seconds.items()}


def measure(documents: Path, work: Path) -> tuple[int, dict[str, float]]:
    """One run from nothing: (rows measured, CPU seconds by phase)."""
    shutil.rmtree(work, ignore_errors=True)
    config = parse_config({"daemon": {"threads": 1}, "embedding": {"warmup_documents": NUM_WARM_UP}}, "benchmark")
    phases = PhaseClock(time.thread_time)
    store = Store(state_folder(work))
    pipeline = build_restored(config, store, phases=phases)
    pipeline.compile()
    broker = FilesBroker(expand([str(documents)]), config.input, work, store)
    loop = Loop(
        pipeline, broker, config.daemon, encode_identity(config, pipeline.decide.prepare.tokenizer), time.monotonic
    )
    timed = Timed(phases)
    loop.run(StopRequest(), flush=False, on_rows=timed)
    seconds = timed.seconds()
    store.close()
    return timed.rows, seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        documents = Path(folder) / "documents.jsonl"
        num_documents, num_bytes = write_documents(documents)
        runs = sorted(
            (measure(documents, Path(folder) / "work") for _ in range(options.repeats)),
            key=lambda result: sum(result[1].values()),
        )
    rows, seconds = runs[len(runs) // 2]
    total = sum(seconds.values())
    print(f"{num_documents:,} documents, {num_bytes / num_documents:,.0f} bytes each; {rows:,} measured, one thread\n")
    print("| phase | µs a document | share |\n|---|---:|---:|")
    for name, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        if spent:
            print(f"| {name} | {spent / rows * 1e6:.1f} | {spent / total:.1%} |")
    others = total - seconds.get("tokenize", 0.0)
    spread = [sum(result[1].values()) / result[0] * 1e6 for result in runs]
    print(f"| **all** | **{total / rows * 1e6:.1f}** | |")
    print(f"\n**{rows / total:,.0f} documents a second**, {rows / others:,.0f} with the tokenizer's time left out")
    print(f"({len(runs)} runs: {', '.join(f'{value:.0f}' for value in spread)} µs a document)")


if __name__ == "__main__":
    main()
