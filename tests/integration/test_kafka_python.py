"""kafka-python: the behaviour that the service relies on, and the defects that it guards against.

A test of a defect fails when upstream has repaired it: then look at the guard that it names, and see whether it can go.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import MemberToRemove
from kafka.errors import CommitFailedError, KafkaTimeoutError
from kafka.structs import OffsetAndMetadata

from consumers.kafka.membership import is_joining, joining_timeout_s
from tests.integration.broker import Broker
from tests.integration.maven_broker import MavenBroker
from tests.integration.proxy import Proxy
from tests.integration.world import create_topics, produce_documents, read_topic, wait_until


@contextmanager
def transactional_producer(bootstrap: str, transactional_id: str, **options: object) -> Iterator[KafkaProducer]:
    producer = KafkaProducer(
        bootstrap_servers=bootstrap, transactional_id=transactional_id, retry_backoff_ms=20, **options
    )
    try:
        producer.init_transactions()
        yield producer
    finally:
        producer.close(timeout=5)


@contextmanager
def member(bootstrap: str, group: str, topic: str) -> Iterator[KafkaConsumer]:
    """A consumer that has joined its group and owns the topic."""
    with subscriber(bootstrap, group, topic) as consumer:
        wait_until(lambda: joined(consumer), "the assignment")
        yield consumer


@contextmanager
def subscriber(bootstrap: str, group: str, topic: str) -> Iterator[KafkaConsumer]:
    """A consumer that has not joined its group yet."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        heartbeat_interval_ms=200,
        session_timeout_ms=6000,
    )
    try:
        consumer.subscribe([topic])
        yield consumer
    finally:
        consumer.close(autocommit=False)


def joined(consumer: KafkaConsumer) -> bool:
    """Polls once, and tells whether the consumer owns partitions now."""
    consumer.poll(timeout_ms=int(joining_timeout_s(consumer, 0.1) * 1000))
    return bool(consumer.assignment()) and not is_joining(consumer)


def offset(number: int, metadata: str = "") -> OffsetAndMetadata:
    return OffsetAndMetadata(number, metadata, -1)


def committed(bootstrap: str, group: str) -> dict[int, OffsetAndMetadata]:
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        (offsets,) = admin.list_group_offsets(group).values()
    return {partition.partition: offset for partition, offset in offsets.items()}


def evict(bootstrap: str, group: str, member_id: str) -> None:
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        admin.remove_group_members(group, [MemberToRemove(member_id=member_id)])


def test_a_transaction_commits_without_a_record_whose_delivery_timed_out(
    maven_broker: MavenBroker, proxy: Proxy, prefix: str
):
    """Guard: after a flush, every future is asked before the offsets are sent."""
    create_topics(maven_broker.bootstrap, {prefix: 1})
    with transactional_producer(
        maven_broker.proxied_bootstrap,
        prefix,
        request_timeout_ms=500,
        delivery_timeout_ms=1000,
        linger_ms=0,
        reconnect_backoff_max_ms=100,
    ) as producer:
        producer.begin_transaction()
        first = producer.send(prefix, b"delivered", partition=0)
        producer.flush()
        assert first.succeeded()
        proxy.refuse()
        proxy.cut()
        second = producer.send(prefix, b"lost", partition=0)
        producer.flush()  # does not raise
        assert not second.succeeded()
        assert isinstance(second.exception, KafkaTimeoutError)
        proxy.heal()
        producer.commit_transaction()  # nor does this
    assert [record.value for record in read_topic(maven_broker.bootstrap, prefix)] == [b"delivered"]


def test_offsets_of_an_aborted_transaction_are_committed_by_the_next(broker: Broker, prefix: str):
    """Guard: a producer that has seen an error or an abort is never used again."""
    create_topics(broker.bootstrap, {prefix: 2})
    with (
        member(broker.bootstrap, prefix, prefix) as consumer,
        transactional_producer(broker.bootstrap, prefix) as producer,
    ):
        now = consumer.group_metadata()
        former = type(now)(now.group_id, now.generation_id + 100, now.member_id, now.group_instance_id)
        producer.begin_transaction()
        with pytest.raises(CommitFailedError):
            producer.send_offsets_to_transaction({TopicPartition(prefix, 0): offset(77, "stale")}, former)
        producer.abort_transaction()
        producer.begin_transaction()
        producer.send_offsets_to_transaction({TopicPartition(prefix, 1): offset(5, "fresh")}, now)
        producer.commit_transaction()
    assert committed(broker.bootstrap, prefix) == {0: offset(77, "stale"), 1: offset(5, "fresh")}


def test_an_evicted_member_may_commit_with_live_metadata_but_not_with_a_snapshot(broker: Broker, prefix: str):
    """Guard: the metadata of the latest poll is kept, refused below generation 1, and used for the commit."""
    create_topics(broker.bootstrap, {prefix: 1})
    partition = TopicPartition(prefix, 0)
    with (
        member(broker.bootstrap, prefix, prefix) as zombie,
        transactional_producer(broker.bootstrap, f"{prefix}-zombie") as producer,
    ):
        snapshot = zombie.group_metadata()
        assert snapshot.generation_id >= 1
        assert snapshot.member_id
        evict(broker.bootstrap, prefix, snapshot.member_id)
        wait_until(lambda: not zombie.group_metadata().member_id, "the zombie to notice")
        live = zombie.group_metadata()
        assert (live.generation_id, live.member_id) == (-1, "")
        with (
            member(broker.bootstrap, prefix, prefix) as owner,
            transactional_producer(broker.bootstrap, f"{prefix}-owner") as rightful,
        ):
            rightful.begin_transaction()
            rightful.send_offsets_to_transaction({partition: offset(100)}, owner.group_metadata())
            rightful.commit_transaction()
            producer.begin_transaction()
            producer.send_offsets_to_transaction({partition: offset(88)}, live)
            producer.commit_transaction()
            assert owner.committed(partition) == 88  # what the owner has done is forgotten
            producer.begin_transaction()
            with pytest.raises(CommitFailedError):
                producer.send_offsets_to_transaction({partition: offset(66)}, snapshot)
            producer.abort_transaction()
            assert owner.committed(partition) == 88


def test_a_join_for_new_metadata_is_forgotten_when_its_answer_comes_between_two_polls(broker: Broker, prefix: str):
    """Guard: a member that has begun to join, and needs not, asks for it again before it polls."""
    with subscriber(broker.bootstrap, prefix, prefix) as consumer:
        wait_until(lambda: consumer.poll(timeout_ms=500) or consumer.group_metadata().generation_id > 0, "the group")
        create_topics(broker.bootstrap, {prefix: 1})
        coordinator = consumer._coordinator

        def is_forgotten() -> bool:
            """Whether the join has begun within a poll too short for its answer, and is over."""
            consumer.poll(timeout_ms=1)
            time.sleep(0.1)
            return bool(coordinator._metadata_snapshot.get(prefix)) and not coordinator.need_rejoin()

        wait_until(is_forgotten, "the join to be answered between two polls")
        for _ in range(5):
            consumer.poll(timeout_ms=200)
        assert not consumer.assignment()
        wait_until(lambda: joined(consumer), "the assignment")


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd", "snappy"])
def test_messages_of_every_codec_are_read(broker: Broker, prefix: str, codec: str):
    create_topics(broker.bootstrap, {prefix: 1})
    documents = [f"{i} ".encode() * 500 for i in range(50)]
    produce_documents(broker.bootstrap, prefix, documents, compression=codec)
    assert [record.value for record in read_topic(broker.bootstrap, prefix)] == documents
