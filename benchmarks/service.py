"""The service on a real broker against the embedded pipeline: the same documents, the same code between the seams.

    python -m benchmarks.service [--repeats 2]

The documents of the scenario `pipeline` lie on a topic of one partition, as one JSON object a message, as JSON lines
and as Arrow IPC with a hundred documents a message, and in a file. The warm-up is left out. Seconds of the wall, for
the broker's part cannot be seen otherwise: acknowledgements, fetches, transactions. The broker runs beside it. Then
others come at 1,000 a second, for their age when they are committed. The journal is held against the same documents as
zstd makes them at level 3, JSON lines of a message at a time. At full rate that includes the warm-up, when all is held.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import zstandard
from kafka import KafkaProducer

from benchmarks.pipeline import NUM_MEASURED, NUM_WARM_UP, write_documents
from consumers.broker import Broker, CommitReport, RawDocument
from consumers.files.broker import FilesBroker
from consumers.files.inputs import expand
from consumers.kafka.broker import KafkaBroker
from daemon.app import build, encode_identity
from daemon.config import Config, parse_config
from daemon.loop import Hooks, Loop
from daemon.pipeline import Pipeline
from daemon.restore import catch_up
from daemon.service import open_broker
from ops.phases import PhaseClock
from packing.tokenizer import open_tokenizer
from state.epoch import Epoch
from state.store import Store
from tests.integration.lane import MAX_RECORD_BYTES, TOPICS
from tests.integration.maven_broker import MavenBroker
from tests.integration.world import create_topics, produce_documents

PER_MESSAGE = 100
RATE = 1000
NUM_STEADY = 20_000


@dataclass(slots=True)
class Seen:
    """Stands where the observer does."""

    transactions_s: list[float] = field(default_factory=list)
    journal_bytes: int = 0
    ages_s: list[float] = field(default_factory=list)
    _made_s: list[float] = field(default_factory=list)

    def polled(self, rows: Sequence[RawDocument]) -> None:
        self._made_s += [row.timestamp_us / 1e6 for row in rows if row.timestamp_us]

    def committed(self, epoch: Epoch, report: CommitReport, *, commit_s: float) -> None:
        now = time.time()
        self.ages_s += [now - made for made in self._made_s]
        self._made_s.clear()
        self.transactions_s.append(report.transaction_s)
        self.journal_bytes += report.journal_bytes


def shaped(documents: list[bytes], shape: str) -> list[bytes]:
    """The messages."""
    groups = [documents[start : start + PER_MESSAGE] for start in range(0, len(documents), PER_MESSAGE)]
    if shape == "JSON":
        return documents
    if shape == "JSON lines":
        return [b"\n".join(group) for group in groups]
    import msgspec

    messages = []
    for group in groups:
        batch = pa.RecordBatch.from_pylist([msgspec.json.decode(document) for document in group])
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        messages.append(sink.getvalue().to_pybytes())
    return messages


def make_config(prefix: str, bootstrap: str) -> Config:
    """One thread; the topics of one run, without those of workers and scorers."""
    topics = {name: f"{prefix}-{name.replace('_', '-')}" for name in TOPICS if name not in ("prepared", "probes")}
    return parse_config(
        {
            "embedding": {"warmup_documents": NUM_WARM_UP},
            "kafka": {"bootstrap_servers": bootstrap, "lane": prefix},
            "topics": topics,
        },
        "benchmark",
    )


def owner(config: Config, store: Store, phases: PhaseClock) -> tuple[KafkaBroker, Pipeline]:
    """A lane of its own, taken over."""
    topics = [topic for name in TOPICS if (topic := getattr(config.topics, name))]
    create_topics(
        config.kafka.bootstrap_servers, dict.fromkeys(topics, 1), {"max.message.bytes": str(MAX_RECORD_BYTES)}
    )
    tokenizer = open_tokenizer(config.tokenizer)
    broker = open_broker(config, tokenizer, store)
    pipeline = build(config, store, tokenizer, phases=phases)
    broker.join()
    for _ in broker.journal(from_offset=0, follow=True):
        pass
    for _ in catch_up(broker, broker.take_over(), store):
        pass
    pipeline.restore(store)
    return broker, pipeline


def timed(loop: Loop, broker: Broker, num_documents: int, phases: PhaseClock) -> tuple[float, dict[str, float]]:
    """Seconds of the wall a document after the warm-up, all of it and by phase."""
    rows = 0
    while rows < NUM_WARM_UP + 1024:
        rows += loop.step()
    loop.commit()
    first, began, before = rows, time.perf_counter(), dict(phases.seconds)
    while rows < num_documents and not broker.ended():
        rows += loop.step()
    loop.commit()
    seconds = time.perf_counter() - began
    spent = {name: (total - before.get(name, 0.0)) / (rows - first) for name, total in phases.seconds.items()}
    return seconds / (rows - first), spent


def embedded(path: Path, num_documents: int, folder: Path) -> tuple[float, dict[str, float]]:
    """From a file to Parquet."""
    config = parse_config({"embedding": {"warmup_documents": NUM_WARM_UP}}, "benchmark")
    phases = PhaseClock()
    store = Store(folder / "state")
    pipeline = build(config, store, open_tokenizer(config.tokenizer), phases=phases)
    pipeline.restore(store)
    broker = FilesBroker(expand([str(path)]), config.input, folder / "output", store)
    loop = Loop(
        pipeline, broker, config.daemon, encode_identity(config, pipeline.decide.prepare.tokenizer), time.monotonic
    )
    result = timed(loop, broker, num_documents, phases)
    store.close()
    return result


def service(
    documents: list[bytes], shape: str, folder: Path, bootstrap: str, prefix: str, seen: Seen, steady: list[bytes]
) -> tuple[float, dict[str, float]]:
    """From a topic to a topic: what is there, then `steady` ones as they come."""
    config = make_config(prefix, bootstrap)
    phases = PhaseClock()
    store = Store(folder / "state")
    broker, pipeline = owner(config, store, phases)
    produce_documents(bootstrap, config.topics.documents, shaped(documents, shape), partition=0)
    identity = encode_identity(config, pipeline.decide.prepare.tokenizer)
    hooks = Hooks(observer=seen, keep_alive=broker.keep_alive)
    loop = Loop(pipeline, broker, config.daemon, identity, time.monotonic, hooks)
    result = timed(loop, broker, len(documents), phases)
    if steady:
        _at_a_steady_rate(steady, config, loop, seen)
    broker.close()
    store.close()
    return result


def _at_a_steady_rate(documents: list[bytes], config: Config, loop: Loop, seen: Seen) -> None:
    """New documents at `RATE` a second, from another process; what is `seen` are they alone."""
    seen.ages_s.clear()
    seen.transactions_s.clear()
    seen.journal_bytes = 0
    place = config.kafka.bootstrap_servers, config.topics.documents
    producer = multiprocessing.get_context("spawn").Process(target=produce_at_rate, args=(*place, documents))
    producer.start()
    rows = 0
    while rows < len(documents):
        rows += loop.step()
    loop.commit()
    producer.join()


def produce_at_rate(bootstrap: str, topic: str, documents: list[bytes]) -> None:
    """One message each, `RATE` a second."""
    with KafkaProducer(bootstrap_servers=bootstrap, linger_ms=5) as producer:
        began, sent = time.monotonic(), 0
        while sent < len(documents):
            due = documents[sent : int((time.monotonic() - began) * RATE)]
            for document in due:
                producer.send(topic, document, partition=0)
            sent += len(due)
            time.sleep(0.01)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    shapes = ("JSON", "JSON lines", "Arrow")
    results: dict[str, list[tuple[float, dict[str, float]]]] = {name: [] for name in ("embedded", *shapes)}
    seen = {name: Seen() for name in shapes}
    kafka = MavenBroker()
    try:
        with tempfile.TemporaryDirectory() as work:
            path = Path(work) / "documents.jsonl"
            num_documents, num_bytes = write_documents(path, NUM_WARM_UP + NUM_MEASURED + NUM_STEADY)
            documents = path.read_bytes().splitlines()
            documents, steady = documents[:-NUM_STEADY], documents[-NUM_STEADY:]
            for repeat in range(options.repeats):
                for name, runs in results.items():
                    folder = Path(work) / f"{name}-{repeat}"
                    folder.mkdir()
                    if name == "embedded":
                        runs.append(embedded(path, len(documents), folder))
                    else:
                        prefix = f"bench-{repeat}-{shapes.index(name)}"
                        later = steady if name == "JSON" else []
                        runs.append(service(documents, name, folder, kafka.bootstrap, prefix, seen[name], later))
    finally:
        kafka.close()
    print(f"{len(documents):,} documents, {num_bytes / num_documents:,.0f} bytes each; one thread, broker beside it\n")
    best = {name: min(runs, key=lambda run: run[0]) for name, runs in results.items()}
    base = best["embedded"][0]
    print("| way | documents/s | share of embedded |\n|---|---:|---:|")
    for name, (seconds, _) in best.items():
        print(f"| {name} | {1 / seconds:,.0f} | {base / seconds:.2f} |")
    print("\nµs a document, by phase:\n\n| phase | " + " | ".join(best) + " |\n|---|" + "---:|" * len(best))
    phases = sorted(best["embedded"][1], key=lambda phase: -best["JSON"][1].get(phase, 0.0))
    for phase in phases:
        values = [run[1].get(phase, 0.0) * 1e6 for run in best.values()]
        if max(values) >= 0.5:
            print(f"| {phase} | " + " | ".join(f"{value:.1f}" for value in values) + " |")
    rate = seen["JSON"]
    print(
        f"\nAt {RATE:,} documents a second: transactions p50 {statistics.median(rate.transactions_s) * 1e3:.1f} ms, "
        f"p95 {np.percentile(rate.transactions_s, 95) * 1e3:.1f} ms. "
        f"Age of a document at its commit: p50 {statistics.median(rate.ages_s):.2f} s, "
        f"p99 {np.percentile(rate.ages_s, 99):.2f} s."
    )
    print("\n| journal | bytes a document | of the compressed input |\n|---|---:|---:|")
    journalled = seen["JSON lines"].journal_bytes / options.repeats / len(documents)
    print(f"| at full rate | {journalled:,.0f} | {journalled / compressed_bytes(documents):.2f} |")
    journalled = rate.journal_bytes / len(rate.ages_s)
    print(f"| at {RATE:,} documents a second | {journalled:,.0f} | {journalled / compressed_bytes(steady):.2f} |")


def compressed_bytes(documents: list[bytes]) -> float:
    """Of one document, on average, among others of its message."""
    compressor = zstandard.ZstdCompressor(3)
    return sum(len(compressor.compress(message)) for message in shaped(documents, "JSON lines")) / len(documents)


if __name__ == "__main__":
    main()
