"""Sending prepared messages, so that no order of failures leaves a gap between them.

A message is sent when all before it in its partition is acknowledged, and not earlier: one that fails while a later
one arrives would have the lane see rows missing. A producer that saw an error is not used again; its successor sends
the message once more, which the lane drops if it did arrive.
"""

from __future__ import annotations

from kafka import KafkaProducer
from kafka.errors import AuthorizationError, KafkaError, MessageSizeTooLargeError

from consumers.kafka.clients import await_acknowledged, connected_producer, describe_topics, drop_producer
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.parts import in_parts
from consumers.kafka.rights import no_right
from consumers.kafka.topics import TopicsConfig
from curatord.errors import BrokerUnavailable, ConfigError


class PreparedWriter:
    """A plain idempotent producer. Raises `ConfigError` if the topics do not go together, `BrokerUnavailable`."""

    def __init__(self, config: KafkaConfig, topics: TopicsConfig) -> None:
        self._config, self._topics, self._topic = config, topics, topics.prepared
        self._producer: KafkaProducer | None = None
        self._look()

    def _look(self) -> None:
        """Learn of the topic as it is now."""
        found = describe_topics(self._config, [self._topics.documents, self._topic])
        self._max_message_bytes = found[self._topic].max_message_bytes
        self._num_partitions = found[self._topic].num_partitions
        check_counts(self._topics, found[self._topics.documents].num_partitions, self._num_partitions)

    def send(self, partition: int, message: bytes, end: int) -> int:
        """One message, with the end of what it covers; returns when it is acknowledged.

        The number of bytes. Raises `BrokerUnavailable`: then it, or some of its parts, may have arrived.
        """
        if partition >= self._num_partitions:  # some were added, of which a producer learns late
            self.close()
            self._look()
        self._producer = self._producer or connected_producer(self._config, compression_type=None)
        futures, num_bytes = [], 0
        try:
            for part, headers in in_parts(message, end, self._max_message_bytes):
                num_bytes += len(part)
                futures.append(self._producer.send(self._topic, part, partition=partition, headers=headers))
            await_acknowledged(futures, self._config)
        except KafkaError as error:
            self.close()
            if isinstance(error, AuthorizationError):
                raise no_right(self._config, error, self._topic, "Write") from error
            if isinstance(error, MessageSizeTooLargeError):
                raise ConfigError(
                    f"topic {self._topic} does not take a record of {self._max_message_bytes:,} bytes any more: its "
                    "max.message.bytes was lowered (`curatord topics create` raises it)"
                ) from error
            raise BrokerUnavailable(f"prepared documents could not be sent to {self._topic}: {error}") from error
        return num_bytes

    def close(self) -> None:
        """Let the producer go, with what it has not sent."""
        drop_producer(self._producer)
        self._producer = None


def check_counts(topics: TopicsConfig, num_documents: int, num_prepared: int) -> None:
    """Raise `ConfigError` unless there is a prepared partition for each of documents."""
    if num_prepared < num_documents:
        raise ConfigError(
            f"topic {topics.prepared} has {num_prepared} partitions, {topics.documents} has {num_documents}: each "
            "needs its own (`curatord topics create` adds what is missing)"
        )
