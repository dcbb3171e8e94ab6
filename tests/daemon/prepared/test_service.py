"""A worker sends what it polled, moves on when that is acknowledged, and gets past documents that end it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from consumers.formats.prepared import Covers, PreparedMessage, decode_message
from consumers.kafka.share import Mark, Portion
from curatord.errors import BrokerUnavailable, ConfigError
from daemon.config import Config
from daemon.prepared.preparer import Preparer, open_preparer
from daemon.prepared.service import Worker, run_worker
from ops.events import Events
from ops.health import Health
from ops.log import LogConfig, open_log
from ops.metrics import Metrics
from ops.systemd import ServiceManager
from tests.simulation.world import make_config

UNMARKED = Mark()
PARTITION = TopicPartition("documents", 0)


def record(offset: int, value: bytes = b'{"text": "some text"}') -> Any:
    fields: dict[str, Any] = dict.fromkeys(ConsumerRecord._fields)
    named = {"topic": PARTITION.topic, "partition": 0, "offset": offset, "timestamp": 5, "headers": [], "value": value}
    return ConsumerRecord(**fields | named)


@dataclass(slots=True)
class Group:
    """A share of one partition, in memory."""

    portions: list[Portion]
    takes: bool = True  # whether it lets this worker move on
    committed: list[int] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    def poll(self, timeout_s: float, max_messages: int) -> list[Portion]:
        return self.portions

    def commit(self, positions: Mapping[TopicPartition, int]) -> bool:
        self.committed += positions.values() if self.takes else ()
        return self.takes

    def note(self, marks: Mapping[TopicPartition, Mark]) -> None:
        self.marks += marks.values()


@dataclass(slots=True)
class Topic:
    """Messages that were sent, or a topic that takes none."""

    is_away: bool = False
    values: list[bytes] = field(default_factory=list)

    def send(self, partition: int, message: bytes, end: int) -> int:
        if self.is_away:
            raise BrokerUnavailable("away")
        self.values.append(message)
        return len(message)


@pytest.fixture(scope="module")
def preparer() -> Preparer:
    return open_preparer(make_config())


@pytest.fixture
def events() -> Events:
    return Events(Metrics(), open_log(LogConfig()), Health(), ServiceManager())


def portion(first: int, end: int, records: Sequence[Any], left: Mark = UNMARKED) -> Portion:
    return Portion(partition=PARTITION, first=first, next=end, messages=records, left=left)


def worker_of(group: Any, topic: Any, preparer: Preparer, events: Events) -> Worker:
    return Worker(group, topic, preparer, make_config(), events)


def sent(topic: Topic, preparer: Preparer) -> list[PreparedMessage]:
    return [decode_message(value, preparer.identity, "a message") for value in topic.values]


def test_a_stretch_is_sent_with_what_it_covers_and_then_committed(preparer: Preparer, events: Events) -> None:
    group, topic = Group([portion(3, 9, [record(4), record(5, b"{"), record(7)])]), Topic()

    worker_of(group, topic, preparer, events).step()

    (message,) = sent(topic, preparer)
    assert message.covers == Covers("documents-0", 3, 9)
    assert [row.position for row in message.rows] == [4, 5, 7]
    assert group.committed == [9]


def test_positions_without_a_message_are_told_too(preparer: Preparer, events: Events) -> None:
    group, topic = Group([portion(3, 5, [])]), Topic()

    worker_of(group, topic, preparer, events).step()

    assert [(message.covers, message.rows) for message in sent(topic, preparer)] == [(Covers("documents-0", 3, 5), [])]


def test_nothing_is_committed_that_is_not_acknowledged(preparer: Preparer, events: Events) -> None:
    group = Group([portion(0, 1, [record(0)])])

    with pytest.raises(BrokerUnavailable):
        worker_of(group, Topic(is_away=True), preparer, events).step()

    assert group.committed == []


def test_a_worker_that_the_group_does_not_let_move_on_stops_there(preparer: Preparer, events: Events) -> None:
    ahead = portion(0, 2, [record(0), record(1)], Mark(lives=2))
    group, topic = Group([ahead], takes=False), Topic()

    worker_of(group, topic, preparer, events).step()

    assert [message.covers for message in sent(topic, preparer)] == [Covers("documents-0", 0, 1)]


def test_where_two_lives_ended_messages_go_one_by_one_each_with_a_mark(preparer: Preparer, events: Events) -> None:
    group, topic = Group([portion(0, 4, [record(0), record(2)], Mark(lives=2))]), Topic()

    worker_of(group, topic, preparer, events).step()

    assert [message.covers for message in sent(topic, preparer)] == [
        Covers("documents-0", first, end) for first, end in ((0, 1), (1, 3), (3, 4))
    ]
    assert group.marks == [Mark(3, 1), Mark(1, 1), Mark(1, 1)]
    assert group.committed == [1, 3, 4]


def test_a_message_that_ended_two_lives_alone_is_a_dead_letter_without_a_trial(
    preparer: Preparer, events: Events
) -> None:
    group, topic = Group([portion(0, 2, [record(0), record(1)], Mark(lives=4, alone=2))]), Topic()

    worker_of(group, topic, preparer, events).step()

    batches = [message.rows[0].value for message in sent(topic, preparer)]
    reasons: list[Any] = [batch.batch.column("reason")[0].as_py() for batch in batches]  # type: ignore[union-attr]
    assert reasons == ["took_process_down", None]


def test_without_a_topic_to_send_to_the_message_says_what_to_do(tmp_path: Any) -> None:
    assert Config().topics.prepared == ""
    with pytest.raises(ConfigError, match=r"topics\.prepared is empty.*`curatord topics create`"):
        run_worker(None)
