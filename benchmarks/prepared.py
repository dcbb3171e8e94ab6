"""Prepared rows on one machine: what deciding costs where documents come prepared, and what preparing costs.

    python -m benchmarks.prepared [--documents 12000] [--repeats 2]

Real documents of 3.8 KB, as in `benchmarks.pipeline`, go through `curate`'s own loop over a warm state three ways:
prepared in the loop, by two processes beside it, and read from a folder of prepared rows. Time is that of the processor
in the loop's thread, and that of the whole process beside it (commits, and the threads that mind the processes); `wall`
is of the clock, and means something where nothing else runs. The clocks start after the first half. Preparing is
measured by itself: decoding and stages, then with the message.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from benchmarks.pipeline import NUM_WARM_UP, chunks, write_texts
from ops.phases import PhaseClock

WAYS = ("loop", "pool", "folder")
PROCESSES = 2


def lane(way: str, documents: Path, work: Path, num_settling: int) -> dict[str, Any]:
    """Microseconds a document of the loop's thread by stage, and of the process."""
    from concurrent.futures import ThreadPoolExecutor

    from consumers.files.broker import FilesBroker
    from consumers.files.inputs import expand
    from consumers.files.prepared_folder import inputs_of
    from daemon.app import build_restored, encode_identity
    from daemon.config import parse_config
    from daemon.loop import Hooks, Loop
    from daemon.prepared.identity import prepared_identity
    from daemon.prepared.pool import opened_pool
    from daemon.signals import StopRequest
    from state.store import Store, state_folder

    processes = PROCESSES if way == "pool" else 0
    embedding = {"warmup_documents": NUM_WARM_UP, "retrain_drop": 1.0}
    config = parse_config({"daemon": {"processes": processes}, "embedding": embedding}, "benchmark")
    phases = PhaseClock(time.thread_time)
    store = Store(state_folder(work))
    pipeline = build_restored(config, store, phases=phases)
    pipeline.compile()
    tokenizer = pipeline.decide.prepare.tokenizer
    tokenizer.settle()
    inputs = inputs_of(documents) if documents.is_dir() else expand([str(documents)])
    broker = FilesBroker(inputs, config.input, work, store, None, prepared_identity(config, tokenizer))
    rows = 0
    before: dict[str, float] = {}
    process_s = wall_s = 0.0

    def on_rows(num_rows: int) -> None:
        nonlocal rows, process_s, wall_s
        rows += num_rows
        if rows >= num_settling and not before:
            phases.enter("poll")
            before.update(phases.seconds)
            process_s, wall_s, rows = time.process_time(), time.perf_counter(), 0

    with ThreadPoolExecutor(1) as committing, opened_pool(config, tokenizer) as pool:
        hooks = Hooks(committing=committing, pool=pool)
        loop = Loop(pipeline, broker, config.daemon, encode_identity(config, tokenizer), lambda: 0.0, hooks)
        loop.run(StopRequest(), flush=False, on_rows=on_rows)
        wall_s = time.perf_counter() - wall_s
        broker.attempts.close()
    phases.enter("end")
    process_s = time.process_time() - process_s
    store.close()
    stages = {stage: (seconds - before.get(stage, 0.0)) / rows * 1e6 for stage, seconds in phases.seconds.items()}
    return {"stages": stages, "process": process_s / rows * 1e6, "wall": wall_s / rows * 1e6}


def preparing(documents: Path) -> dict[str, float]:
    """Microseconds and bytes a document."""
    from consumers.broker import RawDocument
    from consumers.formats.documents import decode_rows
    from consumers.formats.prepared import Covers, decode_message, encode_message
    from daemon.config import Config
    from daemon.prepared.columns import Reader
    from daemon.prepared.preparer import open_preparer

    config = Config()
    preparer = open_preparer(config)
    stage = preparer.stage
    stage.tokenizer.settle()
    lines = documents.read_bytes().splitlines()
    rows = [RawDocument("documents-0", at, line) for at, line in enumerate(lines)]
    batches = [rows[first : first + 256] for first in range(0, len(rows), 256)]
    reader = Reader(stage.quality, stage.tokenizer)
    compressor = zstandard.ZstdCompressor(level=1)
    spent = dict.fromkeys(("stages", "worker", "read"), 0.0)
    sizes = dict.fromkeys(("message", "json"), 0)
    for number, batch in enumerate(batches):
        times = [time.thread_time()]
        stage.all(decode_rows(batch, 0, config.input, 1 << 16).documents)
        times.append(time.thread_time())
        message = encode_message(preparer.prepare(batch), Covers("documents-0", 0, 1))
        times.append(time.thread_time())
        reader.read(decode_message(message, preparer.identity, "it").rows, 0)
        times.append(time.thread_time())
        if number < len(batches) // 4:
            continue
        for name, first, end in zip(spent, times, times[1:], strict=False):
            spent[name] += end - first
        sizes["message"] += len(message)
        sizes["json"] += len(compressor.compress(b"\n".join(row.value for row in batch)))  # type: ignore[misc]
    num = sum(map(len, batches[len(batches) // 4 :]))
    return {name: value / num * 1e6 for name, value in spent.items()} | {k: v / num for k, v in sizes.items()}


def child(*arguments: object) -> dict[str, Any]:
    """The result of one measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.prepared", "--child", *map(str, arguments)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    environment["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # as the commands do
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = msgspec.json.decode(result.stdout)
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=12_000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        way, documents, *rest = options.child
        result = lane(way, Path(documents), Path(rest[0]), int(rest[1])) if rest else preparing(Path(documents))
        print(json.dumps(result))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = chunks()
        write_texts(folder / "warm-up.jsonl", islice(texts, NUM_WARM_UP + 1024))
        write_texts(folder / "documents.jsonl", islice(texts, options.documents), name="measured")
        child("loop", folder / "warm-up.jsonl", folder / "warm", 1)
        from daemon.commands.prepare import prepare_files

        with contextlib.redirect_stdout(sys.stderr):
            prepare_files([str(folder / "documents.jsonl")], folder / "rows", None)
        runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for _ in range(options.repeats):
            for way in WAYS:
                shutil.rmtree(folder / "work", ignore_errors=True)
                shutil.copytree(folder / "warm", folder / "work")
                documents = folder / ("rows" if way == "folder" else "documents.jsonl")
                runs[way].append(child(way, documents, folder / "work", options.documents // 2))
        costs = child("prepare", folder / "documents.jsonl")
    print("| µs a document | " + " | ".join(WAYS) + " |\n|---|" + "---:|" * len(WAYS))
    best = {way: min(each, key=lambda run: sum(run["stages"].values())) for way, each in runs.items()}
    for stage in sorted({*best["loop"]["stages"]}, key=lambda stage: -best["loop"]["stages"][stage]):
        cells = [best[way]["stages"].get(stage, 0.0) for way in WAYS]
        if max(cells) >= 0.05:
            print(f"| {stage} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |")
    print("| **loop's thread** | " + " | ".join(f"{sum(best[way]['stages'].values()):.1f}" for way in WAYS) + " |")
    for row, name in (("its process", "process"), ("wall", "wall")):
        print(f"| {row} | " + " | ".join(f"{best[way][name]:.1f}" for way in WAYS) + " |")
    print(
        f"\nPreparing: stages {costs['stages']:.1f} µs, with the message {costs['worker']:.1f} "
        f"({costs['worker'] / costs['stages']:.2f}); reading it {costs['read']:.1f} µs; {costs['message']:,.0f} B, "
        f"JSON packed as well {costs['json']:,.0f} B ({costs['message'] / costs['json']:.2f})"
    )


if __name__ == "__main__":
    main()
