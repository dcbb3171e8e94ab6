"""Torture: two daemons on one lane, and everything that can happen to them, in an order that a seed fixes.

    python -m tests.integration.torture --faults 200 --seed 1 --workers 3

With workers the lane reads what they prepare, in messages that each cuts in other places, and faults hit them, too.

Afterwards the topics must be as if nothing had happened: the audit finds nothing, and the sequences are, byte for byte,
those of the same documents in an undisturbed pipeline.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kafka import KafkaProducer

from consumers.broker import RawDocument
from consumers.memory import World
from curatord.sequence import PackedSequence
from daemon.config import load_config
from tests.integration.audit import audit
from tests.integration.lane import Instance, Lane
from tests.integration.maven_broker import MavenBroker
from tests.integration.proxy import Proxy
from tests.integration.world import PATIENCE_S, end_offsets
from tests.simulation.world import make_rows, run, visible

SETTINGS = """
[daemon]
epoch_documents = 200
epoch_s = 0.25
[output]
max_wait_s = 45.0
[embedding]
warmup_documents = 64
retrain_drop = 1.0
[clusters]
min_clusters = 2
initial_clusters = 4
max_clusters = 12
[weights]
by = ["commonness"]
memory_mib = 1
after_tokens = 5000
[packing]
context_length = 512
pool_documents = 60
shuffle_block_rows = 16
batch_quantum = 2
[log]
level = "info"
"""
SLOW_START_S = 240.0  # that the documents last longer than the faults should take: on a slow machine starts take long
FAULTS = ("kill", "kill", "wipe", "freeze", "term", "cut", "delay", "half_open", "broker")


def cutting(settings: str, poll_documents: int) -> str:
    """Settings of a worker whose messages hold so many documents at most."""
    return settings.replace("[daemon]", f"[daemon]\npoll_documents = {poll_documents}")


@dataclass(slots=True)
class Report:
    """Faults that were injected, and findings."""

    seed: int
    rows: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    exits: Counter[int] = field(default_factory=Counter)
    epochs: int = 0
    sequences: int = 0
    takeovers: int = 0
    seconds: float = 0.0
    anomalies: list[str] = field(default_factory=list)


class Feeder(threading.Thread):
    """Produces rows at a steady rate, through all faults, each once and in order."""

    def __init__(self, lane: Lane, rows: list[bytes], rate: float) -> None:
        super().__init__(name="feeder", daemon=True)
        self._lane, self._rows, self._rate = lane, rows, rate
        self.sent = 0
        self.stopping = threading.Event()

    def run(self) -> None:
        with KafkaProducer(
            bootstrap_servers=self._lane.bootstrap, linger_ms=5, delivery_timeout_ms=600_000, retry_backoff_ms=100
        ) as producer:
            while self.sent < len(self._rows) and not self.stopping.is_set():
                producer.send(self._lane.topics["documents"], self._rows[self.sent], partition=0)
                self.sent += 1
                time.sleep(1 / self._rate)
            producer.flush()


def torture(
    broker: MavenBroker,
    folder: Path,
    prefix: str,
    *,
    seed: int,
    num_faults: int,
    num_workers: int = 0,
    pause_s: float = 4.0,
    rate: float = 40,
) -> Report:
    """Run it; the report. `pause_s` is about the time from one fault to the next."""
    rng = random.Random(seed)
    report = Report(seed=seed)
    began = time.monotonic()
    lane = Lane(broker.bootstrap, prefix, folder, SETTINGS, is_prepared=num_workers > 0)
    lane.variants = {f"worker-{w}": cutting(SETTINGS, 5 + 11 * w) for w in range(num_workers)}
    lane.create_topics()
    rows = [row.value for row in make_rows(seed, int(rate * ((pause_s * 3 + 4) * num_faults + SLOW_START_S)))]
    rows = [row for row in rows if isinstance(row, bytes)]
    rows = without_new_versions(rows)
    with Proxy.before(broker) as proxy:
        instances = [Instance(lane, "a", broker.proxied_bootstrap), Instance(lane, "b", broker.bootstrap)]
        for name in lane.variants:
            reached_by = broker.bootstrap if len(instances) % 2 else broker.proxied_bootstrap
            instances.append(Instance(lane, name, reached_by, command="prepare"))
        feeder = Feeder(lane, rows, rate)
        for instance in instances:
            instance.start()
        feeder.start()
        wait_for_progress(lane, instances, report)
        for _ in range(num_faults):
            fault(rng, instances, proxy, broker, report)
            until = time.monotonic() + rng.uniform(0.0, 2.0) * pause_s
            while time.monotonic() < until:
                for instance in instances:
                    instance.supervise()
                time.sleep(0.1)
            wait_for_progress(lane, instances, report)
        if not feeder.is_alive():
            report.anomalies.append("the documents ran out before the faults did: the lane was idle in between")
        feeder.stopping.set()
        feeder.join()
        report.rows = feeder.sent
        settle(instances, report)
    report.seconds = time.monotonic() - began
    check(lane, rows[: feeder.sent], report)
    return report


def supervise_until(holds: Callable[[], bool], instances: list[Instance], report: Report, otherwise: str) -> None:
    """Start what ended, until it holds; `otherwise` is the anomaly if that takes for ever."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        for instance in instances:
            instance.supervise()
        if time.monotonic() > deadline:
            report.anomalies.append(f"{otherwise} within {PATIENCE_S:g} s")
            return
        time.sleep(0.1)


def wait_for_progress(lane: Lane, instances: list[Instance], report: Report) -> None:
    """Until the next epoch: faults are to hit a lane that works, and a lane that never works again is an anomaly."""

    def end() -> int:
        return end_offsets(lane.bootstrap, lane.topics["journal"])[0]

    before = end()
    supervise_until(lambda: end() > before, instances, report, f"no epoch after fault {sum(report.faults.values())}")


def fault(rng: random.Random, instances: list[Instance], proxy: Proxy, broker: MavenBroker, report: Report) -> None:
    """One thing that goes wrong."""
    kind = rng.choice(FAULTS)
    victim = rng.choice(instances)
    report.faults[kind] += 1
    if kind == "kill":
        victim.send(signal.SIGKILL)
    elif kind == "wipe":
        victim.kill()
        victim.wipe()
    elif kind == "freeze":
        victim.send(signal.SIGSTOP)
        time.sleep(rng.choice([1, 2, 4, 8]))
        victim.send(signal.SIGCONT)
    elif kind == "term":
        victim.send(signal.SIGTERM)
    elif kind == "cut":
        proxy.cut()
    elif kind == "delay":
        proxy.delay(rng.uniform(0.05, 0.5))
        time.sleep(rng.uniform(1, 4))
        proxy.heal()
    elif kind == "half_open":
        proxy.swallow(*rng.choice([("up",), ("down",), ("up", "down")]))
        time.sleep(rng.uniform(1, 6))
        proxy.heal()
    else:
        broker.stop()
        time.sleep(rng.uniform(0, 3))
        broker.start()


def settle(instances: list[Instance], report: Report) -> None:
    """Wait until everything that went in is decided, and the idle flush is over; then stop."""

    def flushes() -> int:
        return sum(len(instance.events("idle_flushed")) for instance in instances)

    before = flushes()
    supervise_until(lambda: flushes() > before, instances, report, "the lane did not come to rest")
    for instance in instances:
        instance.stop()
        report.exits.update(instance.exits)
        report.takeovers += len(instance.events("became_owner"))


def check(lane: Lane, rows: list[bytes], report: Report) -> None:
    """Hold the topics against each other, and against an undisturbed pipeline."""
    found = audit(lane, len(rows))
    report.anomalies += found.anomalies
    report.epochs, report.sequences = len(found.journal.epochs), len(found.sequences)
    expected = undisturbed(lane, rows)
    mine, theirs = ([visible_in_pseq(sequence) for sequence in listed] for listed in (found.sequences, expected))
    weights = {
        weight for sequence in expected if sequence.weights_S is not None for weight in sequence.weights_S.tolist()
    }
    if len(weights) < 2:
        report.anomalies.append("no document weighs more than another")
    if mine != theirs:
        differing = next(
            (i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), min(len(mine), len(theirs))
        )
        report.anomalies.append(
            f"{len(mine)} sequences, {len(theirs)} where nothing was disturbed; they differ from number {differing} on"
        )


def undisturbed(lane: Lane, rows: list[bytes]) -> list[PackedSequence]:
    """The sequences of the same rows over the broker in memory."""
    world = World(documents=[RawDocument(f"{lane.topics['documents']}-0", i, row) for i, row in enumerate(rows)])
    with tempfile.TemporaryDirectory() as folder:
        run(world, load_config(lane.config("undisturbed", lane.bootstrap)), Path(folder))
    return world.sequences


def visible_in_pseq(sequence: PackedSequence) -> tuple[object, ...]:
    """As `visible`, for tokens of any width."""
    seq_no, generation, _, *rest = visible(sequence)
    return seq_no, generation, sequence.tokens_T.tolist(), *rest


def without_new_versions(rows: list[bytes]) -> list[bytes]:
    """Rows of which no two have the same id and different texts: the audit follows documents by their id."""
    import msgspec

    texts: dict[str, str] = {}
    kept = []
    for row in rows:
        try:
            record = msgspec.json.decode(row)
            doc_id, text = record["id"], record["text"]
        except (msgspec.DecodeError, KeyError, TypeError):
            kept.append(row)
            continue
        if texts.setdefault(doc_id, text) == text:
            kept.append(row)
    return kept


def main() -> None:
    """From the command line, for as long as one likes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare documents")
    parser.add_argument("--rate", type=float, default=40.0, help="documents a second")
    arguments = parser.parse_args()
    broker = MavenBroker()
    folder = Path(tempfile.mkdtemp(prefix="curatord-torture-"))
    try:
        report = torture(
            broker,
            folder,
            f"torture-{arguments.seed}",
            seed=arguments.seed,
            num_faults=arguments.faults,
            num_workers=arguments.workers,
            rate=arguments.rate,
        )
    finally:
        broker.close()
    print(
        f"seed {report.seed}: {sum(report.faults.values())} faults {dict(report.faults)} in {report.seconds:.0f} s\n"
        f"{report.rows} rows, {report.epochs} epochs, {report.sequences} sequences, {report.takeovers} take-overs\n"
        f"exit codes {dict(report.exits)}; logs in {folder}\n"
        f"{len(report.anomalies)} anomalies" + "".join(f"\n  - {anomaly}" for anomaly in report.anomalies)
    )
    sys.exit(bool(report.anomalies))


if __name__ == "__main__":
    main()
