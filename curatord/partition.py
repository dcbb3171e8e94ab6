"""A partition of the topic of sequences: its records by their headers, and the sequences that it lacks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaTimeoutError

END_HEADER = "end"  # which only the end of a stream has

POLL_MS = 50
MAX_RECORDS = 64


@dataclass(frozen=True, slots=True)
class HeadedRecord:
    """A sequence, or the end of a stream, not decoded yet."""

    offset: int
    generation: int
    seq_no: int
    quantum: int
    is_end: bool
    value: bytes

    @property
    def place(self) -> tuple[int, int]:
        """Grows along a partition."""
        return self.generation, self.seq_no


def headed_record(message: Any) -> HeadedRecord:
    """The record in a message. Raises ValueError if its headers are not those of a sequence."""
    headers = dict(message.headers)
    try:
        generation, seq_no, quantum = (int(headers[name]) for name in ("gen", "seq_no", "q"))
    except (KeyError, TypeError, ValueError):
        place = f"{message.topic}-{message.partition} at offset {message.offset}"
        raise ValueError(f"{place}: the record lacks the headers of a sequence") from None
    return HeadedRecord(message.offset, generation, seq_no, quantum, END_HEADER in headers, message.value)


def committed_messages(
    consumer: KafkaConsumer, partition: TopicPartition, start: int, end: int, deadline: float
) -> Iterator[Any]:
    """The messages at the offsets `start` to `end`; of a consumer that reads what is committed, those that are.

    The consumer is this partition's while it is read. Raises `KafkaError`, `KafkaTimeoutError` at the `deadline` of
    `time.monotonic`.
    """
    if start >= end:
        return
    consumer.assign([partition])
    consumer.seek(partition, start)
    while consumer.position(partition) < end:
        for message in consumer.poll(POLL_MS, max_records=MAX_RECORDS).get(partition, ()):
            if message.offset >= end:
                return
            yield message
        if time.monotonic() > deadline:
            raise KafkaTimeoutError(f"{partition.topic}-{partition.partition} was not read in time")


def whole_from(seq_no: int, partition: int, num_partitions: int) -> int:
    """The number after the last that a partition lacks, if the first record that it holds, or will, has `seq_no`.

    That may be a sequence of this partition, or the end of a stream, which is on all.

    >>> whole_from(9, 1, 4), whole_from(8, 1, 4), whole_from(1, 1, 4)
    (6, 6, 0)
    """
    return max(0, seq_no - (seq_no - 1 - partition) % num_partitions)
