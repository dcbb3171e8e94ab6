"""Topics, read and written by plain clients: no part of the daemon is in here."""

from __future__ import annotations

import heapq
import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.producer.future import RecordMetadata

from curatord.sequence import PackedSequence, decode_sequence

# How long a test waits for what should come within seconds: a machine that others use as well must not fail it.
PATIENCE_S = 300.0


def create_topics(bootstrap: str, topics: Mapping[str, int], configs: Mapping[str, str] | None = None) -> None:
    """Topics by name with their number of partitions, all with the same settings. Returns when they have leaders."""
    wanted = {
        name: {"num_partitions": partitions, "replication_factor": -1, "configs": dict(configs or {})}
        for name, partitions in topics.items()
    }
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        admin.create_topics(wanted, wait_for_metadata=True)


def produce_documents(
    bootstrap: str,
    topic: str,
    documents: Iterable[Mapping[str, Any] | bytes],
    *,
    partition: int | None = None,
    linger_ms: int = 5,
    compression: str | None = None,
) -> list[RecordMetadata]:
    """Sends one message a document, objects as JSON and bytes as they are; returns where each of them lies.

    Without a partition the client spreads them; within a partition they keep their order. The producer is idempotent.
    Raises what a delivery failed with.
    """
    with KafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        linger_ms=linger_ms,
        batch_size=256 << 10,
        max_request_size=64 << 20,
        compression_type=compression,
    ) as producer:
        sent = [
            producer.send(
                topic,
                document if isinstance(document, bytes) else json.dumps(document, ensure_ascii=False).encode(),
                partition=partition,
            )
            for document in documents
        ]
        producer.flush()
        return [future.get(timeout=30) for future in sent]


def read_topic(bootstrap: str, topic: str, *, timeout_s: float = 30.0) -> list[ConsumerRecord]:
    """Every committed record that the topic holds now, by partition and offset: up to the last stable offset.

    Raises TimeoutError if the topic cannot be read to its end in time, and AssertionError if it does not exist.
    """
    with _reader(bootstrap) as consumer:
        ends = _ends(consumer, topic)
        consumer.assign(list(ends))
        consumer.seek_to_beginning()
        records: dict[TopicPartition, list[ConsumerRecord]] = {partition: [] for partition in ends}
        deadline = time.monotonic() + timeout_s
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{topic} was not read to {ends} within {timeout_s} s")
            for partition, batch in consumer.poll(timeout_ms=200).items():
                # What was committed after the ends were taken belongs to a later reading.
                records[partition] += [record for record in batch if record.offset < ends[partition]]
    return [record for partition in sorted(records) for record in records[partition]]


def read_sequences(bootstrap: str, topic: str) -> list[PackedSequence]:
    """Every sequence that the topic holds now, partitions merged by number; ends of the stream are none."""
    partitions: dict[int, list[PackedSequence]] = {}
    for record in read_topic(bootstrap, topic):
        if "end" not in dict(record.headers):
            partitions.setdefault(record.partition, []).append(decode_sequence(record.value))
    return list(heapq.merge(*partitions.values(), key=lambda sequence: (sequence.generation, sequence.seq_no)))


def end_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    """The last stable offset of every partition: what a reader of committed records may read up to."""
    with _reader(bootstrap) as consumer:
        return {partition.partition: end for partition, end in _ends(consumer, topic).items()}


def wait_until(holds: Callable[[], object], what: str, *, timeout_s: float = PATIENCE_S) -> None:
    """Returns as soon as it holds. Raises AssertionError, naming what was waited for, if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.05)


def _reader(bootstrap: str) -> KafkaConsumer:
    return KafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        fetch_max_bytes=64 << 20,
        max_partition_fetch_bytes=16 << 20,
    )


def _ends(consumer: KafkaConsumer, topic: str) -> dict[TopicPartition, int]:
    numbers = consumer.partitions_for_topic(topic)
    assert numbers, f"topic {topic} does not exist"
    ends: dict[TopicPartition, int] = consumer.end_offsets([TopicPartition(topic, number) for number in numbers])
    return ends
