"""Parts: a prepared message in as many records of its topic as its size asks for.

A record names the message by an id that no other sending of it has, so the parts of two workers that send the same
documents never mix. A message whose worker died in the middle of it stays incomplete; its documents come again.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from state.journal import PART_BYTES

FRAME_BYTES = 2048  # of headers and of a batch around a part


def in_parts(value: bytes, end: int, max_message_bytes: int) -> Iterator[tuple[bytes, list[tuple[str, bytes]]]]:
    """The values and headers of the records that carry a message, which covers its input up to `end`."""
    size = min(PART_BYTES, max_message_bytes - FRAME_BYTES)
    bounds = range(0, max(1, len(value)), size)
    name = uuid.uuid4().bytes
    for number, start in enumerate(bounds):
        headers = [
            ("id", name),
            ("part", b"%d" % number),
            ("parts", b"%d" % len(bounds)),
            ("end", b"%d" % end),
        ]
        yield value[start : start + size], headers


class Parts:
    """Messages of one partition that are not complete yet."""

    def __init__(self) -> None:
        self._open: dict[bytes, tuple[int, int, list[bytes]]] = {}  # by id: offset, end of what it covers, parts

    def add(self, record: Any) -> tuple[bytes | None, int]:
        """A record, as kafka-python gives it: the message that it completes, and the offset where that begins."""
        headers = dict(record.headers)
        number, count = int(headers.get("part") or 0), int(headers.get("parts") or 1)
        if count == 1:
            return bytes(record.value or b""), record.offset
        name, end = bytes(headers.get("id") or b""), int(headers.get("end") or 0)
        if number == 0:
            self._open[name] = record.offset, end, []
        first, _, parts = self._open.get(name, (0, 0, []))
        if len(parts) != number or name not in self._open:  # the beginning was sent before what is read here
            self._open.pop(name, None)
            return None, 0
        parts.append(bytes(record.value or b""))
        if len(parts) < count:
            return None, first
        del self._open[name]
        return b"".join(parts), first

    def forget(self, before: int) -> None:
        """Drop messages that cover nothing from this position of the input on: others did."""
        self._open = {name: message for name, message in self._open.items() if message[1] > before}

    def start(self) -> int | None:
        """The offset of the oldest record that is still needed; None if none is."""
        return min((offset for offset, _, _ in self._open.values()), default=None)


def newest(consumer: KafkaConsumer, partition: TopicPartition, timeout_s: float) -> tuple[bytes | None, int]:
    """The beginning of the last message of a partition, which holds its schema, and where the partition ends.

    Raises `KafkaError`.
    """
    timeout_ms = int(1000 * timeout_s)
    first = consumer.beginning_offsets([partition], timeout_ms=timeout_ms)[partition]
    end = consumer.end_offsets([partition], timeout_ms=timeout_ms)[partition]
    consumer.assign([partition])
    deadline = time.monotonic() + timeout_s
    at = end - 1
    while at >= first and time.monotonic() < deadline:
        consumer.seek(partition, at)
        for record in consumer.poll(timeout_ms, max_records=1).get(partition, []):
            number = int(dict(record.headers).get("part") or 0)
            if number == 0:
                return bytes(record.value or b""), end
            at = record.offset - number
    return None, end
