"""Reading the topic of feedback, outside every group: its positions are facts of the lane, committed with epochs."""

from __future__ import annotations

import time

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from consumers.broker import RawFeedback
from consumers.kafka.clients import connected_consumer, passes, position_of
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.positions import Positions, source_name
from curatord.errors import BrokerUnavailable

LOOK_S = 60.0  # how often partitions, or the topic, that were made meanwhile are looked for


class FeedbackReader:
    """All partitions of one topic, also those that are added, each read on where the state was left.

    Raises `BrokerUnavailable`.
    """

    def __init__(self, config: KafkaConfig, topic: str, positions: Positions) -> None:
        self._topic, self._known = topic, positions
        self._partitions: set[int] = set()
        self._consumer: KafkaConsumer = connected_consumer(
            config, group_id=None, isolation_level="read_committed", metadata_max_age_ms=int(LOOK_S * 1000)
        )
        self._looked_at = -LOOK_S

    def _look(self) -> None:
        """Begin to read what was made since the last look."""
        if time.monotonic() - self._looked_at < LOOK_S:
            return
        self._looked_at = time.monotonic()
        found = self._consumer.partitions_for_topic(self._topic)
        if found > self._partitions:
            self._widen(found)

    def _widen(self, partitions: set[int]) -> None:
        """Read these partitions; those that are read already are read on."""
        added = [TopicPartition(self._topic, number) for number in sorted(partitions - self._partitions)]
        # Asked first: if the cluster does not say, nothing has changed, and the next look asks again.
        first = self._consumer.beginning_offsets(added)
        self._consumer.assign([TopicPartition(self._topic, number) for number in sorted(partitions)])
        for partition in added:
            known = self._known.of(source_name(partition))
            # Feedback is an estimate: what retention cut is lost to it, and nothing else is.
            self._consumer.seek(partition, max(first[partition], known or 0))
        self._partitions = partitions

    def poll(self, max_records: int) -> list[RawFeedback]:
        """The messages at hand; never waits. Raises `BrokerUnavailable`."""
        try:
            self._look()
            fetched = self._consumer.poll(0, max_records=max_records) if self._partitions else {}
        except OffsetOutOfRangeError as error:
            self._consumer.seek_to_beginning(*error.args[0])
            return []
        except KafkaError as error:
            if passes(error):
                return []
            raise BrokerUnavailable(f"reading feedback failed: {error}") from error
        return [
            RawFeedback(source_name(record), record.offset, record.value)
            for records in fetched.values()
            for record in records
        ]

    def positions(self) -> dict[str, int]:
        """Where each partition is read on: past markers of transactions, aborted and compacted records."""
        positions = {}
        for number in self._partitions:
            partition = TopicPartition(self._topic, number)
            position = position_of(self._consumer, partition)
            if position is not None:
                positions[source_name(partition)] = position
        return positions

    def close(self) -> None:
        """Let the connection go."""
        self._consumer.close()
