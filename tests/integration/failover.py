"""Failover: three brokers, of which one after another is killed with all that it leads; the shipped time-outs.

    python -m tests.integration.failover --kills 10 --two-for 60 --workers 2

Afterwards the topics must be as if nothing had happened, and the owner must have lived through it. The longest time
without an epoch is given for each kill.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from kafka.errors import KafkaError

from curatord import PackedStream
from tests.integration.lane import Instance, Lane
from tests.integration.maven_broker import KAFKAS_SESSION_MS, SESSION_MS, MavenBroker, MavenCluster
from tests.integration.torture import SETTINGS, Feeder, Report, check, without_new_versions
from tests.integration.world import PATIENCE_S, produce_documents, wait_until
from tests.simulation.world import make_rows

# Further faults: the broker hangs and keeps its connections, or comes back with an empty disk.
MORE = ("controller", "hanging journal", "hanging transaction", "emptied documents")
ROLES = ("journal", "transaction", "group", "documents", "sequences")
COORDINATORS = {"transaction": "__transaction_state", "group": "__consumer_offsets"}
COORDINATED = 2  # partitions of each of them, as the brokers of the tests have it
RATE = 40.0  # documents a second
WARM_ROWS = 600  # what the student is trained on, and more
LOOK_S = 0.05
WHOLE_S = 3.0  # an epoch comes every quarter of a second: the lane works again


class ShippedLane(Lane):
    """With the time-outs as they are shipped."""

    def config(self, name: str, bootstrap: str) -> Path:
        path = super().config(name, bootstrap)
        path.write_text(re.sub(r"^\w+_timeout_s = .*\n", "", path.read_text(), flags=re.MULTILINE))
        return path


@dataclass(slots=True)
class Kill:
    """One broker's death."""

    fault: str  # what the broker led, at least
    stall_s: float  # the longest time without an epoch, from then on


@dataclass(slots=True)
class Pulse(threading.Thread):
    """Notes when an epoch of the owner was committed."""

    instance: Instance
    beats: list[float] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        threading.Thread.__init__(self, name="pulse", daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        known = 0.0
        while not self.stopping.wait(LOOK_S):
            try:
                epoch = self.instance.metric("curatord_epoch")
            except (OSError, IndexError, ValueError):
                continue
            if epoch != known:
                known = epoch
                self.beats.append(time.monotonic())

    def stall_s(self, since: float) -> float:
        """The longest time without an epoch that began or ended after `since`; what goes on now counts."""
        beats = [beat for beat in self.beats if beat >= since]
        before = max((beat for beat in self.beats if beat < since), default=since)
        times = [max(before, since), *beats, time.monotonic()]
        return max(after - before for before, after in pairwise(times))

    def works_since(self, since: float) -> bool:
        """Whether epochs came for a while after the last stall."""
        now = time.monotonic()
        late = [beat for beat in self.beats if beat >= max(since, now - WHOLE_S)]
        return now - since > WHOLE_S and len(late) >= WHOLE_S and now - late[-1] < 1.0


class Trainer(threading.Thread):
    """Reads the sequences all the time, through all faults."""

    def __init__(self, lane: Lane) -> None:
        super().__init__(name="trainer", daemon=True)
        self._url = f"kafka://{lane.bootstrap}/{lane.topics['sequences']}"
        self._stream = PackedStream(self._url, start=0)
        self.numbers: list[int] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            for sequence in self._stream:
                self.numbers.append(sequence.seq_no)
        except Exception as error:
            self.error = error

    def stop(self) -> None:
        """It reads no more."""
        while self.is_alive():  # it may not wait yet
            self._stream.close()
            self.join(1)


def partition_of(key: str) -> int:
    """Of a topic of coordinators: as Java hashes text."""
    hashed = 0
    for character in key:
        hashed = (31 * hashed + ord(character)) & 0xFFFFFFFF
    return (hashed & 0x7FFFFFFF) % COORDINATED


def leader(cluster: MavenCluster, lane: Lane, role: str) -> MavenBroker:
    """The present leaders."""
    topic = COORDINATORS.get(role) or lane.topics[role]
    found: list[MavenBroker] = []

    def has_leader() -> bool:
        at = cluster.leader(topic, partition_of(lane.prefix) if role in COORDINATORS else 0)
        found[:] = [at] if at is not None and at.is_running else []
        return bool(found)

    wait_until(has_leader, f"a leader of {topic}")
    return found[0]


def wait_for_replicas(cluster: MavenCluster, lane: Lane) -> None:
    """Until all replicas of everything are in sync, so that the next death costs no data."""

    def are_whole() -> bool:
        return all(cluster.is_whole(topic) for topic in (*lane.topics.values(), *COORDINATORS.values()))

    wait_until(are_whole, "the replicas")


@dataclass(slots=True)
class Failover:
    """A cluster, a lane on it, and an owner that works."""

    cluster: MavenCluster
    lane: Lane
    owner: Instance
    pulse: Pulse
    workers: list[Instance] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)

    def kill(self, fault: str) -> None:
        """The broker that leads dies, or hangs, and comes back when the lane works again."""
        how, _, role = fault.rpartition(" ")
        victim = self.cluster.controller() if role == "controller" else leader(self.cluster, self.lane, role)
        began = time.monotonic()
        if how == "hanging":
            victim.freeze()
        else:
            victim.stop()
        self.go_on(began)
        self.kills.append(Kill(fault, self.pulse.stall_s(began)))
        if how == "emptied":
            victim.wipe()
        if how == "hanging":
            victim.thaw()
        else:
            victim.start()
        wait_for_replicas(self.cluster, self.lane)

    def kill_two(self, seconds: float) -> None:
        """Two die at once: nothing can be committed. The owner waits, and goes on when they are back."""
        victims = self.cluster.brokers[1:]
        for victim in victims:
            victim.stop()
        time.sleep(seconds)
        self.assert_alive()
        began = time.monotonic()
        for victim in victims:
            victim.launch()
        for victim in victims:
            victim.await_answer()
        self.go_on(began)
        self.kills.append(Kill("two at once, after their return", self.pulse.stall_s(began)))
        wait_for_replicas(self.cluster, self.lane)

    def go_on(self, since: float) -> None:
        def works() -> bool:
            self.assert_alive()
            return self.pulse.works_since(since)

        wait_until(works, "the next epochs", timeout_s=PATIENCE_S)

    def assert_alive(self) -> None:
        for instance in (self.owner, *self.workers):
            assert instance.process is not None
            code = instance.process.poll()
            assert code is None, f"{instance.name} ended with {code}:\n{instance.log_path.read_text()[-3000:]}"


def fail_over(
    cluster: MavenCluster,
    folder: Path,
    prefix: str,
    faults: list[str],
    *,
    seed: int = 0,
    two_for_s: float = 0.0,
    num_workers: int = 0,
) -> tuple[Failover, Report]:
    """Run it; what was done, and what the topics say of it."""
    began = time.monotonic()
    lane = ShippedLane(cluster.bootstrap, prefix, folder, SETTINGS, session_timeout_s=10.0, is_prepared=num_workers > 0)
    lane.create_topics()
    rows = [row.value for row in make_rows(seed, int(RATE * (120 + 60 * len(faults) + 2 * two_for_s)))]
    rows = without_new_versions([row for row in rows if isinstance(row, bytes)])
    owner = Instance(lane, "a", lane.bootstrap)
    produce_documents(lane.bootstrap, lane.topics["documents"], rows[:WARM_ROWS], partition=0)
    feeder, pulse = Feeder(lane, rows[WARM_ROWS:], RATE), Pulse(owner)
    trainer, report = Trainer(lane), Report(seed=seed)
    workers = [Instance(lane, f"worker-{w}", lane.bootstrap, command="prepare") for w in range(num_workers)]
    run = Failover(cluster, lane, owner, pulse, workers)
    try:
        for instance in (owner, *workers):
            instance.start()
        owner.wait_for("student_trained")
        pulse.start()
        feeder.start()
        trainer.start()
        wait_until(lambda: len(pulse.beats) > 3, "the first epochs")
        wait_for_replicas(cluster, lane)
        for fault in faults:
            run.kill(fault)
        if two_for_s:
            run.kill_two(two_for_s)
        feeder.stopping.set()
        feeder.join()
        owner.wait_for("idle_flushed")
        for instance in (owner, *workers):
            assert instance.stop() == 0
    finally:
        feeder.stopping.set()
        pulse.stopping.set()
        for instance in (owner, *workers):
            instance.kill()
    report.rows, report.seconds = WARM_ROWS + feeder.sent, time.monotonic() - began
    report.exits.update(owner.exits)
    check(lane, rows[: report.rows], report)
    wait_until(lambda: trainer.error or len(trainer.numbers) >= report.sequences, "the trainer")
    error = trainer.error
    trainer.stop()
    if error or trainer.numbers != list(range(report.sequences)):
        report.anomalies.append(f"the trainer read {len(trainer.numbers)} of {report.sequences}: {error!r}")
    return run, report


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--two-for", type=float, default=60.0, help="seconds that two of three are down at the end")
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare documents")
    parser.add_argument("--more", action="store_true", help="also the controller, brokers that hang, an empty disk")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shipped-brokers", action="store_true", help="a dead broker is noticed after 9 s, not 2")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="curatord-failover-"))
    cluster = MavenCluster(session_ms=KAFKAS_SESSION_MS if arguments.shipped_brokers else SESSION_MS)
    roles = (*ROLES, "prepared") if arguments.workers else ROLES
    faults = [roles[number % len(roles)] for number in range(arguments.kills)]
    if arguments.more:
        faults += MORE
    try:
        run, report = fail_over(
            cluster,
            folder,
            f"failover-{arguments.seed}",
            faults,
            seed=arguments.seed,
            two_for_s=arguments.two_for,
            num_workers=arguments.workers,
        )
    except KafkaError as error:
        sys.exit(f"the cluster did not answer: {error!r}; logs in {folder}")
    finally:
        cluster.close()
    for kill in run.kills:
        print(f"{kill.fault}: {kill.stall_s:.1f} s without an epoch")
    print(
        f"{report.rows} rows, {report.epochs} epochs, {report.sequences} sequences in {report.seconds:.0f} s; "
        f"exit codes {dict(report.exits)}; logs in {folder}\n{len(report.anomalies)} anomalies"
        + "".join(f"\n  - {anomaly}" for anomaly in report.anomalies)
    )
    sys.exit(bool(report.anomalies))


if __name__ == "__main__":
    main()
