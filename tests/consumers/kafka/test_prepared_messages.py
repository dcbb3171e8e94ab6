"""Messages are read again at their places, in any order; one that is not there is refused."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import OffsetOutOfRangeError
from kafka.structs import OffsetAndTimestamp

from consumers.kafka import prepared_messages
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.parts import FRAME_BYTES, in_parts
from consumers.kafka.prepared_messages import PreparedMessages
from curatord.errors import StateError

PARTITION = TopicPartition("prepared", 0)


@dataclass(slots=True)
class Log:
    """A client of one partition."""

    records: list[Any] = field(default_factory=list)
    first: int = 0
    young: int = 0  # the first offset that is young
    at: int = 0

    def send(self, *messages: bytes) -> list[int]:
        """The first offset of each; their parts lie between each other's."""
        queues = [[*in_parts(message, 1, FRAME_BYTES + 100)] for message in messages]
        firsts = {}
        while any(queues):
            number = random.Random(len(self.records)).choice([n for n, queue in enumerate(queues) if queue])
            value, headers = queues[number].pop(0)
            firsts.setdefault(number, len(self.records))
            fields: dict[str, Any] = dict.fromkeys(ConsumerRecord._fields)
            known = {"topic": "prepared", "partition": 0, "offset": len(self.records), "value": value}
            self.records.append(ConsumerRecord(**fields | known | {"headers": headers}))
        return [firsts[number] for number in range(len(messages))]

    def assign(self, partitions: list[TopicPartition]) -> None:
        assert partitions == [PARTITION]

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.at = offset

    def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        if not self.first <= self.at <= len(self.records):
            raise OffsetOutOfRangeError("cut")
        found = self.records[self.at : self.at + max_records]
        self.at += len(found)
        return {PARTITION: found}

    def beginning_offsets(self, partitions: list[TopicPartition], timeout_ms: int) -> dict[TopicPartition, int]:
        return {PARTITION: self.first}

    def end_offsets(self, partitions: list[TopicPartition], timeout_ms: int) -> dict[TopicPartition, int]:
        return {PARTITION: len(self.records)}

    def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        is_any_young = self.young < len(self.records)
        return {PARTITION: OffsetAndTimestamp(self.young, 0, -1) if is_any_young else None}


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    opened = Log()
    monkeypatch.setattr(prepared_messages, "connected_consumer", lambda *_, **__: opened)
    return opened


def test_messages_are_read_in_any_order_also_in_parts_that_lie_between_others(log: Log) -> None:
    values = [random.Random(size).randbytes(size) for size in (30, 950, 20, 1400, 100)]
    places = log.send(*values[:3]) + log.send(*values[3:])
    messages = PreparedMessages(KafkaConfig())
    for number in (3, 0, 1, 1, 4, 2):
        assert messages.read("prepared-0", places[number]) == values[number]


def test_what_is_gone_or_no_beginning_is_refused(log: Log) -> None:
    log.send(bytes(250), b"next")
    messages = PreparedMessages(KafkaConfig())
    is_part = [number for number, record in enumerate(log.records) if dict(record.headers)["part"] == b"1"]
    with pytest.raises(StateError, match="places-gone"):
        messages.read("prepared-0", is_part[0])
    log.first = len(log.records)
    with pytest.raises(StateError, match="places-gone"):
        messages.read("prepared-0", 0)


@pytest.mark.parametrize(
    ("limits", "first", "safe"),
    [
        ((-1, -1), 0, 0),
        ((-1, 100), 0, 0),
        ((-1, 100), 4, 7),
        ((1000, -1), 4, 6),
        ((1000, 100), 4, 7),
        ((1000, -1), 8, 8),
    ],
)
def test_safe_is_what_retention_by_age_or_size_has_half_its_way_to(
    log: Log, monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], first: int, safe: int
) -> None:
    log.send(*([b"x"] * 10))
    log.first, log.young = first, 6
    monkeypatch.setattr(PreparedMessages, "_limits", lambda self, topic: limits)
    assert PreparedMessages(KafkaConfig()).retained(["prepared-0"]) == {"prepared-0": (first, safe)}
    log.young = 10
    assert PreparedMessages(KafkaConfig()).retained(["prepared-0"])["prepared-0"][1] == (10 if limits[0] > 0 else safe)
