"""Soak: one daemon at full rate, hostile messages mixed in; memory, lag and dead letters over time.

    python -m tests.integration.soak --minutes 15 [--documents 100000]

Without `--documents` every document is new, so the indices of duplicates grow by some hundred bytes a document, as they
must. With it, there are so many and no more: a crawler that visits its pages again and again, and finds another text
each time. Then memory that grows is a leak.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from kafka import KafkaProducer

from tests.corpus import CORPORA
from tests.integration.audit import replay
from tests.integration.lane import Instance, Lane
from tests.integration.maven_broker import MavenBroker
from tests.integration.world import read_topic
from tests.simulation.test_hostile import hostile_rows

HOSTILE_SHARE = 0.01
AHEAD = 20_000  # messages that the producer may be ahead of the daemon
SAMPLE_S = 5.0
WARM_UP_S = 60.0
MAX_HOSTILE_BYTES = 1 << 20


@dataclass(slots=True)
class Samples:
    """One of each at every moment."""

    at_s: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    documents: list[float] = field(default_factory=list)
    lag: list[float] = field(default_factory=list)


class Producer(threading.Thread):
    """Documents of random words, and now and then a hostile message, never more than `AHEAD` of the daemon.

    There are `num_documents` ids, then they come again.
    """

    def __init__(self, lane: Lane, hostile: list[bytes], num_documents: int) -> None:
        super().__init__(name="producer", daemon=True)
        self._lane, self._hostile, self._num_documents = lane, hostile, num_documents
        self.sent = self.num_hostile = self.read = 0
        self.stopping = threading.Event()

    def run(self) -> None:
        rng = random.Random(0)
        words = [
            f"{a}{b}"
            for a in ["the", "of", "and", "to", "in", "is", "that", "for", "it", "as", "with", "was", "on", "be", "by"]
            for b in range(900)
        ]
        with KafkaProducer(bootstrap_servers=self._lane.bootstrap, linger_ms=20, batch_size=256 << 10) as producer:
            while not self.stopping.is_set():
                if self.sent - self.read > AHEAD:
                    time.sleep(0.05)
                    continue
                if rng.random() < HOSTILE_SHARE:
                    value = rng.choice(self._hostile)
                    self.num_hostile += 1
                else:
                    text = " ".join(rng.choices(words, k=rng.randrange(100, 500)))
                    value = b'{"id":"d%d","text":"%s"}' % (self.sent % self._num_documents, text.encode())
                producer.send(self._lane.topics["documents"], value, partition=0)
                self.sent += 1


def sample(instance: Instance, samples: Samples, began: float) -> None:
    samples.at_s.append(time.monotonic() - began)
    samples.rss.append(instance.metric("process_resident_memory_bytes"))
    samples.documents.append(instance.metric("curatord_documents_total"))
    samples.lag.append(instance.metric("curatord_lag_messages"))


def main() -> None:
    """Run, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--documents", type=int, default=sys.maxsize, help="that there are")
    arguments = parser.parse_args()
    broker = MavenBroker()
    folder = Path(tempfile.mkdtemp(prefix="curatord-soak-"))
    lane = Lane(broker.bootstrap, "soak", folder, "[output]\nmax_wait_s = 5.0\n")
    lane.create_topics()
    hostile = [row for row in hostile_rows(CORPORA / "hostile") if len(row) < MAX_HOSTILE_BYTES]
    instance, producer, samples = (
        Instance(lane, "a", lane.bootstrap),
        Producer(lane, hostile, arguments.documents),
        Samples(),
    )
    try:
        instance.start()
        instance.wait_for("restored")
        began = time.monotonic()
        producer.start()
        while time.monotonic() - began < 60 * arguments.minutes:
            time.sleep(SAMPLE_S)
            sample(instance, samples, began)
            producer.read = int(samples.documents[-1])
        producer.stopping.set()
        producer.join()
        instance.wait_for("idle_flushed")
        exit_code = instance.stop()
        ledger = replay(read_topic(lane.bootstrap, lane.topics["journal"])).ledger
        letters = read_topic(lane.bootstrap, lane.topics["dead_letters"])
    finally:
        instance.kill()
        broker.close()
    at_s, rss, documents, lag = (
        np.array(column) for column in (samples.at_s, samples.rss, samples.documents, samples.lag)
    )
    half = at_s[-1] / 2
    second = at_s >= half
    first_rss, last_rss = np.median(rss[second][:5]), np.median(rss[second][-5:])
    grown = documents[second][-1] - documents[second][0]
    print(
        f"{arguments.minutes:g} minutes, {documents[-1]:,.0f} rows, {documents[-1] / at_s[-1]:,.0f} a second; "
        f"{producer.num_hostile:,} hostile\n"
        f"RSS at half time {first_rss / 2**20:,.0f} MiB, at the end {last_rss / 2**20:,.0f} MiB: "
        f"{(last_rss - first_rss) / first_rss:+.1%}, {(last_rss - first_rss) / grown:,.0f} bytes a document\n"
        f"lag: at most {lag[at_s > WARM_UP_S].max():,.0f} messages (the producer keeps {AHEAD:,} ahead)\n"
        f"{len(letters):,} dead letters, ledger: {ledger.rows}, {ledger.dead}\n"
        f"exit code {exit_code}; logs in {folder}"
    )
    sys.exit(exit_code != 0 or len(letters) != ledger.rows["dead"])


if __name__ == "__main__":
    main()
