"""A member of a lane with little in place of the pipeline, to be killed or frozen at a named point of the protocol.

Broker, store and catching up are the real ones. Documents are `{"id": ...}`: the first of an id is accepted, later ones
are duplicates, what cannot be read is a dead letter; five accepted ones make a sequence. So a start takes a fraction of
a second, and a checker can say of every document where it must be.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from kafka import TopicPartition

from consumers.broker import Ownership, RawDocument
from consumers.formats.input_config import InputConfig
from consumers.kafka.broker import KafkaBroker
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.outputs import Outputs
from consumers.kafka.topics import TopicsConfig
from consumers.kafka.transactions import Outgoing, Transactions
from curatord.errors import CuratordError
from curatord.records import DeadLetter
from curatord.sequence import PackedSequence
from daemon.restore import catch_up, epoch_of, take_in
from state.epoch import Change, Committed, Epoch
from state.journal import journal_position
from state.store import Store

PACK = 5  # documents of a sequence
POLL_ROWS = 7  # about as many make an epoch
NOTICE_S = 1.0
IDENTITY = "{}"
# In the order in which an epoch passes them.
EPOCH_POINTS = ("computed", "begun", "sent", "flushed", "offsets sent", "ending", "committed", "applied")
TAKE_OVER_POINTS = ("assigned", "fenced", "restoring")


@dataclass(frozen=True, slots=True)
class Plan:
    """Work of a member, and the point where it is to die."""

    bootstrap: str
    prefix: str
    folder: Path  # its disk is in here
    name: str
    session_timeout_s: float = 2.0
    point: str = ""  # one of the points above; "" dies nowhere
    after: int = 1  # at which passing of the point
    signal: int = signal.SIGKILL
    without: tuple[str, ...] = ()  # guards that are taken away: "futures", "snapshot", "fencing first"
    loses: int = -1  # number of the sequence whose record cannot be delivered

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def go_on(self) -> Path:
        return self.folder / f"{self.name}.go-on"

    @property
    def disk(self) -> Path:
        return self.folder / self.name


def topics_of(prefix: str) -> TopicsConfig:
    names = ("documents", "sequences", "dead_letters", "journal", "artifacts")
    return TopicsConfig(feedback="", **{name: f"{prefix}-{name.replace('_', '-')}" for name in names})


def kafka_config(bootstrap: str, prefix: str, session_timeout_s: float) -> KafkaConfig:
    return KafkaConfig(
        bootstrap_servers=bootstrap,
        lane=prefix,
        session_timeout_s=session_timeout_s,
        request_timeout_s=1.5,
        commit_timeout_s=5.0,
        transaction_timeout_s=10.0,
    )


def open_broker(plan: Plan, store: Store) -> KafkaBroker:
    topics = topics_of(plan.prefix)
    outputs = Outputs(
        topics=topics,
        num_partitions=1,
        tokenizer_digest=0,
        vocabulary_size=100,
        context_length=PACK,
        batch_quantum=1,
        dead_letter_partitions=1,
        verdict_partitions=0,
    )
    config = kafka_config(plan.bootstrap, plan.prefix, plan.session_timeout_s)
    return KafkaBroker(config, topics, InputConfig(), outputs, store, IDENTITY)


@dataclass(slots=True)
class Curation:
    """The stand-in: which ids were seen, what waits for a sequence, how many sequences there are."""

    seen: set[str] = field(default_factory=set)
    pending: list[str] = field(default_factory=list)
    num_sequences: int = 0

    def follow(self, changes: Iterable[Change]) -> None:
        """Content of an epoch of the journal, or of the store."""
        for family, key, value in changes:
            if value is None:
                continue
            if family == "held" and key == b"pending":
                self.pending = json.loads(value)
            elif family == "held" and value.startswith(b"accepted:"):
                self.seen.add(value.removeprefix(b"accepted:").decode())
            elif family == "meta" and key == b"sequences":
                self.num_sequences = int(value)

    def load(self, store: Store) -> None:
        for family in ("held", "meta"):
            self.follow((family, key, value) for key, value in store.items(family))

    def process(self, rows: list[RawDocument], epoch: Epoch) -> None:
        for row in rows:
            epoch.positions[row.source] = row.position + 1
            epoch.num_rows += 1
            epoch.put("held", f"{row.source}@{row.position}".encode(), self._decide(row, epoch).encode())
        while len(self.pending) >= PACK:
            epoch.sequences.append([make_sequence(self.num_sequences, self.pending[:PACK])])
            del self.pending[:PACK]
            self.num_sequences += 1
        epoch.put("held", b"pending", json.dumps(self.pending).encode())
        epoch.put("meta", b"sequences", str(self.num_sequences).encode())
        epoch.put("meta", b"epoch", str(epoch.number).encode())
        epoch.put("meta", b"identity", IDENTITY.encode())

    def _decide(self, row: RawDocument, epoch: Epoch) -> str:
        try:
            assert isinstance(row.value, bytes)
            doc_id: str = json.loads(row.value)["id"]
        except (ValueError, KeyError):
            epoch.dead_letters.append(dead_letter(row))
            return "dead"
        if doc_id in self.seen:
            return f"duplicate:{doc_id}"
        self.seen.add(doc_id)
        self.pending.append(doc_id)
        return f"accepted:{doc_id}"


def dead_letter(row: RawDocument) -> DeadLetter:
    return DeadLetter(
        reason="bad_json",
        message="not a document",
        source=row.source,
        position=row.position,
        index=None,
        original=b"",
        truncated=False,
    )


def make_sequence(seq_no: int, doc_ids: list[str]) -> PackedSequence:
    """One token a document."""
    count = len(doc_ids)
    return PackedSequence(
        seq_no=seq_no,
        generation=0,
        context_length=PACK,
        tokens_T=np.ones(count, np.uint32),
        segment_lengths_S=np.ones(count, np.uint32),
        segment_offsets_S=np.zeros(count, np.uint32),
        segment_flags_S=np.full(count, 3, np.uint8),
        doc_ids=tuple(doc_ids),
        clusters_S=np.zeros(count, np.int32),
        policy_versions_S=np.zeros(count, np.int32),
        propensities_S=np.ones(count, np.float32),
    )


class Trap:
    """Kills or freezes this process the `after`th time that it passes the point."""

    def __init__(self, plan: Plan, say: Callable[..., None]) -> None:
        self._plan, self._say = plan, say
        self._passed = 0

    def __call__(self, point: str) -> None:
        if point != self._plan.point:
            return
        self._passed += 1
        if self._passed == self._plan.after:
            self._say("tripped", point=point)
            os.kill(os.getpid(), self._plan.signal)

    def in_flight(self, point: str, act: Callable[[], Any]) -> Any:
        """Sends the signal from beside while `act` waits for its answer."""
        if point != self._plan.point:
            return act()
        beside = threading.Timer(0.001 * (os.getpid() % 4), self, [point])
        beside.start()
        answer = act()
        beside.join()
        return answer


def set_traps(broker: KafkaBroker, trap: Trap, plan: Plan, say: Callable[..., None]) -> None:
    """Every step of a commit tells the trap. The producer is a new one after each take-over."""
    take_over, whole_commit = broker._transactions.take_over, broker.commit

    def take_over_and_wrap() -> None:
        take_over()
        producer = broker._transactions._producer
        assert producer is not None
        begin, send, flush = producer.begin_transaction, producer.send, producer.flush
        send_offsets, commit = producer.send_offsets_to_transaction, producer.commit_transaction

        def traced_begin() -> None:
            trap("computed")
            begin()
            trap("begun")

        def lossy_send(topic: str, value: bytes, **options: Any) -> Any:
            if ("seq_no", b"%d" % plan.loses) in options["headers"]:
                # It stays where it is until its delivery times out, as it would without a broker; but at once.
                flush()
                accumulator, place = producer._accumulator, TopicPartition(topic, options["partition"])
                before, accumulator.config["delivery_timeout_ms"] = accumulator.config["delivery_timeout_ms"], 0
                accumulator.muted.add(place)
                future = send(topic, value, **options)
                flush()
                accumulator.muted.discard(place)
                accumulator.config["delivery_timeout_ms"] = before
                assert not future.succeeded()
                say("lost")
                return future
            return send(topic, value, **options)

        def traced_flush(*arguments: Any, **options: Any) -> None:
            trap("sent")
            flush(*arguments, **options)
            trap("flushed")

        def traced_send_offsets(offsets: Any, snapshot: Any) -> None:
            send_offsets(offsets, live_metadata(broker) if "snapshot" in plan.without else snapshot)
            trap("offsets sent")

        def traced_commit() -> None:
            trap.in_flight("ending", commit)
            trap("committed")

        producer.begin_transaction, producer.send, producer.flush = traced_begin, lossy_send, traced_flush
        producer.send_offsets_to_transaction, producer.commit_transaction = traced_send_offsets, traced_commit
        trap("fenced")

    def traced_whole_commit(epoch: Epoch) -> None:
        whole_commit(epoch)
        trap("applied")

    broker._transactions.take_over = take_over_and_wrap  # type: ignore[method-assign]
    broker.commit = traced_whole_commit  # type: ignore[method-assign]
    if "futures" in plan.without:
        broker._transactions.send = partial(send_unchecked, broker._transactions)  # type: ignore[method-assign]


def live_metadata(broker: KafkaBroker) -> Any:
    """The client's metadata once it has learned of its eviction; a frozen process learns of it when it thaws."""
    consumer = broker._membership._consumer
    deadline = time.monotonic() + NOTICE_S
    while consumer.group_metadata().member_id and time.monotonic() < deadline:
        time.sleep(0.01)
    return consumer.group_metadata()


def send_unchecked(transactions: Transactions, records: Sequence[Outgoing]) -> list[int]:
    """`Transactions.send` without a look at what became of the records; the last one is that of the journal."""
    producer = transactions._producer
    assert producer is not None
    transactions._began = time.monotonic()
    producer.deadline = transactions._began + 60
    producer.begin_transaction()
    futures = [
        producer.send(r.topic, r.value, key=r.key, partition=r.partition, headers=list(r.headers)) for r in records
    ]
    producer.flush()
    return [futures[-1].get(timeout=1).offset]


class Member:
    """One life: stand by, take over, commit, leave."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._stopped = False

    def say(self, event: str, **facts: Any) -> None:
        line = json.dumps({"at": time.monotonic(), "pid": os.getpid(), "event": event, **facts})
        with self.plan.log.open("a") as log:
            log.write(line + "\n")

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        self._stopped = True

    def live(self) -> int:
        """The exit code."""
        self.say("started")
        store = Store(self.plan.disk)
        broker: KafkaBroker | None = None
        try:
            broker = open_broker(self.plan, store)
            self._serve(broker, store)
        except CuratordError as error:
            self.say("failed", error=type(error).__name__, message=str(error))
            return error.exit_code
        finally:
            if broker is not None:
                broker.close()
            store.close()
        self.say("left")
        return 0

    def _read_first(self, broker: KafkaBroker) -> Committed | None:
        """The wrong order: learn how far the owner before came while it still can go on."""
        known = broker.committed()
        self.say("read")
        while not self._stopped and not self.plan.go_on.exists():
            broker.keep_alive()
            time.sleep(0.02)
        return known

    def _take_over(self, broker: KafkaBroker, known: Committed | None) -> Committed:
        committed = broker.take_over()
        return committed if known is None else known

    def _serve(self, broker: KafkaBroker, store: Store) -> None:
        trap = Trap(self.plan, self.say)
        set_traps(broker, trap, self.plan, self.say)
        curation = Curation()
        curation.load(store)
        broker.join()
        is_standing_by = False
        for record in broker.journal(from_offset=journal_position(store), follow=True):
            if self._stopped:
                return
            if record is not None:
                take_in(record, store)
                curation.follow(record.changes)
            elif not is_standing_by:
                is_standing_by = True
                self.say("standing_by", epoch=epoch_of(store))
        trap("assigned")
        if broker.ownership() is not Ownership.OWNER:
            return
        known = self._read_first(broker) if "fencing first" in self.plan.without else None
        for record in catch_up(broker, self._take_over(broker, known), store):
            trap("restoring")
            curation.follow(record.changes)
        self.say("owner", epoch=epoch_of(store))
        while not self._stopped:
            rows = broker.poll(POLL_ROWS, 0.1)
            if rows:
                epoch = Epoch(number=epoch_of(store) + 1, identity=IDENTITY)
                curation.process(rows, epoch)
                broker.commit(epoch)
                self.say("epoch", epoch=epoch.number)


def run_member(plan: Plan) -> None:
    """The whole process."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    with plan.log.with_suffix(".err").open("a") as errors:
        os.dup2(errors.fileno(), 2)
        os.dup2(errors.fileno(), 1)
    member = Member(plan)
    signal.signal(signal.SIGTERM, member.stop)
    sys.exit(member.live())


_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])  # a member starts in milliseconds, from a process that has no threads


def start_member(plan: Plan) -> multiprocessing.process.BaseProcess:
    process = _context.Process(target=run_member, args=[plan], name=plan.name, daemon=True)
    process.start()
    return process
