"""The whole pipeline on one core: documents a second, and where the time goes, by stage and by kind.

    python -m benchmarks.pipeline [--bytes 3800 1100 400] [--formats jsonl parquet arrow] [--repeats 3]

Real documents are cut from the development corpora at paragraph bounds, written in each format, and go through
`curate`'s own code, from raw bytes to Parquet on disk. The warm-up (teacher, training) is run once and kept; every run
is a process of its own, and begins with a copy of the state. The clock runs over whole shards, from the commit of one
to that of a later one. It starts after two: the first commits import what they need, and the memory of the process
grows. Commits are waited for, one every 5,000 documents.

Time is that of the processor in the loop's thread; that of other threads (commits) is a line of its own. Its kinds:

- kernel: calls of compiled kernels from Python;
- library: functions of other packages, as far as Python sees their calls (those of numpy's arrays and of Cython's
  methods it does not see);
- Python: the rest of the stage, and numpy.

Kernels and libraries are measured in a run under `cProfile`, a profile a stage; the stage in runs without.

Unpinned: without the environment variables that hold BLAS to one thread, with what the commands do about it themselves.
"""

from __future__ import annotations

import argparse
import builtins
import cProfile
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import msgspec

from ops.phases import PhaseClock

FILES = ("win32", "powershell-docs", "peps", "gesetze-de", "arxiv-abstracts", "books")
TARGET_BYTES = 3700
OVERSHOOT = 0.946  # a piece is complete once it has this share of the target; the last paragraph goes beyond
NUM_WARM_UP = 2048
NUM_BEFORE = NUM_WARM_UP + 1024  # documents of the warm-up, of which rules reject some
NUM_SETTLING = 6000  # documents of the largest size, after which the clock starts with the next shard
NUM_SHARDS = 3
NUM_MEASURED = 20_000  # documents of the largest size that are more than so many shards, and of others as many bytes

SIZES = {400: 400, 1100: 1080, 3800: TARGET_BYTES}  # bytes of a document, as named, and the target that gives them
FORMATS = ("jsonl", "parquet", "arrow")
KINDS = ("kernel", "library", "Python")
PINS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def chunks(target_bytes: int = TARGET_BYTES, after: int = 0) -> Iterator[str]:
    """Pieces of real documents of about the target size, one from each source in turn.

    They go on where so many pieces of the largest size end.
    """
    from tests.corpus import CORPORA, read_zst_jsonl

    def targets() -> Iterator[int]:
        for number in count():
            yield TARGET_BYTES if number < after else target_bytes

    paths = [CORPORA / "web" / f"{name}.jsonl.zst" for name in FILES]
    sizes = targets()
    sources = [chunks_of(read_zst_jsonl(path), sizes) for path in paths]
    num_pieces = 0
    while sources:
        for source in list(sources):
            piece = next(source, None)
            if piece is None:
                sources.remove(source)
                continue
            num_pieces += 1
            if num_pieces > after:
                yield piece


def chunks_of(documents: Iterator[dict[str, str]], sizes: Iterator[int]) -> Iterator[str]:
    """Documents joined or cut at paragraphs, and at sentences where a paragraph is longer than the target."""
    pieces: list[str] = []
    size, target_bytes = 0, next(sizes)
    for document in documents:
        for paragraph in document["text"].split("\n\n"):
            for piece in paragraph.split(". ") if len(paragraph) > target_bytes else [paragraph]:
                pieces.append(piece)
                size += len(piece.encode()) + 2
                if size >= OVERSHOOT * target_bytes:
                    yield "\n\n".join(pieces)
                    pieces, size, target_bytes = [], 0, next(sizes)


def write_documents(path: Path, num_documents: int = NUM_WARM_UP + NUM_MEASURED) -> tuple[int, int]:
    """JSON lines: (documents, bytes of text)."""
    return write_texts(path, islice(chunks(), num_documents))


def write_texts(path: Path, texts: Iterable[str], name: str = "chunk") -> tuple[int, int]:
    """One file, in the format of its suffix: (documents, bytes of text)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"id": f"{name}-{number}", "text": text} for number, text in enumerate(texts)]
    if path.suffix == ".jsonl":
        path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=4096)
    else:
        table = pa.Table.from_pylist(rows)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=4096)
    return len(rows), sum(len(row["text"].encode()) for row in rows)


def is_library(code: Any) -> bool:
    """Whether a function that a profile names belongs to another package; numpy and the interpreter do not count."""
    if not isinstance(code, str):  # Python's, by its file
        return "site-packages" in code.co_filename and "/numba/" not in code.co_filename
    # <method 'decode' of 'msgspec.json.Decoder' objects>, <built-in method orjson.loads>
    owner = code.split("' of '")[-1].removeprefix("<built-in method ")
    root, _, name = owner.partition(".")
    if root == "builtins":  # also says so: a class of PyO3, which names no module
        return not hasattr(builtins, name.split("'")[0].rstrip(">"))
    return name != "" and root not in sys.stdlib_module_names | {"numpy"}


def kernel_codes() -> set[Any]:
    """The code that compiled functions were made from: a profile names them by it."""
    from numba.core.dispatcher import Dispatcher

    values = (
        value for module in list(sys.modules.values()) for value in list(getattr(module, "__dict__", {}).values())
    )
    # `isinstance` asks an object for its class, which some of C make an error of.
    return {value.py_func.__code__ for value in values if issubclass(type(value), Dispatcher)}


class Profiles(PhaseClock):
    """A profile a stage."""

    def __init__(self) -> None:
        super().__init__(time.thread_time)
        self.by_stage: dict[str, cProfile.Profile] = defaultdict(lambda: cProfile.Profile(time.thread_time))

    def enter(self, phase: str) -> None:
        self.by_stage[self._phase].disable()
        super().enter(phase)
        self.by_stage[phase].enable()

    def kinds(self) -> dict[str, dict[str, float]]:
        """Seconds in kernels and in libraries by stage; a call of the clock is taken off each library call."""
        began = time.thread_time()
        for _ in range(1000):
            time.thread_time()
        clock_s = (time.thread_time() - began) / 1000
        kernels = kernel_codes()
        found: dict[str, dict[str, float]] = {}
        for stage, profile in self.by_stage.items():
            spent = found[stage] = {"kernel": 0.0, "library": 0.0}
            for entry in profile.getstats():
                if entry.code in kernels:
                    spent["kernel"] += entry.inlinetime
                elif is_library(entry.code):
                    spent["library"] += max(0.0, entry.inlinetime - clock_s * entry.callcount)
        return found


def main_of_child(documents: Path, work: Path, *, is_profiled: bool) -> dict[str, Any]:
    """One run over a copy of a state: rows, CPU seconds by stage, and of them in kernels and libraries."""
    from consumers.files.broker import FilesBroker
    from consumers.files.inputs import expand
    from daemon.app import build_restored, encode_identity
    from daemon.config import parse_config
    from daemon.loop import Loop
    from daemon.signals import StopRequest
    from state.store import Store, state_folder

    embedding = {"warmup_documents": NUM_WARM_UP, "retrain_drop": 1.0}  # one version of the student
    config = parse_config({"embedding": embedding}, "benchmark")
    phases = Profiles() if is_profiled else PhaseClock(time.thread_time)
    store = Store(state_folder(work))
    pipeline = build_restored(config, store, phases=phases)
    pipeline.compile()
    pipeline.decide.prepare.tokenizer.settle()
    broker = FilesBroker(expand([str(documents)]), config.input, work, store)
    identity = encode_identity(config, pipeline.decide.prepare.tokenizer)
    # Without a clock of the wall, so that an epoch ends by its number of documents on a busy machine, too.
    loop = Loop(pipeline, broker, config.daemon, identity, lambda: 0.0)
    stop = StopRequest()
    rows = 0
    before: dict[str, float] = {}
    process_s = 0.0
    shards_before = 0

    def on_rows(num_rows: int) -> None:
        nonlocal rows, process_s, shards_before
        rows += num_rows
        num_shards = pipeline.ledger.sequences // config.packing.shuffle_block_rows
        if not before and rows < NUM_SETTLING:
            shards_before = num_shards
        elif not before and num_shards > shards_before:
            loop.commit()
            phases.enter("poll")
            if isinstance(phases, Profiles):
                for profile in phases.by_stage.values():
                    profile.clear()
            before.update(phases.seconds)
            process_s = time.process_time()
            rows, shards_before = 0, num_shards
        elif before and num_shards - shards_before >= NUM_SHARDS:
            stop.requested = True

    is_at_end = loop.run(stop, flush=False, on_rows=on_rows)
    phases.enter("end")
    process_s = time.process_time() - process_s
    if is_at_end and before:
        raise SystemExit("too few documents for whole shards")
    store.close()
    seconds = {stage: total - before.get(stage, 0.0) for stage, total in phases.seconds.items()}
    kinds = phases.kinds() if isinstance(phases, Profiles) else {}
    return {"rows": rows, "seconds": seconds, "kinds": kinds, "process": process_s}


def child(folder: Path, documents: Path, *, pinned: bool = True, profiled: bool = False) -> dict[str, Any]:
    """The result of a run in a process of its own, over a copy of the warm state."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    if (folder / "warm").exists():
        shutil.copytree(folder / "warm", work)
    environment = {name: value for name, value in os.environ.items() if name not in PINS}
    environment |= dict.fromkeys(PINS, "1") if pinned else {}
    environment["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # as the commands do
    command = [sys.executable, "-m", "benchmarks.pipeline", "--child", str(documents), str(work)]
    command += ["--profiled"] if profiled else []
    command += ["--as-commands-do"] if not pinned else []
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = msgspec.json.decode(result.stdout)
    return found


def us(run: dict[str, Any], seconds: float) -> float:
    """Microseconds a document."""
    return float(seconds / run["rows"] * 1e6)


def print_stages(runs: list[dict[str, Any]], profiled: dict[str, Any]) -> None:
    """The table of a size and format: the run in the middle, by stage and kind."""
    run = sorted(runs, key=lambda run: sum(run["seconds"].values()))[len(runs) // 2]
    total = sum(run["seconds"].values())
    print(f"\n| stage | µs a document | share | {' | '.join(KINDS)} |\n|---|---:|---:|---:|---:|---:|")
    sums = dict.fromkeys(KINDS, 0.0)
    for stage, spent in sorted(run["seconds"].items(), key=lambda item: -item[1]):
        if us(run, spent) < 0.05:
            continue
        kinds = {kind: us(profiled, value) for kind, value in profiled["kinds"].get(stage, {}).items()}
        row = [kinds.get("kernel", 0.0), kinds.get("library", 0.0)]
        row.append(max(0.0, us(run, spent) - sum(row)))
        for kind, value in zip(KINDS, row, strict=True):
            sums[kind] += value
        cells = " | ".join(f"{value:.1f}" for value in row)
        print(f"| {stage} | {us(run, spent):.1f} | {spent / total:.1%} | {cells} |")
    cells = " | ".join(f"{value:.1f}" for value in sums.values())
    print(f"| **all** | **{us(run, total):.1f}** | | {cells} |")
    print(f"| other threads | {us(run, run['process'] - total):.1f} | | | | |")


def measured(folder: Path, size: int, suffix: str, repeats: int) -> str:
    """Print the stages of a size and format; returns their line in the summary."""
    settling = islice(chunks(after=NUM_BEFORE), NUM_SETTLING)
    num_measured = NUM_MEASURED * TARGET_BYTES // SIZES[size]
    texts = chain(settling, islice(chunks(SIZES[size], NUM_BEFORE + NUM_SETTLING), num_measured))
    documents = folder / f"documents-{size}.{suffix}"
    num_documents, num_bytes = write_texts(documents, texts, name=f"measured-{size}")
    runs = [child(folder, documents) for _ in range(repeats)]
    unpinned = [child(folder, documents, pinned=False) for _ in range(repeats)]
    print(f"\n## {num_bytes / num_documents:,.0f} bytes, {suffix}: {runs[0]['rows']:,} documents")
    print_stages(runs, child(folder, documents, profiled=True))
    totals = [us(run, sum(run["seconds"].values())) for run in runs]
    middle = statistics.median(totals)
    process, process_unpinned = (
        statistics.median(us(run, run["process"]) for run in each) for each in (runs, unpinned)
    )
    print(f"\n{1e6 / middle:,.0f} documents a second ({', '.join(f'{value:.0f}' for value in totals)} µs)", flush=True)
    ratio = process_unpinned / process
    return f"| {size} | {suffix} | {middle:.1f} | {process:.1f} | {process_unpinned:.1f} | {ratio:.2f} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--bytes", type=int, nargs="+", default=[3800, 1100, 400], choices=SIZES)
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--profiled", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--as-commands-do", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        if options.as_commands_do:
            from ops.blas import use_one_thread

            use_one_thread()
        print(json.dumps(main_of_child(*options.child, is_profiled=options.profiled)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        documents = folder / "warm-up.jsonl"
        write_documents(documents, NUM_BEFORE)
        child(folder, documents)
        (folder / "work").rename(folder / "warm")
        lines = [
            measured(folder, size, suffix, options.repeats) for size in options.bytes for suffix in options.formats
        ]
    print("\n| bytes | format | µs of the thread | µs of the process | unpinned | unpinned to pinned |")
    print("|---:|---|---:|---:|---:|---:|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
