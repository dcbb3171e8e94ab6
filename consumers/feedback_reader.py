"""Reading the topic of feedback, outside every group: its positions are facts of the lane, committed with epochs."""

from __future__ import annotations

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from consumers.broker import RawFeedback
from consumers.clients import connected_consumer
from consumers.connection import KafkaConfig
from curatord.errors import BrokerUnavailable
from state.store import Store


class FeedbackReader:
    """All partitions of one topic, each read on where the state was left. Raises `BrokerUnavailable`."""

    def __init__(self, config: KafkaConfig, topic: str, num_partitions: int, store: Store) -> None:
        self._partitions = [TopicPartition(topic, number) for number in range(num_partitions)]
        self._consumer: KafkaConsumer = connected_consumer(config, group_id=None, isolation_level="read_committed")
        self._consumer.assign(self._partitions)
        first = self._consumer.beginning_offsets(self._partitions)
        for partition in self._partitions:
            known = store.get("inputs", f"{topic}-{partition.partition}".encode())
            # Feedback is an estimate: what retention cut is lost to it, and nothing else is.
            self._consumer.seek(partition, max(first[partition], 0 if known is None else int(known)))

    def poll(self, max_records: int) -> list[RawFeedback]:
        """What is at hand; never waits. Raises `BrokerUnavailable`."""
        try:
            fetched = self._consumer.poll(0, max_records=max_records)
        except OffsetOutOfRangeError as error:
            self._consumer.seek_to_beginning(*error.args[0])
            return []
        except KafkaError as error:
            if error.retriable:
                return []
            raise BrokerUnavailable(f"reading feedback failed: {error}") from error
        return [
            RawFeedback(f"{record.topic}-{record.partition}", record.offset, record.value)
            for records in fetched.values()
            for record in records
        ]

    def close(self) -> None:
        """Let the connection go."""
        self._consumer.close()
