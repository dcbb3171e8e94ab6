"""Artifacts that do not come: only what is not there is a matter of the state, everything else of the cluster."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import xxhash
from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError, OffsetOutOfRangeError, RequestTimedOutError, TopicAuthorizationFailedError

from consumers.kafka import artifacts
from consumers.kafka.artifacts import ArtifactReader
from consumers.kafka.connection import KafkaConfig
from curatord.errors import BrokerUnavailable, StateError
from state.journal import Artifact

PLACE = TopicPartition("artifacts", 0)
ARTIFACT = Artifact((3,), xxhash.xxh3_128_digest(b"table"))


@dataclass
class Cluster:
    """A consumer of a partition that ends at `end`, and fails with `error` if there is one, or gives nothing."""

    end: int = 4
    error: KafkaError | None = None
    end_error: KafkaError | None = None

    def assign(self, partitions: list[TopicPartition]) -> None:
        assert partitions == [PLACE]

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.at = offset

    def position(self, partition: TopicPartition) -> int:
        return self.at

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[ConsumerRecord]]:
        if self.error is not None:
            raise self.error
        return {}

    def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        if self.end_error is not None:
            raise self.end_error
        return dict.fromkeys(partitions, self.end)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "cluster",
    [
        Cluster(),
        Cluster(end_error=RequestTimedOutError()),
        Cluster(error=RequestTimedOutError()),
        Cluster(error=TopicAuthorizationFailedError()),
    ],
    ids=["is slow", "says nothing", "times out", "forbids it"],
)
def test_what_a_cluster_does_not_give_may_be_asked_for_again(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    monkeypatch.setattr(artifacts, "connected_consumer", lambda *_, **__: cluster)
    with pytest.raises(BrokerUnavailable, match="artifacts"):
        ArtifactReader(KafkaConfig(), "artifacts").fetch(ARTIFACT)


@pytest.mark.parametrize(
    "cluster", [Cluster(end=3), Cluster(error=OffsetOutOfRangeError({PLACE: 3}))], ids=["lost its end", "was cut"]
)
def test_what_is_not_there_is_told_of_the_state(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    monkeypatch.setattr(artifacts, "connected_consumer", lambda *_, **__: cluster)
    with pytest.raises(StateError, match="does not hold a part of the state"):
        ArtifactReader(KafkaConfig(), "artifacts").fetch(ARTIFACT)
