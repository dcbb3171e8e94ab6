"""Writing the journal: the facts of an epoch as records, and its large values as artifacts before them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from kafka import KafkaProducer

from consumers.kafka.artifacts import ARTIFACT_FAMILIES, upload
from consumers.kafka.clients import connected_producer
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.topics import TopicsConfig
from consumers.kafka.transactions import Outgoing
from curatord.errors import BrokerUnavailable
from state.epoch import Change, Epoch
from state.journal import Artifact, JournalledChange, encode_changes


class JournalWriter:
    """Makes the records of an epoch; the transaction that sends them is not its own. Raises `BrokerUnavailable`."""

    def __init__(self, config: KafkaConfig, topics: TopicsConfig) -> None:
        self._config, self._topics = config, topics
        self._producer: KafkaProducer | None = None  # of artifacts

    def records(self, epoch: Epoch) -> list[Outgoing]:
        """The facts of the epoch, in parts. Large values are uploaded first."""
        parts = encode_changes(self._without_artifacts(epoch.journal_changes()))
        headers = [
            ("epoch", str(epoch.number).encode()),
            ("parts", str(len(parts)).encode()),
            ("identity", epoch.identity.encode()),
            ("positions", msgspec.json.encode(epoch.positions)),
        ]
        return [
            Outgoing(self._topics.journal, 0, part, headers=[*headers, ("part", str(number).encode())])
            for number, part in enumerate(parts)
        ]

    def _without_artifacts(self, changes: Iterator[Change]) -> Iterator[JournalledChange]:
        for family, key, value in changes:
            if value is not None and family in ARTIFACT_FAMILIES:
                yield family, key, self._upload(value)
            else:
                yield family, key, value

    def _upload(self, value: bytes) -> Artifact:
        """Store a large value; after a failure with a new producer."""
        self._producer = self._producer or connected_producer(self._config)
        try:
            return upload(value, self._producer, self._topics.artifacts)
        except BrokerUnavailable:
            self._producer.close(timeout=1)
            self._producer = None
            raise

    def close(self) -> None:
        """Let the connection go."""
        if self._producer is not None:
            self._producer.close(timeout=2)
