"""The protocol of a lane, step by step, on a real broker: take-over, zombies, lost answers, wrong surroundings.

The broker is the real one and so is the store; in place of the pipeline stand epochs of a few facts. Where a guard is
the point, a second test takes the guard away and sees the damage.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from consumers.broker import JournalRecord, Ownership
from consumers.formats.input_config import InputConfig
from consumers.kafka.broker import KafkaBroker
from consumers.kafka.clients import connected_admin, group_offsets
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.membership import Membership
from consumers.kafka.topics import TopicsConfig
from consumers.kafka.transactions import Outgoing, StaleMembership, Transactions
from curatord.errors import BrokerUnavailable, CuratordError, IdentityError, LaneLost, StateError
from daemon.restore import catch_up, take_in
from state.epoch import Epoch
from state.journal import journal_position
from state.store import Store
from tests.integration.broker import Broker
from tests.integration.maven_broker import MavenBroker
from tests.integration.proxy import Proxy
from tests.integration.test_kafka_python import evict
from tests.integration.world import create_topics, produce_documents, read_topic, wait_until

IDENTITY = '{"tokenizer": "t"}'


class OneRecord:
    """In place of `Outputs`: every epoch sends one record that says its number."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self.num_partitions = 1

    def records(self, epoch: Epoch, store: Store) -> list[Outgoing]:
        return [Outgoing(self._topic, 0, b"%d" % epoch.number)] if epoch.number else []


@dataclass(slots=True)
class World:
    """A lane's topics, and the members that a test makes."""

    bootstrap: str
    prefix: str
    folder: Path
    members: list[KafkaBroker] = field(default_factory=list)
    stores: dict[str, Store] = field(default_factory=dict)

    @property
    def topics(self) -> TopicsConfig:
        names = ("documents", "sequences", "dead_letters", "feedback", "journal", "artifacts")
        return TopicsConfig(**{name: f"{self.prefix}-{name.replace('_', '-')}" for name in names})

    def create_topics(self, partitions: int = 2) -> None:
        topics = self.topics
        create_topics(
            self.bootstrap,
            {topics.documents: partitions, topics.sequences: 1, topics.journal: 1, topics.artifacts: 1},
        )

    def config(self, bootstrap: str = "") -> KafkaConfig:
        return KafkaConfig(
            bootstrap_servers=bootstrap or self.bootstrap,
            lane=self.prefix,
            session_timeout_s=6.0,
            request_timeout_s=5.0,
            commit_timeout_s=20.0,
            transaction_timeout_s=20.0,
        )

    def member(self, name: str, bootstrap: str = "") -> tuple[KafkaBroker, Store]:
        """A process that may ask for the lane, with the disk of that name."""
        if name not in self.stores:
            self.stores[name] = Store(self.folder / name)
        store = self.stores[name]
        outputs = OneRecord(self.topics.sequences)
        broker = KafkaBroker(self.config(bootstrap), self.topics, InputConfig(), outputs, store, IDENTITY)  # type: ignore[arg-type]
        self.members.append(broker)
        return broker, store

    def owner(self, name: str, bootstrap: str = "") -> tuple[KafkaBroker, Store]:
        """A member that owns the lane and is where the one before was."""
        broker, store = self.member(name, bootstrap)
        broker.join()
        stand_by(broker, store, lambda: False)
        become_owner(broker, store)
        return broker, store

    def outputs(self) -> list[bytes]:
        return [record.value for record in read_topic(self.bootstrap, self.topics.sequences)]

    def close(self) -> None:
        for broker in self.members:
            with suppress(CuratordError):
                broker.close()
        for store in self.stores.values():
            store.close()


@pytest.fixture
def world(broker: Broker, prefix: str, tmp_path: Path) -> Iterator[World]:
    world = World(broker.bootstrap, prefix, tmp_path)
    world.create_topics()
    yield world
    world.close()


def stand_by(broker: KafkaBroker, store: Store, enough: Callable[[], bool]) -> None:
    for record in broker.journal(from_offset=journal_position(store), follow=True):
        if record is not None:
            take_in(record, store)
        if enough():
            return


def become_owner(broker: KafkaBroker, store: Store) -> list[JournalRecord]:
    return list(catch_up(broker, broker.take_over(), store))


def make_epoch(broker: KafkaBroker, store: Store, *, rows: int = 50) -> Epoch:
    """The next epoch: what was polled, and one fact."""
    at = store.committed()
    assert at is not None
    epoch = Epoch(number=at.epoch + 1, identity=IDENTITY)
    for row in broker.poll(rows, 1.0):
        epoch.positions[row.source] = row.position + 1
        epoch.num_rows += 1
    epoch.put("held", b"fact-%d" % epoch.number, b"x" * 100)
    epoch.put("meta", b"epoch", b"%d" % epoch.number)
    epoch.put("meta", b"identity", IDENTITY.encode())
    return epoch


def run(broker: KafkaBroker, store: Store, epochs: int) -> None:
    for _ in range(epochs):
        broker.commit(make_epoch(broker, store))


def facts(store: Store) -> list[tuple[bytes, bytes]]:
    return list(store.items("held")) + list(store.items("inputs"))


def test_the_first_owner_begins_the_journal_and_the_next_goes_on(world: World) -> None:
    produce_documents(world.bootstrap, world.topics.documents, [b"{}"] * 300)
    first, first_store = world.owner("a")
    assert first_store.committed() is not None
    run(first, first_store, 4)
    first.close()

    second, second_store = world.owner("b")
    run(second, second_store, 3)

    assert world.outputs() == [b"1", b"2", b"3", b"4", b"5", b"6", b"7"]
    assert [key for key, _ in second_store.items("held")] == [b"fact-%d" % number for number in range(1, 8)]


@pytest.mark.parametrize("heir", ["itself", "another"])
def test_a_death_in_the_very_first_commit_does_not_end_the_lane(
    world: World, monkeypatch: pytest.MonkeyPatch, heir: str
) -> None:
    first, store = world.member("a")
    first.join()
    stand_by(first, store, lambda: False)

    def die(*_: object) -> None:
        raise BrokerUnavailable("killed here")

    with monkeypatch.context() as patched:
        patched.setattr(first._transactions, "commit", die)
        with pytest.raises(BrokerUnavailable):
            first.take_over()  # what it sent to the journal is aborted, and stays as a gap before its end
    if heir == "itself":
        become_owner(first, store)
    else:
        first.close()
        first, store = world.owner("b")
    run(first, store, 2)

    assert world.outputs() == [b"1", b"2"]


def test_a_standby_that_joins_does_not_interrupt_the_owner(world: World) -> None:
    owner, store = world.owner("a")
    standby, standby_store = world.member("b")
    standby.join()
    stand_by(standby, standby_store, lambda: (run(owner, store, 1), store.committed().epoch >= 12)[1])  # type: ignore[union-attr]

    assert owner.ownership() is Ownership.OWNER
    assert standby.ownership() is Ownership.STANDBY
    wait_until(lambda: _followed(standby, standby_store, store), "the standby to follow")
    assert facts(standby_store) == facts(store)


def _followed(standby: KafkaBroker, standby_store: Store, store: Store) -> bool:
    for record in standby.journal(from_offset=journal_position(standby_store), follow=True):
        if record is None:
            break
        take_in(record, standby_store)
    return standby_store.committed() == store.committed()


def test_a_commit_that_a_rebalance_made_stale_is_tried_once_more(world: World) -> None:
    owner, store = world.owner("a")
    epoch = make_epoch(owner, store)
    now = owner._membership._snapshot
    owner._membership._snapshot = now._replace(generation_id=now.generation_id + 7)

    owner.commit(epoch)

    assert world.outputs() == [b"1"]


def test_an_evicted_owner_cannot_commit(world: World) -> None:
    owner, store = world.owner("a")
    run(owner, store, 1)
    epoch = make_epoch(owner, store)
    evict(world.bootstrap, world.prefix, owner._membership.snapshot.member_id)

    with pytest.raises((LaneLost, BrokerUnavailable)):
        owner.commit(epoch)

    assert world.outputs() == [b"1"]


def test_without_the_snapshot_an_evicted_owner_would_commit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, store = world.owner("a")
    run(owner, store, 1)
    epoch = make_epoch(owner, store)
    evict(world.bootstrap, world.prefix, owner._membership.snapshot.member_id)
    wait_until(lambda: not owner._membership._consumer.group_metadata().member_id, "the zombie to notice")

    def live(membership: Membership) -> ConsumerGroupMetadata:
        return membership._consumer.group_metadata()

    monkeypatch.setattr(Membership, "snapshot", property(live))
    owner.commit(epoch)

    assert world.outputs() == [b"1", b"2"], (
        "the broker does not check the membership of generation -1: the guard is needed"
    )


def test_a_fenced_owner_cannot_commit(world: World) -> None:
    owner, store = world.owner("a")
    epoch = make_epoch(owner, store)
    other = Transactions(world.config())
    other.take_over()
    try:
        with pytest.raises((LaneLost, BrokerUnavailable)):
            owner.commit(epoch)
    finally:
        other.close()
    assert world.outputs() == []


@pytest.mark.parametrize("point", ["nothing sent", "sent, not committed", "committed, answer lost", "not applied"])
def test_a_death_in_a_commit_is_decided_by_the_marker(
    world: World, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    produce_documents(world.bootstrap, world.topics.documents, [b"{}"] * 200)
    owner, store = world.owner("a")
    run(owner, store, 2)
    epoch = make_epoch(owner, store)

    def die(*_: object, **__: object) -> None:
        raise BrokerUnavailable("killed here")

    if point == "nothing sent":
        owner._transactions.send = die  # type: ignore[method-assign]
    elif point == "sent, not committed":
        owner._transactions.commit = die  # type: ignore[method-assign]
    elif point == "committed, answer lost":
        commit = owner._transactions.commit

        def commit_and_die(*arguments: object) -> None:
            commit(*arguments)  # type: ignore[arg-type]
            die()

        owner._transactions.commit = commit_and_die  # type: ignore[method-assign]
    else:
        monkeypatch.setattr("consumers.kafka.broker.apply_journalled", die)
    with pytest.raises(BrokerUnavailable):
        owner.commit(epoch)
    monkeypatch.undo()
    owner._membership.close()  # as the end of the process does; its transaction stays open

    again, again_store = world.owner("a")
    counts = point in ("committed, answer lost", "not applied")
    assert again_store.committed().epoch == (3 if counts else 2)  # type: ignore[union-attr]
    run(again, again_store, 2)

    assert world.outputs() == [b"%d" % number for number in range(1, 6 if counts else 5)]


def test_a_record_that_did_not_arrive_ends_the_commit(
    maven_broker: MavenBroker, proxy: Proxy, prefix: str, tmp_path: Path
) -> None:
    world = World(maven_broker.bootstrap, prefix, tmp_path)
    world.create_topics()
    transactions = lossy(world, maven_broker)
    try:
        with pytest.raises(BrokerUnavailable):
            lose_the_second_record(transactions, proxy, world.topics.sequences)
    finally:
        proxy.heal()
        transactions.close()


def lossy(world: World, maven_broker: MavenBroker) -> Transactions:
    """The lane's producer behind a proxy, with deliveries that time out soon."""
    import msgspec

    config = msgspec.structs.replace(
        world.config(maven_broker.proxied_bootstrap), request_timeout_s=1.0, commit_timeout_s=8.0
    )
    transactions = Transactions(config)
    transactions.take_over()
    return transactions


def lose_the_second_record(transactions: Transactions, proxy: Proxy, topic: str) -> None:
    """The connection goes after the first record was acknowledged."""
    producer = transactions._producer
    assert producer is not None
    send, flush = producer.send, producer.flush

    def cut_after_the_first(*arguments: object, **options: object) -> object:
        future = send(*arguments, **options)
        if arguments[1] == b"first":
            flush()
            proxy.refuse()
            proxy.cut()
        return future

    producer.send = cut_after_the_first
    transactions.send([Outgoing(topic, 0, b"first"), Outgoing(topic, 0, b"second")])


def test_offsets_of_a_failed_commit_stay_out_of_the_next_because_the_producer_is_new(world: World) -> None:
    assert next_commit_after_a_failed_one(world, renew=True) == {1: 5}


def test_with_the_same_producer_they_would_be_committed(world: World) -> None:
    assert next_commit_after_a_failed_one(world, renew=False) == {0: 77, 1: 5}


def next_commit_after_a_failed_one(world: World, *, renew: bool) -> dict[int, int]:
    """Offsets of the group for the documents after a commit of partition 0 failed, and one of partition 1 did not."""
    broker, _ = world.owner("a")
    transactions, snapshot = broker._transactions, broker._membership.snapshot
    documents, sequences = world.topics.documents, world.topics.sequences
    former = snapshot._replace(generation_id=snapshot.generation_id + 100)
    transactions.send([Outgoing(sequences, 0, b"failed")])
    with pytest.raises(StaleMembership):
        transactions.commit({TopicPartition(documents, 0): OffsetAndMetadata(77, "", -1)}, former)
    if renew:
        transactions.renew()
    else:
        assert transactions._producer is not None
        transactions._producer.abort_transaction()
    transactions.send([Outgoing(sequences, 0, b"good")])
    transactions.commit({TopicPartition(documents, 1): OffsetAndMetadata(5, "", -1)}, snapshot)
    with KafkaAdminClient(bootstrap_servers=world.bootstrap) as admin:
        (offsets,) = admin.list_group_offsets(world.prefix).values()
    return {tp.partition: at.offset for tp, at in offsets.items() if tp.topic == documents and at.offset}


def test_new_partitions_are_read_from_their_beginning(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.kafka.membership.METADATA_AGE_MS", 1000)
    owner, store = world.owner("a")
    run(owner, store, 1)
    admin = connected_admin(world.config())

    def has_three() -> bool:
        with suppress(KafkaError):  # it has them already
            admin.create_partitions({world.topics.documents: 3})
        return len(admin.describe_topics([world.topics.documents])[0]["partitions"]) == 3

    wait_until(has_three, "the topic to have three partitions")
    admin.close()
    wait_until(lambda: owner.poll(1, 0.2) is not None and len(owner._membership.partitions) == 3, "the new partition")
    produce_documents(world.bootstrap, world.topics.documents, [b"{}"] * 7, partition=2)

    epoch = make_epoch(owner, store)
    owner.commit(epoch)

    assert epoch.positions == {f"{world.topics.documents}-2": 7}


@pytest.mark.parametrize(
    ("damage", "said"),
    [("marker gone", "no marker"), ("offsets moved", "moved the group's offsets"), ("other lane", "another journal")],
)
def test_what_does_not_fit_together_stops_with_the_reason(world: World, damage: str, said: str) -> None:
    produce_documents(world.bootstrap, world.topics.documents, [b"{}"] * 100, partition=0)
    owner, store = world.owner("a")
    run(owner, store, 2)
    owner.close()
    with KafkaAdminClient(bootstrap_servers=world.bootstrap) as admin:
        if damage == "marker gone":
            admin.delete_group_offsets(world.prefix, [TopicPartition(world.topics.journal, 0)])
        elif damage == "offsets moved":
            moved = {TopicPartition(world.topics.documents, 0): OffsetAndMetadata(3, "", -1)}
            admin.alter_group_offsets(world.prefix, moved)
    if damage == "other lane":
        store.apply([("meta", b"lane", b"another")])

    with pytest.raises(StateError, match=said):
        read_on(world)


def read_on(world: World) -> None:
    """Own the lane again, and poll."""
    broker, _ = world.owner("a")
    broker.poll(10, 1.0)


def test_input_that_retention_cut_is_never_skipped(world: World) -> None:
    produce_documents(world.bootstrap, world.topics.documents, [b"{}"] * 100, partition=0)
    owner, store = world.owner("a")
    run(owner, store, 1)
    owner.close()
    produce_documents(world.bootstrap, world.topics.documents, [b"{}"] * 100, partition=0)
    with KafkaAdminClient(bootstrap_servers=world.bootstrap) as admin:
        admin.delete_records({TopicPartition(world.topics.documents, 0): 150})

    with pytest.raises(StateError, match="retention cut it"):
        read_on(world)


def test_a_topic_of_sequences_that_got_more_partitions_is_refused_with_both_numbers(world: World) -> None:
    owner, store = world.owner("a")
    run(owner, store, 2)
    owner.close()
    # As if the lane had been made before its marker kept the number.
    partition = TopicPartition(world.topics.journal, 0)
    with KafkaAdminClient(bootstrap_servers=world.bootstrap) as admin:
        marker = group_offsets(admin, world.prefix)[partition]
        without = OffsetAndMetadata(marker.offset, marker.metadata.replace(',"p":1', ""), -1)
        assert without != marker
        admin.alter_group_offsets(world.prefix, {partition: without})
    owner, store = world.owner("a")
    run(owner, store, 1)
    owner.close()

    altered, _ = world.member("a")
    altered._outputs.num_partitions = 2  # type: ignore[misc]
    with pytest.raises(IdentityError, match=r"has 2 partitions, lane .* was made with 1"):
        altered.committed()


class NoUtf8(str):
    """A header's name as another client may send it."""

    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        return b"\xff\xfe"


def test_a_header_whose_name_is_no_text_stops_no_reader(world: World) -> None:
    with KafkaProducer(bootstrap_servers=world.bootstrap) as producer:
        for value, headers in ((b"1", []), (b"2", [(NoUtf8("x"), b"v")]), (b"3", [])):
            producer.send(world.topics.documents, value, partition=0, headers=headers)
    owner, _ = world.owner("a")

    rows = owner.poll(10, 5.0)

    assert [row.value for row in rows] == [b"1", b"2", b"3"]


def test_a_state_that_lost_its_end_with_the_power_is_brought_up_by_the_journal(world: World) -> None:
    produce_documents(world.bootstrap, world.topics.documents, [b"{}"] * 400, partition=0)
    owner, store = world.owner("a")
    run(owner, store, 3)
    owner.close()
    world.stores.pop("a").close()
    shutil.copytree(world.folder / "a", world.folder / "as-of-epoch-3")
    owner, store = world.owner("a")
    run(owner, store, 4)
    known = facts(store)
    owner.close()
    world.stores.pop("a").close()

    shutil.rmtree(world.folder / "a")
    (world.folder / "as-of-epoch-3").rename(world.folder / "a")
    owner, store = world.owner("a")

    assert facts(store) == known
    run(owner, store, 1)
    assert world.outputs() == [b"%d" % number for number in range(1, 9)]


@pytest.mark.parametrize("grown", [0, 200], ids=["short", "grown past the old position"])
def test_a_topic_that_was_made_anew_is_noticed(world: World, grown: int) -> None:
    produce_documents(world.bootstrap, world.topics.documents, [b"{}"] * 100, partition=0)
    owner, store = world.owner("a")
    while int(store.get("inputs", f"{world.topics.documents}-0".encode()) or 0) < 60:
        run(owner, store, 1)
    owner.close()
    with KafkaAdminClient(bootstrap_servers=world.bootstrap) as admin:
        admin.delete_topics([world.topics.documents])
        wait_until(lambda: world.topics.documents not in {t["name"] for t in admin.describe_topics()}, "it to be gone")
    create_topics(world.bootstrap, {world.topics.documents: 2})
    produce_documents(world.bootstrap, world.topics.documents, [b"{}"] * grown, partition=0)
    with pytest.raises(StateError, match=r"made anew|moved the group's offsets"):
        read_on(world)
