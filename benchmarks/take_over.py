"""Take-over by a hot standby whose lane has seen a million documents: how long no sequences come out.

    python -m benchmarks.take_over [--documents 1000000]

Two daemons of one lane with the shipped timeouts on a real broker, and a producer that goes on. The owner is killed
with -9; then the killed one comes back as a standby, and the owner gets TERM. Seconds of the wall from the signal to
the first sequences that another may read, looked for every 20 ms. Documents are short, random and all different.
"""

from __future__ import annotations

import argparse
import random
import signal
import tempfile
import threading
import time
from pathlib import Path

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from tests.integration.lane import Instance, Lane
from tests.integration.maven_broker import MavenBroker

PER_MESSAGE = 200
AHEAD = 100_000  # documents that the producer may be ahead of the daemon
RATE = 500  # documents a second while the lane changes hands
SESSION_TIMEOUT_S = 10.0
STEADY_S = 10.0
NUM_WORDS = 40

SETTINGS = """
[packing]
shuffle_block_rows = 1
"""


class Producer(threading.Thread):
    """Documents at full speed until there are `num_documents`, then at `RATE` until it is stopped."""

    def __init__(self, lane: Lane, num_documents: int) -> None:
        super().__init__(name="producer", daemon=True)
        self._lane, self._num_documents = lane, num_documents
        self.sent = self.read = 0
        self.stopping = threading.Event()

    def run(self) -> None:
        rng = random.Random(0)
        words = [f"{a}{b}" for a in ("the", "of", "and", "to", "in", "is", "it", "as", "was", "on") for b in range(900)]
        with KafkaProducer(bootstrap_servers=self._lane.bootstrap, linger_ms=5, batch_size=256 << 10) as producer:
            while not self.stopping.is_set():
                if self.sent >= self._num_documents:
                    time.sleep(PER_MESSAGE / RATE)
                elif self.sent - self.read > AHEAD:
                    time.sleep(0.05)
                    continue
                lines = [
                    b'{"id":"d%d","text":"%s"}' % (self.sent + i, " ".join(rng.choices(words, k=NUM_WORDS)).encode())
                    for i in range(PER_MESSAGE)
                ]
                producer.send(self._lane.topics["documents"], b"\n".join(lines), partition=0)
                self.sent += PER_MESSAGE


class Watch:
    """The end of what a reader of the sequences may read."""

    def __init__(self, lane: Lane) -> None:
        self._consumer = KafkaConsumer(bootstrap_servers=lane.bootstrap, isolation_level="read_committed")
        self._partition = TopicPartition(lane.topics["sequences"], 0)

    def end(self) -> int:
        return int(self._consumer.end_offsets([self._partition])[self._partition])

    def seconds_until_more(self, since: float, end: int, timeout_s: float = 120.0) -> float:
        """Seconds from `since` until the topic goes on from `end`."""
        while self.end() <= end:
            if time.monotonic() - since > timeout_s:
                raise TimeoutError(f"no sequences for {timeout_s:g} s; look at the logs")
            time.sleep(0.02)
        return time.monotonic() - since


def hand_over(owner: Instance, heir: Instance, watch: Watch, number: signal.Signals, taken: int) -> str:
    """A row of the table. `taken` counts the lives of the heir as an owner."""
    end, before = watch.end(), time.monotonic()
    owner.send(number)
    # What was committed before the signal, or by a drain after it, is the owner's.
    owner.wait()
    gone = time.monotonic() - before
    silent = watch.seconds_until_more(before, max(end, watch.end()))
    restored = heir.wait_for("restored", count=taken)
    rss = heir.metric("process_resident_memory_bytes")
    return (
        f"| {number.name} | {gone:.1f} | {silent:.1f} | {restored['seconds']:.1f} | {restored['epoch']:,} | "
        f"{rss / 2**20:,.0f} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000_000)
    options = parser.parse_args()
    broker = MavenBroker()
    folder = Path(tempfile.mkdtemp(prefix="curatord-take-over-"))
    lane = Lane(broker.bootstrap, "take-over", folder, SETTINGS, session_timeout_s=SESSION_TIMEOUT_S)
    lane.create_topics()
    first, second = (Instance(lane, name, lane.bootstrap) for name in "ab")
    producer, watch = Producer(lane, options.documents), Watch(lane)
    try:
        first.start()
        first.wait_for("restored", 120)
        second.start()
        second.wait_for("standing_by", 120)
        producer.start()
        began = time.monotonic()
        while (documents := first.metric("curatord_documents_total")) < options.documents:
            producer.read = int(documents)
            time.sleep(1.0)
        filled_s = time.monotonic() - began
        producer.read = options.documents
        time.sleep(STEADY_S)
        lag = first.metric("curatord_epoch") - second.metric("curatord_epoch")
        rows = [hand_over(first, second, watch, signal.SIGKILL, 1)]
        first.start()
        first.wait_for("standing_by", 300)
        time.sleep(STEADY_S)
        rows.append(hand_over(second, first, watch, signal.SIGTERM, 2))
        producer.stopping.set()
    finally:
        for instance in (first, second):
            instance.send(signal.SIGKILL)
        broker.close()
    print(
        f"{options.documents:,} documents in {filled_s:,.0f} s with a standby beside it, which was {lag:.0f} epochs "
        f"behind at the end; session timeout {SESSION_TIMEOUT_S:g} s, {RATE} documents a second come in\n"
    )
    print("| signal | owner gone, s | sequences go on, s | of that restoring, s | from epoch | RSS of the heir, MiB |")
    print("|---|---:|---:|---:|---:|---:|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
