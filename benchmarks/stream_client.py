"""Cost of PackedStream to a training process: CPU time a sequence, of all its threads, and the wait of the loop.

    python -m benchmarks.stream_client [--sequences N] [--repeats N]

Sequences of 4,096 tokens in 4 segments, vocabulary of 131,072, from a folder of Parquet shards and from a topic of a
real broker (4 partitions, read by one rank). The training loop is a sleep of 20 ms a sequence, in which the reader
thread works ahead; what it takes to get the next sequence then is the wait. What such sleeps cost by themselves is
taken off. A second loop without sleep shows how many
sequences a second one process can read. Beside it what `import curatord` takes longer than `import numpy`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
from kafka import KafkaProducer

from consumers.files.shards import shard_name, write_sequences
from curatord import PackedSequence, PackedStream
from curatord.sequence import encode_sequence
from tests.integration.broker import open_broker
from tests.integration.world import create_topics

CONTEXT, SEGMENTS, VOCABULARY = 4096, 4, 131_072
STEP_S = 0.02
PARTITIONS = 4


def sequences(count: int) -> list[PackedSequence]:
    """Full rows of equal segments."""
    rng = np.random.default_rng(0)
    return [
        PackedSequence(
            seq_no=seq_no,
            generation=0,
            context_length=CONTEXT,
            tokens_T=rng.integers(0, VOCABULARY, CONTEXT).astype(np.uint32),
            segment_lengths_S=np.full(SEGMENTS, CONTEXT // SEGMENTS, np.uint32),
            segment_offsets_S=np.zeros(SEGMENTS, np.uint32),
            segment_flags_S=np.full(SEGMENTS, 3, np.uint8),
            doc_ids=tuple(f"https://example.org/{seq_no}/{number}" for number in range(SEGMENTS)),
            clusters_S=np.zeros(SEGMENTS, np.int32),
            policy_versions_S=np.zeros(SEGMENTS, np.int32),
            propensities_S=np.ones(SEGMENTS, np.float32),
        )
        for seq_no in range(count)
    ]


def measure(url: str, count: int) -> tuple[float, float, float]:
    """CPU µs a sequence, median wait in µs beside a step, and sequences a second without any."""
    steps = min(count, 200)
    asleep = time.process_time()
    for _ in range(steps):
        time.sleep(STEP_S)
    asleep = time.process_time() - asleep
    with PackedStream(url) as stream:
        next(stream)  # connections and files are open now
        waits = []
        cpu = time.process_time()
        for _ in range(steps):
            time.sleep(STEP_S)
            began = time.perf_counter()
            next(stream)
            waits.append(time.perf_counter() - began)
        cpu = time.process_time() - cpu - asleep
    with PackedStream(url) as stream:
        next(stream)
        began = time.perf_counter()
        read = sum(1 for _ in islice(stream, count - 1))
        rate = read / (time.perf_counter() - began)
    return cpu / steps * 1e6, statistics.median(waits) * 1e6, rate


def import_ms(module: str) -> float:
    """Of a fresh process; the least of some."""
    code = f"import time; began = time.perf_counter(); import {module}; print(time.perf_counter() - began)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(9)]
    return min(map(float, runs)) * 1e3


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rows = sequences(options.sequences)
    broker = open_broker()
    try:
        with tempfile.TemporaryDirectory() as name:
            for first in range(0, len(rows), 1024):
                shard = rows[first : first + 1024]
                write_sequences(Path(name, shard_name(shard)), shard)
            create_topics(broker.bootstrap, {"sequences": PARTITIONS})
            with KafkaProducer(bootstrap_servers=broker.bootstrap, acks="all", compression_type="lz4") as producer:
                for row in rows:
                    value = encode_sequence(row, tokenizer_digest=1, vocabulary_size=VOCABULARY)
                    headers = [("v", b"1"), ("seq_no", b"%d" % row.seq_no), ("q", b"1"), ("gen", b"0")]
                    producer.send("sequences", value, partition=row.seq_no % PARTITIONS, headers=headers)
            print(f"one rank, sequences of {CONTEXT} tokens; the best of {options.repeats} repeats\n")
            print("| from | CPU µs a sequence | share of a 20 ms step | wait µs, median | sequences/s without steps |")
            print("|---|---:|---:|---:|---:|")
            for label, url in (("folder", name), ("topic", f"kafka://{broker.bootstrap}/sequences")):
                runs = [measure(url, options.sequences) for _ in range(options.repeats)]
                cpu, wait, rate = min(r[0] for r in runs), min(r[1] for r in runs), max(r[2] for r in runs)
                print(f"| {label} | {cpu:.0f} | {cpu / STEP_S / 1e4:.2f} % | {wait:.0f} | {rate:,.0f} |")
    finally:
        broker.close()
    print(f"\nimport numpy {import_ms('numpy'):.0f} ms, import curatord {import_ms('curatord'):.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
