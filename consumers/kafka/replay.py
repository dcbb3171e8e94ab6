"""Dead letters on their topic: read, found again, and sent back to where they came from.

A replayed message goes to the partition of the original; its headers say how often it was replayed, and when the
original was made. That time is not the message's own: retention would cut an old one before it is read. What was read
meanwhile is recognised by its id, so a letter that is replayed twice does no harm.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from consumers.formats.dead_letters import (
    ATTEMPTS_HEADER,
    TIMESTAMP_HEADER,
    TRACE_HEADER,
    StoredLetter,
    coordinates,
    read_dead_letter,
)
from consumers.formats.messages import part_of
from consumers.kafka.clients import connected_consumer, connected_producer, unreachable
from consumers.kafka.connection import KafkaConfig
from curatord.errors import BrokerUnavailable, ConfigError, UsageError

MAX_ATTEMPTS = 2
POLL_MS = 200
SILENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a letter is not sent back."""

    stored: StoredLetter
    why: str


@dataclass(frozen=True, slots=True)
class Original:
    """A message that once could not be read, to be sent again."""

    stored: StoredLetter
    partition: int
    key: bytes | None
    value: bytes | None

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """How often it was sent, when it was made, and whose trace it belongs to."""
        letter = self.stored.letter
        headers = [(ATTEMPTS_HEADER, b"%d" % (letter.attempts + 1)), (TIMESTAMP_HEADER, b"%d" % letter.timestamp_us)]
        return [*headers, (TRACE_HEADER, letter.traceparent.encode())] if letter.traceparent else headers


def read_letters(kafka: KafkaConfig, topic: str, *, since_us: int = 0) -> Iterator[StoredLetter]:
    """All letters that are there now and were written since; what is none of ours is passed over.

    Raises `BrokerUnavailable`, `ConfigError` if there is no such topic.
    """
    consumer = _opened(kafka, topic)
    try:
        partitions = list(consumer.assignment())
        firsts, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        later = consumer.offsets_for_times(dict.fromkeys(partitions, since_us // 1000)) if since_us else {}
        for partition in partitions:
            found = later.get(partition)
            start = found.offset if found is not None else ends[partition] if since_us else firsts[partition]
            consumer.seek(partition, start)
        heard_at = time.monotonic()
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            for partition, records in consumer.poll(POLL_MS).items():
                heard_at = time.monotonic()
                for record in records:
                    stored = _stored(record)
                    if stored is not None and record.offset < ends[partition]:
                        yield stored
            if time.monotonic() - heard_at > SILENCE_S:
                raise BrokerUnavailable(f"topic {topic} could not be read to its end: no answer for {SILENCE_S:g} s")
    except KafkaError as error:
        raise unreachable(kafka, error) from error
    finally:
        consumer.close()


def find_letter(kafka: KafkaConfig, topic: str, place: str) -> StoredLetter:
    """The letter at partition:offset. Raises `UsageError` if there is none, and as `read_letters`."""
    partition, _, offset = place.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise UsageError(
            f"{place!r} is no place of a dead letter: give PARTITION:OFFSET, as `dead-letters list` prints it"
        )
    consumer = _opened(kafka, topic)
    try:
        record = _fetch(consumer, TopicPartition(topic, int(partition)), int(offset))
        stored = None if record is None else _stored(record)
    except KafkaError as error:
        raise unreachable(kafka, error) from error
    finally:
        consumer.close()
    if stored is None:
        raise UsageError(f"there is no dead letter at {place} of topic {topic}")
    return stored


def originals(kafka: KafkaConfig, topic: str, letters: Iterable[StoredLetter]) -> Iterator[Original | Refusal]:
    """The message to send for each letter; of those that were cut, the original is fetched from `topic`.

    Raises `BrokerUnavailable`, `ConfigError` if there is no such topic.
    """
    consumer = _opened(kafka, topic)
    latest: Any = None  # letters of one message come together
    try:
        for stored in letters:
            letter = stored.letter
            origin, partition = coordinates(letter.source)
            if origin != topic:
                yield Refusal(stored, f"it came from {origin}, and only documents are replayed")
            elif letter.attempts >= MAX_ATTEMPTS:
                yield Refusal(stored, f"it was replayed {letter.attempts} times already: repair it and send it anew")
            elif not letter.truncated:
                yield Original(stored, partition, letter.key.encode() or None, letter.original)
            else:
                if latest is None or (latest.partition, latest.offset) != (partition, letter.position):
                    latest = _fetch(consumer, TopicPartition(topic, partition), letter.position)
                yield _from_source(stored, latest)
    except KafkaError as error:
        raise unreachable(kafka, error) from error
    finally:
        consumer.close()


def send(kafka: KafkaConfig, topic: str, messages: Sequence[Original]) -> None:
    """Send them, each to the partition that it came from. Raises `BrokerUnavailable` unless all were acknowledged."""
    producer = connected_producer(kafka)
    try:
        futures = [
            producer.send(
                topic,
                message.value,
                key=message.key,
                partition=message.partition,
                headers=message.headers,
            )
            for message in messages
        ]
        producer.flush(timeout=kafka.commit_timeout_s)
        failed = [future for future in futures if not future.succeeded()]
        if failed:
            raise BrokerUnavailable(
                f"{len(failed)} of {len(futures)} messages were not acknowledged ({failed[0].exception}). "
                "Replay again: what arrived is recognised"
            )
    except KafkaError as error:
        raise unreachable(kafka, error) from error
    finally:
        producer.close(timeout=5)


def _from_source(stored: StoredLetter, message: Any) -> Original | Refusal:
    letter = stored.letter
    if message is None:
        return Refusal(stored, f"only its beginning was kept, and {letter.source} no longer holds {letter.position}")
    if letter.index is None or message.value is None:
        return Original(stored, message.partition, message.key, message.value)
    # By itself it would be named by the key, which is not its own.
    return Original(stored, message.partition, None, part_of(message.value, letter.index))


def _stored(record: Any) -> StoredLetter | None:
    letter = read_dead_letter(record.key, record.value, record.headers)
    if letter is None:
        return None
    return StoredLetter(f"{record.partition}:{record.offset}", max(record.timestamp, 0) * 1000, letter)


def _opened(kafka: KafkaConfig, topic: str) -> KafkaConsumer:
    """A consumer of all partitions of a topic."""
    consumer = connected_consumer(kafka, group_id=None, isolation_level="read_committed", max_poll_records=500)
    try:
        partitions = consumer.partitions_for_topic(topic)
    except KafkaError as error:
        consumer.close()
        raise unreachable(kafka, error) from error
    if not partitions:
        consumer.close()
        raise ConfigError(f"there is no topic {topic} at {kafka.bootstrap_servers}: `curatord topics check` tells more")
    consumer.assign([TopicPartition(topic, partition) for partition in sorted(partitions)])
    return consumer


def _fetch(consumer: KafkaConsumer, partition: TopicPartition, offset: int) -> Any:
    """The message at an offset; None if the topic does not hold it any more."""
    if partition.partition not in (consumer.partitions_for_topic(partition.topic) or ()):
        return None
    consumer.assign([partition])
    consumer.seek(partition, offset)
    end = consumer.end_offsets([partition])[partition]
    heard_at = time.monotonic()
    try:
        while consumer.position(partition) < end:
            for record in consumer.poll(POLL_MS).get(partition, ()):
                return record if record.offset == offset else None
            if time.monotonic() - heard_at > SILENCE_S:
                raise BrokerUnavailable(f"topic {partition.topic} could not be read: no answer for {SILENCE_S:g} s")
    except OffsetOutOfRangeError:
        pass
    return None
