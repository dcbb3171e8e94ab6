"""The split: CPU of a worker and of a lane behind it, against the pipeline that does both; bytes between them.

    python -m benchmarks.split [--documents 5120] [--repeats 3] [--kafka]

Documents of 3.8 KB, in messages of 256. The lane runs over the broker in memory and commits to its store: what a
transaction of Kafka costs comes on top. The journal is counted as it would be sent there. All variants in turn, in one
process on one core. With --kafka the lane also runs over a broker beside it, with its transactions: processor time of
the loop's thread by phase, and of the whole process, in which the clients' threads work, too.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import zstandard

from benchmarks.pipeline import chunks
from benchmarks.service import owner
from consumers.broker import RawDocument
from consumers.formats.messages import rows_of
from consumers.formats.prepared import Covers, decode_message, encode_message
from consumers.kafka.clients import connected_producer
from consumers.kafka.parts import in_parts
from consumers.memory import MemoryBroker, World
from consumers.prepared import Coverage
from daemon.app import build, encode_identity
from daemon.config import Config, parse_config
from daemon.loop import Hooks, Loop
from daemon.prepared.preparer import Preparer, open_preparer
from daemon.signals import StopRequest
from ops.phases import PhaseClock
from packing.tokenizer import Tokenizer, open_tokenizer
from state.journal import encode_changes
from state.store import Store, state_folder
from tests.integration.lane import TOPICS
from tests.integration.maven_broker import MavenBroker

SOURCE = "documents-0"
MESSAGE_ROWS = 256
NUM_WARM = 1024
SETTINGS: dict[str, Any] = {"embedding": {"warmup_documents": 128}, "daemon": {"epoch_s": 3600.0}}


def stretches(first: int, end: int) -> Iterator[tuple[int, int]]:
    """Positions, a message each."""
    for start in range(first, end, MESSAGE_ROWS):
        yield start, min(end, start + MESSAGE_ROWS)


def cpu_us(work: Callable[[], object], num_documents: int) -> float:
    """Microseconds of this thread a document."""
    began = time.thread_time()
    work()
    return 1e6 * (time.thread_time() - began) / num_documents


def prepare(preparer: Preparer, config: Config, lines: list[bytes], first: int, *, encoded: bool) -> list[bytes]:
    """The documents from `first` on as messages, or only the pure part of it."""
    messages = []
    for start, end in stretches(first, len(lines)):
        rows = [row for at in range(start, end) for row in rows_of(SOURCE, at, None, lines[at], [], 0, config.input)]
        batch = preparer.prepare(rows)
        if encoded:
            messages.append(encode_message(batch, Covers(SOURCE, start, end)))
    return messages


def read(messages: list[bytes], identity: str) -> None:
    """Messages to rows, as the lane's inbox does it."""
    coverage = Coverage(lambda source: None)
    for message in messages:
        coverage.take(decode_message(message, identity, "a message"), SOURCE, "a message")


def run_lane(world: World, config: Config, tokenizer: Tokenizer, folder: Path) -> float:
    """Seconds of CPU of the loop over all that is left to be read."""
    store = Store(state_folder(folder))
    broker = MemoryBroker(world, store)
    pipeline = build(config, store, tokenizer)
    pipeline.restore(store, broker.prepared_message)
    pipeline.compile()
    loop = Loop(pipeline, broker, config.daemon, encode_identity(config, tokenizer), time.monotonic)
    began = time.thread_time()
    loop.run(StopRequest(), flush=False)
    spent = time.thread_time() - began
    pipeline.close()
    store.close()
    return spent


def run_over_kafka(messages: list[bytes], num_documents: int) -> tuple[dict[str, float], float]:
    """Processor time a document behind the warm-up, microseconds: of the loop by phase, and of the process."""
    kafka = MavenBroker()
    try:
        tree = {
            "embedding": SETTINGS["embedding"],
            "kafka": {"bootstrap_servers": kafka.bootstrap, "lane": "split"},
            "topics": {name: name.replace("_", "-") for name in TOPICS if name != "probes"},
        }
        config, phases = parse_config(tree, "benchmark"), PhaseClock(time.thread_time)
        with tempfile.TemporaryDirectory(prefix="curatord-split-") as name:
            store = Store(Path(name) / "state")
            broker, pipeline = owner(config, store, phases)
            with connected_producer(config.kafka, compression_type=None) as producer:
                for number, message in enumerate(messages):
                    for part, headers in in_parts(message, number * MESSAGE_ROWS, 1 << 20):
                        producer.send(config.topics.prepared, part, partition=0, headers=headers)
                producer.flush()
            pipeline.compile()
            identity = encode_identity(config, pipeline.decide.prepare.tokenizer)
            hooks = Hooks(keep_alive=broker.keep_alive)
            loop, rows = Loop(pipeline, broker, config.daemon, identity, time.monotonic, hooks), 0
            while rows < NUM_WARM:
                rows += loop.step()
            loop.commit()
            phases.enter("poll")
            first, before, began = rows, dict(phases.seconds), time.process_time()
            while rows < num_documents:
                rows += loop.step()
            loop.commit()
            phases.enter("end")
            spent = {
                phase: 1e6 * (seconds - before.get(phase, 0.0)) / (rows - first)
                for phase, seconds in phases.seconds.items()
            }
            whole = 1e6 * (time.process_time() - began) / (rows - first)
            pipeline.close()
            broker.close()
            store.close()
    finally:
        kafka.close()
    return spent, whole


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=5120)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kafka", action="store_true")
    options = parser.parse_args()
    config = parse_config(SETTINGS, "benchmark")
    tokenizer, preparer = open_tokenizer(config.tokenizer), open_preparer(config)
    texts = islice(chunks(), NUM_WARM + options.documents)
    lines = [msgspec.json.encode({"id": f"d{number}", "text": text}) for number, text in enumerate(texts)]
    documents = [RawDocument(SOURCE, at, line) for at, line in enumerate(lines)]
    num = len(lines) - NUM_WARM
    spent: dict[str, list[float]] = {}
    journal: dict[str, float] = {}  # bytes a document
    with tempfile.TemporaryDirectory(prefix="curatord-split-") as name:
        warm, folder = World(documents=documents[:NUM_WARM]), Path(name)
        run_lane(warm, config, tokenizer, folder / "warm")
        messages = prepare(preparer, config, lines, NUM_WARM, encoded=True)
        outcomes = set()
        for repeat in range(options.repeats):
            for what in ("embedded", "lane"):
                place = folder / f"{what}-{repeat}"
                shutil.copytree(folder / "warm", place)
                world = World(documents=documents, journal=list(warm.journal), num_read=NUM_WARM)
                if what == "lane":
                    world.prepared, world.prepared_with = messages, preparer.identity
                spent.setdefault(what, []).append(1e6 * run_lane(world, config, tokenizer, place) / num)
                records = world.journal[len(warm.journal) :]
                journal[what] = sum(len(part) for record in records for part in encode_changes(record.changes)) / num
                outcomes.add(tuple(sequence.tokens_T.tobytes() for sequence in world.sequences))
                shutil.rmtree(place)
            for what, encoded in (("pure part", False), ("worker", True)):
                work = partial(prepare, preparer, config, lines, NUM_WARM, encoded=encoded)
                spent.setdefault(what, []).append(cpu_us(work, num))
            spent.setdefault("reading messages, of the lane", []).append(
                cpu_us(partial(read, messages, preparer.identity), num)
            )
    packed = zstandard.ZstdCompressor(level=1)
    inputs = sum(len(packed.compress(b"".join(lines[start:end]))) for start, end in stretches(NUM_WARM, len(lines)))
    print("| | µs of CPU a document: median | all |\n|---|---:|---|")
    for what, costs in spent.items():
        print(f"| {what} | {median(costs):.0f} | {' '.join(f'{cost:.0f}' for cost in costs)} |")
    prepared = sum(map(len, messages))
    print(
        f"\nThe sequences are {'equal' if len(outcomes) == 1 else 'NOT EQUAL'}. {num:,} documents: "
        f"{prepared / num:,.0f} bytes prepared, {inputs / num:,.0f} as JSON in zstd-1, {prepared / inputs:.2f} times."
    )
    for what, num_bytes in journal.items():
        print(f"Journal, {what}: {num_bytes:,.0f} bytes a document, {num_bytes * num / inputs:.2f} times the input.")
    for _ in range(options.repeats if options.kafka else 0):
        phases, whole = run_over_kafka(prepare(preparer, config, lines, 0, encoded=True), len(lines))
        loop, listed = sum(phases.values()), sorted(phases.items(), key=lambda item: -item[1])
        print(
            f"Lane over Kafka: {loop:.0f} us of the loop's thread a document, {loop - phases['commit']:.0f} without "
            f"its commit, {whole:.0f} of the process. By phase:",
            ", ".join(f"{name} {us:.1f}" for name, us in listed if us >= 0.5),
        )


if __name__ == "__main__":
    main()
