"""Retention: from which number on all sequences are still on their topic, as the first records there say."""

from __future__ import annotations

import time

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from consumers.kafka.clients import connected_consumer
from consumers.kafka.connection import KafkaConfig
from curatord.errors import BrokerUnavailable, CorruptSequence
from curatord.partition import committed_messages, headed_record, whole_from

TIMEOUT_S = 5.0  # a cluster that does not say is asked again later
ONE_BATCH = 1  # byte: a broker gives a first batch of any size


class RetentionReader:
    """A client of its own, which reads a record of a partition only when its beginning moved."""

    def __init__(self, config: KafkaConfig, topic: str, num_partitions: int) -> None:
        self._topic = topic
        self._partitions = [TopicPartition(topic, number) for number in range(num_partitions)]
        self._firsts: dict[TopicPartition, tuple[int, int, int]] = {}  # offset, generation and seq_no
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
        if first is None or first[0] != begin:
            message = next(committed_messages(self._consumer, partition, begin, end, deadline), None)
            if message is None:
                return whole_from(next_seq_no, partition.partition, len(self._partitions))
            try:
                first = self._firsts[partition] = (begin, *headed_record(message).place)
            except ValueError as error:
                raise CorruptSequence(f"the topic of sequences begins with something else: {error}") from error
        _, of_first, seq_no = first
        if of_first < generation:
            return 0
        seq_no = seq_no if of_first == generation else next_seq_no
        return whole_from(seq_no, partition.partition, len(self._partitions))

    def close(self) -> None:
        """Let the connection go."""
        self._consumer.close()
