"""Artifacts: large values of the state, kept once in a topic of their own, so that the journal stays small.

Uploaded before the epoch that names them, outside its transaction: what no epoch names is never read.
"""

from __future__ import annotations

import xxhash
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from consumers.kafka.clients import connected_consumer
from consumers.kafka.connection import KafkaConfig
from curatord.errors import BrokerUnavailable, CuratordError, JournalUnusable
from state.journal import PART_BYTES, Artifact

# The student's table; the parts of it are as large as its own store made them.
ARTIFACT_FAMILIES = frozenset({"embedding"})
READ_TIMEOUT_S = 60
UPLOAD_TIMEOUT_S = 120


def upload(value: bytes, producer: KafkaProducer, topic: str) -> Artifact:
    """Store a value. Raises `BrokerUnavailable` if that cannot be made sure."""
    chunks = [value[start : start + PART_BYTES] for start in range(0, max(1, len(value)), PART_BYTES)]
    digest = xxhash.xxh3_128_digest(value)
    futures = [producer.send(topic, chunk, key=digest, partition=0) for chunk in chunks]
    try:
        return Artifact(tuple(future.get(timeout=UPLOAD_TIMEOUT_S).offset for future in futures), digest)
    except KafkaError as error:
        raise BrokerUnavailable(f"the state's table could not be written to topic {topic}: {error}") from error


class ArtifactReader:
    """Reads artifacts by their offsets."""

    def __init__(self, config: KafkaConfig, topic: str) -> None:
        self._config = config
        self._partition = TopicPartition(topic, 0)

    def fetch(self, artifact: Artifact) -> bytes:
        """The value. Raises `JournalUnusable` if it is not there any more, `BrokerUnavailable` if it does not come."""
        consumer = connected_consumer(self._config, group_id=None, isolation_level="read_committed")
        chunks: list[bytes] = []
        try:
            consumer.assign([self._partition])
            consumer.seek(self._partition, artifact.offsets[0])
            while len(chunks) < len(artifact.offsets):
                fetched = consumer.poll(READ_TIMEOUT_S * 1000).get(self._partition, [])
                if not fetched:
                    raise self._silent(consumer, artifact.offsets[len(chunks)])
                # Another process may have written between the chunks.
                wanted = set(artifact.offsets[len(chunks) :])
                chunks += [record.value for record in fetched if record.offset in wanted]
        except OffsetOutOfRangeError as error:
            raise self._missing(str(error)) from error
        except KafkaError as error:
            raise BrokerUnavailable(f"topic {self._partition.topic} cannot be read: {error}") from error
        finally:
            consumer.close()
        value = b"".join(chunks)
        if xxhash.xxh3_128_digest(value) != artifact.digest:
            raise self._missing("its digest is another")
        return value

    def _silent(self, consumer: KafkaConsumer, offset: int) -> CuratordError:
        """Why nothing came: the record is not there, or the cluster is slow. Raises `KafkaError`."""
        if consumer.position(self._partition) <= offset < consumer.end_offsets([self._partition])[self._partition]:
            return BrokerUnavailable(
                f"topic {self._partition.topic} gave nothing from offset {offset} for {READ_TIMEOUT_S} s, and holds it"
            )
        return self._missing(f"nothing is at offset {offset}")

    def _missing(self, why: str) -> JournalUnusable:
        return JournalUnusable(
            f"topic {self._partition.topic} does not hold a part of the state that the journal names: {why}. "
            "It must be kept for ever (retention.ms = -1)"
        )
