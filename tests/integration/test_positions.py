"""Positions stand past records that are not read: an input that was read to its end may be cut there, without lag."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from consumers.kafka.clients import group_offsets
from curatord.errors import StateError
from curatord.records import SafePoint, encode_feedback
from state.store import Store
from tests.integration.audit import replay
from tests.integration.broker import Broker
from tests.integration.lane import Instance, Lane, run
from tests.integration.test_kafka_python import transactional_producer
from tests.integration.test_lane import World, become_owner, make_epoch, stand_by
from tests.integration.torture import SETTINGS
from tests.integration.world import create_topics, end_offsets, read_topic, wait_until

NUM_PARTITIONS = 64
QUIET_S = 1.5  # three epochs long


@pytest.fixture
def lane(broker: Broker, prefix: str, tmp_path: Path) -> Lane:
    lane = Lane(broker.bootstrap, prefix, tmp_path, SETTINGS)
    lane.create_topics(NUM_PARTITIONS)
    return lane


@pytest.fixture
def world(broker: Broker, prefix: str, tmp_path: Path) -> Iterator[World]:
    world = World(broker.bootstrap, prefix, tmp_path)
    world.create_topics(partitions=1)
    yield world
    world.close()


def transact(producer: KafkaProducer, topic: str, values: Sequence[bytes], partitions: int, *, abort: bool) -> None:
    producer.begin_transaction()
    for number, value in enumerate(values):
        producer.send(topic, value, partition=number % partitions)
    producer.flush()
    if abort:
        producer.abort_transaction()
    else:
        producer.commit_transaction()


def documents(name: str, count: int) -> list[bytes]:
    return [msgspec.json.encode({"id": f"{name}-{n}", "text": f"a text of its own, {name} {n}"}) for n in range(count)]


def produce(lane: Lane, name: str, count: int) -> None:
    """Documents and feedback in transactions; the last ones are aborted, three times on all partitions."""
    topics = lane.topics
    point = encode_feedback(SafePoint(run_id="run", generation=0, safe_seq_no=0))
    with transactional_producer(lane.bootstrap, f"{lane.prefix}-in") as producer:
        transact(producer, topics["documents"], documents(name, count), NUM_PARTITIONS, abort=False)
        transact(producer, topics["feedback"], [point] * 3, 1, abort=False)
        for _ in range(3):
            transact(producer, topics["documents"], documents(f"not-{name}", 2 * NUM_PARTITIONS), 64, abort=True)
            transact(producer, topics["feedback"], [point], 1, abort=True)


def status(config: Path) -> dict[str, int]:
    lag: dict[str, int] = json.loads(run("status", "--json", "-c", config).stdout)["lag"]
    return lag


def cut_all(lane: Lane) -> None:
    """As retention cuts what is old: up to the end, markers of transactions, too."""
    cut = {TopicPartition(lane.topics["documents"], number): -1 for number in range(NUM_PARTITIONS)}
    with KafkaAdminClient(bootstrap_servers=lane.bootstrap) as admin:
        admin.delete_records({**cut, TopicPartition(lane.topics["feedback"], 0): -1})


def test_topics_of_aborted_tails_that_were_read_and_cut_have_no_lag_and_are_read_on(
    lane: Lane, instance: Instance
) -> None:
    config = lane.config("a", lane.bootstrap)
    produce(lane, "first", 200)
    instance.start()
    instance.wait_for("restored")
    wait_until(lambda: len(status(config)) == NUM_PARTITIONS and not any(status(config).values()), "no lag")
    epochs = end_offsets(lane.bootstrap, lane.topics["journal"])
    time.sleep(QUIET_S)
    assert end_offsets(lane.bootstrap, lane.topics["journal"]) == epochs  # it rests
    assert instance.stop() == 0
    ends = end_offsets(lane.bootstrap, lane.topics["feedback"])
    store = Store(lane.folder / "a" / "state")
    assert store.get("inputs", f"{lane.topics['feedback']}-0".encode()) == b"%d" % ends[0]
    store.close()

    cut_all(lane)
    instance.start()
    instance.wait_for("restored", count=2)
    produce(lane, "second", 100)
    wait_until(lambda: not any(status(config).values()), "no lag")
    assert instance.stop() == 0
    ledger = replay(read_topic(lane.bootstrap, lane.topics["journal"])).ledger

    assert instance.exits == [0, 0]
    assert ledger.rows_read == 300
    assert ledger.rows["redelivered"] == ledger.rows["dead"] == 0


def read_all(world: World) -> dict[str, int]:
    """As the service does it: what is there is read and committed, and the lane is left. The committed offsets."""
    broker, store = world.member("a")
    broker.join()
    stand_by(broker, store, lambda: False)
    become_owner(broker, store)
    end = end_offsets(world.bootstrap, world.topics.documents)[0]
    source = f"{world.topics.documents}-0"
    deadline = time.monotonic() + 20
    while int(store.get("inputs", source.encode()) or 0) < end and time.monotonic() < deadline:
        epoch = make_epoch(broker, store)
        epoch.positions |= broker.passed()
        broker.commit(epoch)
    broker.close()
    with KafkaAdminClient(bootstrap_servers=world.bootstrap) as admin:
        offsets = group_offsets(admin, world.prefix)
    world.close()
    world.members.clear()
    world.stores.clear()
    return {f"{partition.topic}-{partition.partition}": at.offset for partition, at in offsets.items()}


def test_what_was_not_read_is_refused_though_markers_were_passed(world: World) -> None:
    topic = world.topics.documents
    with transactional_producer(world.bootstrap, f"{world.prefix}-in") as producer:
        transact(producer, topic, [b"{}"] * 3, 1, abort=False)
        transact(producer, topic, [b"{}"] * 3, 1, abort=True)
        assert read_all(world)[f"{topic}-0"] == 8
        transact(producer, topic, [b"{}"], 1, abort=False)
    with KafkaAdminClient(bootstrap_servers=world.bootstrap) as admin:
        admin.delete_records({TopicPartition(topic, 0): -1})

    with pytest.raises(StateError, match="retention cut it before it was read"):
        read_all(world)


def test_an_input_that_was_compacted_behind_and_around_its_position_is_read_on(world: World) -> None:
    topic = f"{world.prefix}-documents"
    with KafkaAdminClient(bootstrap_servers=world.bootstrap) as admin:
        admin.delete_topics([topic])
        wait_until(lambda: topic not in {t["name"] for t in admin.describe_topics()}, "it to be gone")
    create_topics(
        world.bootstrap,
        {topic: 1},
        {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.001"},
    )

    def produce_keyed(count: int) -> None:
        with KafkaProducer(bootstrap_servers=world.bootstrap, linger_ms=0) as producer:
            for number in range(count):
                producer.send(topic, b'{"n": %d}' % number, key=b"one", partition=0)
                producer.flush()

    produce_keyed(4)
    assert read_all(world)[f"{topic}-0"] == 4
    produce_keyed(4)
    time.sleep(0.2)  # a segment's age
    produce_keyed(1)
    wait_until(lambda: [r.offset for r in read_topic(world.bootstrap, topic)] == [7, 8], "the compaction")

    assert read_all(world)[f"{topic}-0"] == 9
