"""Feedback is read whenever its topic comes to be, and however many partitions it gets."""

from __future__ import annotations

from pathlib import Path

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import KafkaTimeoutError

from consumers.kafka import feedback_reader
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.feedback_reader import FeedbackReader
from consumers.kafka.positions import Positions
from state.store import Store
from tests.integration.broker import Broker
from tests.integration.world import create_topics, produce_documents, wait_until


def test_topic_and_partitions_that_are_made_later_are_read_from_their_beginning(
    broker: Broker, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback_reader, "LOOK_S", 0.5)
    store = Store(tmp_path)
    store.apply([("inputs", f"{prefix}-1".encode(), b"2")])
    reader = FeedbackReader(KafkaConfig(bootstrap_servers=broker.bootstrap), prefix, Positions(store))
    heard: list[tuple[str, int]] = []

    def hear(count: int) -> None:
        wait_until(
            lambda: heard.extend((r.source[-1], r.position) for r in reader.poll(10)) or len(heard) >= count, "feedback"
        )

    assert reader.poll(10) == []
    create_topics(broker.bootstrap, {prefix: 2})
    for partition in range(2):
        produce_documents(broker.bootstrap, prefix, [b"x"] * 3, partition=partition)
    hear(4)
    assert sorted(heard) == [("0", 0), ("0", 1), ("0", 2), ("1", 2)]
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap) as admin:
        admin.create_partitions({prefix: 3})
    produce_documents(broker.bootstrap, prefix, [b"x"] * 2, partition=2)
    produce_documents(broker.bootstrap, prefix, [b"x"], partition=0)
    hear(7)

    assert sorted(heard[4:]) == [("0", 3), ("2", 0), ("2", 1)]
    reader.close()
    store.close()


def test_partitions_whose_beginning_the_cluster_does_not_say_are_asked_for_again(
    broker: Broker, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback_reader, "LOOK_S", 0.2)
    create_topics(broker.bootstrap, {prefix: 2})
    for partition in range(2):
        produce_documents(broker.bootstrap, prefix, [b"x"], partition=partition)
    store = Store(tmp_path)
    reader = FeedbackReader(KafkaConfig(bootstrap_servers=broker.bootstrap), prefix, Positions(store))
    beginning_offsets, asked = reader._consumer.beginning_offsets, []

    def late_once(partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        asked.append(partitions)
        if len(asked) == 1:
            raise KafkaTimeoutError("late")
        return dict(beginning_offsets(partitions))

    reader._consumer.beginning_offsets = late_once
    heard: list[str] = []
    wait_until(lambda: heard.extend(r.source[-1] for r in reader.poll(10)) or len(heard) >= 2, "feedback")

    assert sorted(heard) == ["0", "1"]
    reader.close()
    store.close()
