"""Members of a lane that die, freeze and lose their disks at every point of the protocol, on a real broker.

`CURATORD_MEMBER_FAULTS` and `CURATORD_MEMBER_SEED` make the random test longer, or another one.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from curatord.errors import BrokerUnavailable, StateError
from state.store import Store
from tests.integration.broker import Broker
from tests.integration.checker import Evidence, gather, judge
from tests.integration.member import EPOCH_POINTS, TAKE_OVER_POINTS, Plan, start_member, topics_of
from tests.integration.world import PATIENCE_S, create_topics, produce_documents, wait_until

NUM_FAULTS = int(os.environ.get("CURATORD_MEMBER_FAULTS", "14"))
SEED = int(os.environ.get("CURATORD_MEMBER_SEED", "1"))
SESSION_TIMEOUT_S = 1.5


@dataclass(slots=True)
class Lab:
    """A lane, its members and what was sent to it."""

    bootstrap: str
    prefix: str
    folder: Path
    processes: dict[str, BaseProcess] = field(default_factory=dict)
    sent: int = 0

    def plan(self, name: str, **options: Any) -> Plan:
        return replace(Plan(self.bootstrap, self.prefix, self.folder, name, SESSION_TIMEOUT_S), **options)

    def start(self, name: str, **options: Any) -> None:
        self.processes[name] = start_member(self.plan(name, **options))

    def produce(self, count: int) -> None:
        """Of ten documents eight are new, one is a duplicate and one cannot be read; in two partitions."""
        for partition in (0, 1):
            numbers = range(self.sent + partition, self.sent + count, 2)
            produce_documents(
                self.bootstrap, topics_of(self.prefix).documents, map(self._document, numbers), partition=partition
            )
        self.sent += count

    def _document(self, number: int) -> bytes:
        if number % 10 == 7:
            return b"no document"
        return json.dumps({"id": f"d{number - 3 if number % 10 == 9 else number}"}).encode()

    def events(self, name: str, event: str) -> list[dict[str, Any]]:
        log = self.plan(name).log
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return [line for line in lines if line["event"] == event]

    def wait_for(self, name: str, event: str, *, count: int = 1) -> dict[str, Any]:
        wait_until(lambda: len(self.events(name, event)) >= count, f"{name}: {event}")
        return self.events(name, event)[count - 1]

    def wait_for_epochs(self, name: str, count: int) -> None:
        self.wait_for(name, "epoch", count=len(self.events(name, "epoch")) + count)

    def signal(self, name: str, number: int) -> None:
        pid = self.processes[name].pid
        if self.processes[name].is_alive() and pid is not None:
            os.kill(pid, number)

    def join(self, name: str, timeout_s: float = PATIENCE_S) -> int:
        """Its exit code; negative for a signal."""
        process = self.processes[name]
        process.join(timeout_s)
        assert process.exitcode is not None, f"{name} did not end"
        return process.exitcode

    def stop(self, name: str) -> int:
        self.signal(name, signal.SIGTERM)
        return self.join(name)

    def kill(self, name: str) -> None:
        self.signal(name, signal.SIGKILL)
        self.join(name)

    def wipe(self, name: str) -> None:
        shutil.rmtree(self.plan(name).disk, ignore_errors=True)

    def finish(self, survivor: str) -> list[str]:
        """The anomalies, after this member has read everything and left."""

        def is_done() -> bool:
            evidence = gather(self.bootstrap, self.prefix)
            owns = any(event["pid"] == self.processes[survivor].pid for event in self.events(survivor, "owner"))
            return owns and evidence.committed == evidence.produced

        wait_until(is_done, "everything to be read")
        assert self.stop(survivor) == 0
        return judge(self.evidence(survivor))

    def evidence(self, survivor: str) -> Evidence:
        store = Store(self.plan(survivor).disk)
        try:
            return gather(self.bootstrap, self.prefix, store)
        finally:
            store.close()

    def close(self) -> None:
        for name, process in self.processes.items():
            self.signal(name, signal.SIGKILL)
            process.join()
            process.close()


@pytest.fixture
def lab(broker: Broker, prefix: str, tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(broker.bootstrap, prefix, tmp_path)
    topics = topics_of(prefix)
    ones = (topics.sequences, topics.dead_letters, topics.journal, topics.artifacts)
    create_topics(broker.bootstrap, {topics.documents: 2, **dict.fromkeys(ones, 1)})
    yield lab
    lab.close()


def start_pair(lab: Lab, **options: Any) -> None:
    """The owner a, with these options, and a standby b."""
    lab.start("a", **options)
    lab.wait_for("a", "owner")
    lab.start("b")
    lab.wait_for("b", "standing_by")


@pytest.mark.parametrize("point", EPOCH_POINTS)
def test_an_owner_that_is_killed_in_a_commit_loses_and_doubles_nothing(lab: Lab, point: str) -> None:
    start_pair(lab, point=point, after=4)
    lab.produce(60)
    assert lab.join("a") == -signal.SIGKILL

    assert lab.finish("b") == []


@pytest.mark.parametrize("point", TAKE_OVER_POINTS)
def test_a_member_that_is_killed_while_it_takes_over_leaves_the_lane_to_the_next(lab: Lab, point: str) -> None:
    lab.start("a")
    lab.produce(60)
    lab.wait_for("a", "epoch", count=3)
    lab.stop("a")
    lab.start("b", point=point)
    assert lab.join("b") == -signal.SIGKILL
    lab.start("b")

    assert lab.finish("b") == []


@pytest.mark.parametrize("point", ["computed", "flushed", "offsets sent", "ending", "committed"])
def test_an_owner_that_is_frozen_in_a_commit_while_another_takes_over_changes_nothing(lab: Lab, point: str) -> None:
    start_pair(lab, point=point, after=4, signal=signal.SIGSTOP)
    lab.produce(60)
    lab.wait_for("b", "owner")
    lab.wait_for("b", "epoch")
    lab.signal("a", signal.SIGCONT)
    assert lab.join("a") != 0

    assert lab.finish("b") == []


def test_an_owner_that_was_frozen_while_it_took_over_fences_no_one_else(lab: Lab) -> None:
    lab.start("a", point="assigned", signal=signal.SIGSTOP)
    lab.wait_for("a", "tripped")
    lab.start("b")
    lab.produce(30)
    lab.wait_for("b", "epoch")
    lab.signal("a", signal.SIGCONT)
    lab.join("a")
    lab.produce(30)

    assert lab.finish("b") == []
    assert lab.events("b", "failed") == []


def test_a_standby_that_takes_over_after_term_waits_for_no_timeout(lab: Lab) -> None:
    start_pair(lab, session_timeout_s=30.0)
    lab.produce(30)
    lab.wait_for("a", "epoch")
    before = time.monotonic()
    assert lab.stop("a") == 0

    assert lab.wait_for("b", "owner")["at"] - before < 30
    assert lab.finish("b") == []


def test_a_standby_takes_over_after_the_session_timeout_of_a_kill(lab: Lab) -> None:
    start_pair(lab, session_timeout_s=3.0)
    before = time.monotonic()
    lab.kill("a")

    assert lab.wait_for("b", "owner")["at"] - before > 1.5


def test_an_owner_that_dies_again_and_again_loses_the_lane(lab: Lab) -> None:
    """A static member would come back as its owner for ever."""
    start_pair(lab, point="begun", after=2)
    lab.produce(60)

    def has_the_lane() -> bool:
        if not lab.processes["a"].is_alive():
            lab.start("a", point="begun", after=1)
        return bool(lab.events("b", "owner"))

    wait_until(has_the_lane, "the other one to own the lane")
    lab.wait_for("b", "epoch")

    assert lab.finish("b") == []


def test_two_that_start_at_once_on_an_empty_lane_begin_its_journal_once(lab: Lab) -> None:
    lab.produce(60)
    for name in "abc":
        lab.start(name)
    wait_until(lambda: any(lab.events(name, "epoch") for name in "abc"), "an epoch")
    (owner,) = [name for name in "abc" if lab.events(name, "owner")]

    assert lab.finish(owner) == []


def test_a_disk_that_was_lost_comes_back_from_the_journal(lab: Lab) -> None:
    lab.start("a")
    lab.produce(60)
    lab.wait_for("a", "epoch", count=4)
    lab.kill("a")
    lab.wipe("a")
    lab.start("a")

    assert lab.finish("a") == []


@pytest.mark.parametrize("without", [(), ("futures",)])
def test_the_record_that_does_not_arrive_is_missed_only_where_it_is_not_asked_for(
    lab: Lab, without: tuple[str, ...]
) -> None:
    lab.start("a", loses=2, without=without)
    lab.produce(60)
    lab.wait_for("a", "lost")
    if not without:
        assert lab.join("a") == BrokerUnavailable.exit_code
        lab.start("a")
    anomalies = lab.finish("a")

    assert [said for said in ("seq_no is not dense", "missing") if said in str(anomalies)] == (
        ["seq_no is not dense", "missing"] if without else []
    )
    assert bool(anomalies) == bool(without)


@pytest.mark.parametrize("without", ["", "snapshot", "fencing first", "both"])
def test_a_zombie_is_kept_out_twice(lab: Lab, without: str) -> None:
    """By the membership that it commits with, and by its heir, who fences it before asking how far it came."""
    of_zombie = ("snapshot",) if without in ("snapshot", "both") else ()
    of_heir = ("fencing first",) if without in ("fencing first", "both") else ()
    lab.start("a", point="flushed", after=4, signal=signal.SIGSTOP, without=of_zombie)
    lab.wait_for("a", "owner")
    lab.start("b", without=of_heir)
    lab.wait_for("b", "standing_by")
    lab.produce(60)
    lab.wait_for("b", "read" if of_heir else "owner")
    lab.signal("a", signal.SIGCONT)
    lab.join("a")
    if of_heir:
        lab.plan("b").go_on.touch()
    if without == "both":
        assert lab.join("b") == StateError.exit_code, "the last line: its state does not fit what the group committed"
        return

    assert lab.finish("b") == []


def sound() -> Evidence:
    return Evidence(
        epochs=[0, 1],
        puts=Counter({("held", b"in-0@0"): 1, ("held", b"in-0@1"): 1, ("held", b"in-0@2"): 1}),
        facts={
            ("held", b"in-0@0"): b"accepted:x",
            ("held", b"in-0@1"): b"accepted:y",
            ("held", b"in-0@2"): b"dead",
            ("held", b"pending"): b'["y"]',
            ("meta", b"sequences"): b"1",
            ("inputs", b"in-0"): b"3",
        },
        sequences=[(0, ("x",))],
        dead=["in-0@2"],
        committed={"in-0": 3},
        marker=(1, 9),
        journal_end=9,
        produced={"in-0": 3},
    )


SPOILED: dict[str, Callable[[Evidence], object]] = {
    "epochs are not dense": lambda e: e.epochs.append(1),
    "the marker is": lambda e: setattr(e, "marker", (0, 9)),
    "were never decided": lambda e: e.facts.pop(("held", b"in-0@0")),
    "decisions on nothing": lambda e: e.facts.update({("held", b"in-0@7"): b"dead"}),
    "decided twice": lambda e: e.puts.update({("held", b"in-0@0"): 1}),
    "the group is at": lambda e: e.committed.update({"in-0": 2}),
    "seq_no is not dense": lambda e: e.sequences.append((0, ("x",))),
    "the state counts": lambda e: e.sequences.clear(),
    "accepted twice": lambda e: e.facts.update({("held", b"in-0@1"): b"accepted:x"}),
    "missing: ['y']": lambda e: e.facts.update({("held", b"pending"): b"[]"}),
    "not accepted: ['z']": lambda e: e.sequences.append((1, ("z",))),
    "duplicates of nothing": lambda e: e.facts.update({("held", b"in-0@2"): b"duplicate:z"}),
    "dead letters": lambda e: e.dead.clear(),
    "survivor's state": lambda e: setattr(e, "store", {}),
}


@pytest.mark.parametrize("said", SPOILED)
def test_the_checker_sees_what_is_wrong(said: str) -> None:
    evidence = sound()
    assert judge(evidence) == []
    SPOILED[said](evidence)
    assert any(said in anomaly for anomaly in judge(evidence))


def test_deaths_in_any_order_leave_everything_counted_once(lab: Lab) -> None:
    rng = random.Random(SEED)
    names = ("a", "b")

    def some_plan() -> dict[str, Any]:
        if rng.random() < 0.3:
            return {}
        point = rng.choice(EPOCH_POINTS + TAKE_OVER_POINTS)
        number = rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP))
        return {"point": point, "after": rng.randint(1, 6), "signal": number}

    def supervise() -> None:
        for name in names:
            process = lab.processes.get(name)
            if process is None or not process.is_alive():
                assert process is None or process.exitcode != StateError.exit_code, lab.events(name, "failed")
                if process is not None and rng.random() < 0.2:
                    lab.wipe(name)
                lab.start(name, **some_plan())

    for _ in range(NUM_FAULTS):
        supervise()
        lab.produce(rng.randint(5, 60))
        until = time.monotonic() + rng.uniform(0.2, 3.0)
        while time.monotonic() < until:
            supervise()
            time.sleep(0.05)
        name = rng.choice(names)
        fault = rng.choice((signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGCONT, signal.SIGCONT))
        lab.signal(name, fault)
    for name in names:
        lab.signal(name, signal.SIGCONT)
        lab.kill(name)
    lab.start("a")

    assert lab.finish("a") == [], f"CURATORD_MEMBER_SEED={SEED} CURATORD_MEMBER_FAULTS={NUM_FAULTS}"
