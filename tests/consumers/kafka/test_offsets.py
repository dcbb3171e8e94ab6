"""Offsets of a share, against a client that does what a cluster may."""

from __future__ import annotations

import pytest
from kafka import TopicPartition
from kafka.errors import CommitFailedError, KafkaError, KafkaTimeoutError, RebalanceInProgressError
from kafka.structs import OffsetAndMetadata

from consumers.kafka.connection import KafkaConfig
from consumers.kafka.offsets import commit_offsets, read_on_at, waiting_after
from curatord.errors import BrokerUnavailable

CONFIG = KafkaConfig(bootstrap_servers="nowhere:1")
FIRST, SECOND = TopicPartition("a", 0), TopicPartition("a", 1)
OFFSETS = {FIRST: OffsetAndMetadata(3, "", -1)}


class Client:
    """Raises the error at every call, if it has one."""

    def __init__(self, error: KafkaError | None = None, gone: TopicPartition | None = None) -> None:
        self.error, self.gone = error, gone
        self.calls: list[object] = []

    def seek(self, partition: TopicPartition, at: int) -> None:
        assert partition != self.gone, "it is not assigned"
        self.calls.append((partition, at))

    def commit(self, offsets: object, timeout_ms: int) -> None:
        self.calls.append(offsets)
        if self.error is not None:
            raise self.error

    def end_offsets(self, partitions: list[TopicPartition], timeout_ms: int) -> dict[TopicPartition, int]:
        if self.error is not None:
            raise self.error
        return dict.fromkeys(partitions, 10)


def test_a_partition_that_is_taken_away_is_passed_over() -> None:
    client = Client(gone=FIRST)
    read_on_at(client, {FIRST: 1, SECOND: 2})
    assert client.calls == [(SECOND, 2)]


@pytest.mark.parametrize("error", [CommitFailedError(), RebalanceInProgressError()])
def test_a_group_that_moves_on_does_not_take_offsets(error: KafkaError) -> None:
    assert commit_offsets(Client(), OFFSETS, CONFIG)
    assert not commit_offsets(Client(error), OFFSETS, CONFIG)


def test_no_offsets_need_no_cluster() -> None:
    client = Client(CommitFailedError())
    assert commit_offsets(client, {}, CONFIG)
    assert client.calls == []
    assert waiting_after(Client(KafkaTimeoutError()), {}, CONFIG) == {}


def test_what_waits_is_counted_from_the_offsets_on() -> None:
    assert waiting_after(Client(), {FIRST: 4, SECOND: 12}, CONFIG) == {"a-0": 6, "a-1": 0}


def test_a_cluster_that_does_not_answer_is_told() -> None:
    client = Client(KafkaTimeoutError("late"))
    with pytest.raises(BrokerUnavailable, match="late"):
        commit_offsets(client, OFFSETS, CONFIG)
    with pytest.raises(BrokerUnavailable, match="late"):
        waiting_after(client, {FIRST: 4}, CONFIG)
