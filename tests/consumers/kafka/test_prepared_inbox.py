"""Rows of prepared messages in the order of the documents, and positions behind nothing that is needed still."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from consumers.attempts import Attempts
from consumers.broker import MessagePlace, PreparedRow, RawDocument
from consumers.formats.input_config import InputConfig
from consumers.formats.prepared import Covers, PreparedMessage, decode_message, encode_message
from consumers.kafka import prepared_inbox
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.parts import FRAME_BYTES, in_parts
from consumers.kafka.positions import Positions
from consumers.kafka.prepared_inbox import PreparedInbox
from consumers.kafka.topics import TopicsConfig
from curatord.errors import IdentityError, StateError
from daemon.prepared.preparer import Preparer, open_preparer
from state.store import Store
from tests.simulation.world import make_config

SOURCE = "documents-0"
PREPARED = TopicPartition("prepared", 0)
TOPICS = TopicsConfig(prepared="prepared", feedback="")


@dataclass(slots=True)
class Group:
    """A member that owns one partition, and gives out these records."""

    records: list[Any] = field(default_factory=list)
    partitions: tuple[TopicPartition, ...] = (PREPARED,)
    start: dict[TopicPartition, int] = field(default_factory=dict)
    first: int = 0

    def bounds(self, partitions: Any, timeout_s: float) -> dict[TopicPartition, tuple[int, int]]:
        return dict.fromkeys(partitions, (self.first, 100))

    def committed(self, partition: TopicPartition, timeout_s: float) -> None:
        return None

    def read_from(self, start: dict[TopicPartition, int]) -> None:
        self.start = start

    def poll(self, timeout_s: float, max_records: int) -> list[Any]:
        polled, self.records = self.records, []
        return polled

    def check_lane(self) -> None:
        pass

    def keep_alive(self) -> None:
        pass


@pytest.fixture(scope="module")
def preparer() -> Preparer:
    return open_preparer(make_config())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    yield opened
    opened.close()


def inbox_of(group: Group, store: Store, preparer: Preparer) -> PreparedInbox:
    membership: Any = group
    return PreparedInbox(KafkaConfig(), TOPICS, InputConfig(), membership, Positions(store), preparer.identity)


def records_of(preparer: Preparer, offset: int, first: int, end: int, size: int = 1 << 20) -> list[Any]:
    """A message that covers [first, end), with a row at each but the last position."""
    rows = [RawDocument(SOURCE, at, b'{"text": "text %d"}' % at) for at in range(first, end - 1)]
    message = encode_message(preparer.prepare(rows), Covers(SOURCE, first, end))
    fields: dict[str, Any] = dict.fromkeys(ConsumerRecord._fields)
    return [
        ConsumerRecord(
            **fields | {"topic": "prepared", "partition": 0, "offset": at, "value": part, "headers": headers}
        )
        for at, (part, headers) in enumerate(in_parts(message, end, size + FRAME_BYTES), offset)
    ]


def test_rows_come_once_and_positions_follow_both_topics(store: Store, preparer: Preparer) -> None:
    group = Group(records_of(preparer, 10, 5, 8) + records_of(preparer, 11, 6, 10))
    inbox = inbox_of(group, store, preparer)

    rows = inbox.poll(100, 0)

    assert [(row.source, row.position) for row in rows] == [(SOURCE, at) for at in (5, 6, 8)]
    assert inbox.passed() == {SOURCE: 10, "prepared-0": 12}
    assert (inbox.take_repeated(), inbox.take_repeated()) == (2, 0)


def test_a_message_that_is_not_complete_holds_its_place(store: Store, preparer: Preparer) -> None:
    *beginning, end = records_of(preparer, 20, 0, 40, size=1000)
    group = Group(beginning)
    inbox = inbox_of(group, store, preparer)

    assert inbox.poll(100, 0) == []
    assert inbox.passed() == {"prepared-0": 20}
    group.records = [end]
    rows = inbox.poll(100, 0)
    assert len(rows) == 39
    assert {row.value.message for row in rows if isinstance(row.value, PreparedRow)} == {MessagePlace("prepared-0", 20)}
    assert inbox.passed() == {SOURCE: 40, "prepared-0": end.offset + 1}


def test_a_topic_that_was_cut_is_read_from_what_is_left(store: Store, preparer: Preparer) -> None:
    group = Group(first=30)
    inbox_of(group, store, preparer).poll(100, 0)

    assert group.start == {PREPARED: 30}


def test_rows_of_another_configuration_are_refused_with_both_values(store: Store, preparer: Preparer) -> None:
    other = open_preparer(make_config(dedup={"near": {"shingle_words": 4}}))

    with pytest.raises(IdentityError, match=r"(?s)prepared-0@10 .*shingle_words: it was prepared with 4, now it is 5"):
        inbox_of(Group(records_of(other, 10, 0, 3)), store, preparer).poll(100, 0)


def test_a_message_that_ends_its_readers_is_refused_by_the_third_with_a_way_out(
    store: Store, preparer: Preparer, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = [b""]
    records = [record for n in range(4) for record in records_of(preparer, 10 + n, 2 * n, 2 * n + 2)]

    def life() -> PreparedInbox:
        inbox = inbox_of(Group(list(records)), store, preparer)
        inbox.attempts = Attempts(lambda mark, wait: marks.append(mark), marks[-1])
        return inbox

    def ends(how: Callable[[], object]) -> None:
        def deadly(value: bytes, identity: str, place: str, **options: Any) -> PreparedMessage:
            if place == "prepared-0@12":
                how()
            return decode_message(value, identity, place, **options)

        monkeypatch.setattr(prepared_inbox, "decode_message", deadly)

    def kill() -> None:  # of this process an exception makes no difference: the mark is left open by both
        raise SystemError

    ends(kill)
    for _ in range(2):
        with pytest.raises(SystemError):
            life().poll(100, 0)
    ends(lambda: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(StateError, match=r"prepared-0@12 ended two processes.*SIGKILL.*prepare --again"):
        life().poll(100, 0)
    monkeypatch.undo()
    third = life()  # as after an update
    assert [row.position for _ in range(4) for row in third.poll(100, 0)] == [0, 2, 4, 6]
