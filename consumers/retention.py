"""Retention: from which number on all sequences are still on their topic, as the first records there say."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError

from consumers.clients import connected_consumer
from consumers.connection import KafkaConfig
from curatord.errors import BrokerUnavailable, CorruptSequence

POLL_MS = 200
TIMEOUT_S = 5.0  # a cluster that does not say is asked again later
ONE_BATCH = 1  # byte: a broker gives a first batch whatever its size


@dataclass(frozen=True, slots=True)
class _First:
    """The first record of a partition that begins at `offset`."""

    offset: int
    generation: int
    seq_no: int


class RetentionReader:
    """A client of its own, which reads a record of a partition only when its beginning moved."""

    def __init__(self, config: KafkaConfig, topic: str, num_partitions: int) -> None:
        self._topic = topic
        self._partitions = [TopicPartition(topic, number) for number in range(num_partitions)]
        self._firsts: dict[TopicPartition, _First] = {}
        self._consumer: KafkaConsumer = connected_consumer(
            config, group_id=None, isolation_level="read_committed", max_partition_fetch_bytes=ONE_BATCH
        )

    def retained_from(self, generation: int, next_seq_no: int) -> int:
        """The first number of a generation that is there with all that follow; `next_seq_no` was not given out yet.

        Raises `BrokerUnavailable`, `CorruptSequence` if the topic begins with something else than sequences.
        """
        deadline = time.monotonic() + TIMEOUT_S
        try:
            begins = self._consumer.beginning_offsets(self._partitions, timeout_ms=int(TIMEOUT_S * 1000))
            ends = self._consumer.end_offsets(self._partitions, timeout_ms=int(TIMEOUT_S * 1000))
            return max(
                self._retained_from(partition, begins[partition], ends[partition], deadline, generation, next_seq_no)
                for partition in self._partitions
            )
        except KafkaError as error:
            raise BrokerUnavailable(f"the first sequences of {self._topic} cannot be read: {error}") from error

    def _retained_from(
        self, partition: TopicPartition, begin: int, end: int, deadline: float, generation: int, next_seq_no: int
    ) -> int:
        """As far as one partition is concerned."""
        if not begin:
            return 0  # nothing was ever cut
        first = self._firsts.get(partition)
        if first is None or first.offset != begin:
            record = first_record(self._consumer, partition, begin, end, deadline)
            if record is None:
                return whole_from(next_seq_no, partition.partition, len(self._partitions))
            first = self._firsts[partition] = _first_of(record, begin)
        if first.generation < generation:
            return 0
        seq_no = first.seq_no if first.generation == generation else next_seq_no
        return whole_from(seq_no, partition.partition, len(self._partitions))

    def close(self) -> None:
        """Let the connection go."""
        self._consumer.close()


def whole_from(seq_no: int, partition: int, num_partitions: int) -> int:
    """The number after the last that a partition lacks, if the first record that it holds, or will, has `seq_no`.

    That may be a sequence of this partition, or the end of a stream, which is on all.

    >>> whole_from(9, 1, 4), whole_from(8, 1, 4), whole_from(1, 1, 4)
    (6, 6, 0)
    """
    return max(0, seq_no - (seq_no - 1 - partition) % num_partitions)


def first_record(consumer: KafkaConsumer, partition: TopicPartition, start: int, end: int, deadline: float) -> Any:
    """The first committed record at or after `start`; None if there is none before `end`. Raises `KafkaError`."""
    consumer.assign([partition])
    consumer.seek(partition, start)
    while consumer.position(partition) < end:
        for record in consumer.poll(POLL_MS, max_records=1).get(partition, ()):
            return record
        if time.monotonic() > deadline:
            raise KafkaTimeoutError(f"{partition.topic}-{partition.partition} was not read in time")
    return None


def _first_of(record: Any, begin: int) -> _First:
    headers = dict(record.headers)
    try:
        return _First(begin, int(headers["gen"]), int(headers["seq_no"]))
    except (KeyError, TypeError, ValueError):
        raise CorruptSequence(
            f"{record.topic}-{record.partition} begins at {record.offset} with a record that is no sequence of curatord"
        ) from None
