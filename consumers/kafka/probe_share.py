"""Requests for rewards: a scorer's share of them, and the rewards on their way back.

A request is a wish, not a document: one that retention cut is not missed, and one that is answered twice, by a worker
that died before it said so, counts once (`curation/selection/scored.py`). So the group's offsets are all there is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    OffsetOutOfRangeError,
)
from kafka.structs import OffsetAndMetadata

from consumers.kafka.clients import await_acknowledged, connected_producer, drop_producer, passes, position_of
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.membership import SETTLING_S, Listener, connected_member, joining_timeout_s
from consumers.kafka.offsets import commit_offsets, read_on_at, waiting_after
from consumers.kafka.rights import no_right
from curatord.errors import BrokerUnavailable
from curatord.records import Reward, encode_feedback


class ProbeShare:
    """A member of the scorers' group. Raises `BrokerUnavailable` if the cluster cannot be reached."""

    def __init__(self, config: KafkaConfig, topic: str) -> None:
        self._config, self._topic = config, topic
        self._given: set[TopicPartition] = set()  # not begun yet
        self._places: dict[TopicPartition, int] = {}  # where those that are worked on are read on
        self._consumer: KafkaConsumer = connected_member(config, config.scorers, CooperativeStickyAssignor())
        self._consumer.subscribe([topic], listener=Listener(self))

    def hear_assigned(self, assigned: list[TopicPartition]) -> None:
        """On the client's thread: read nothing of new partitions before their places are known."""
        for partition in assigned:
            self._consumer.seek(partition, 0)
            self._consumer.pause(partition)
            self._given.add(partition)

    def hear_lost(self, partitions: list[TopicPartition]) -> None:
        """On the client's thread: others score these now."""
        for partition in partitions:
            self._given.discard(partition)
            self._places.pop(partition, None)

    @property
    def partitions(self) -> list[TopicPartition]:
        """Those that are worked on."""
        return sorted(self._places)

    def poll(self, timeout_s: float, max_messages: int) -> list[ConsumerRecord]:
        """The next requests. Raises `BrokerUnavailable`."""
        timeout_s = joining_timeout_s(self._consumer, timeout_s)
        self._begin()
        try:
            fetched = self._consumer.poll(int(timeout_s * 1000), max_records=max_messages)
        except OffsetOutOfRangeError as error:
            self._consumer.seek_to_beginning(*error.args[0])
            return []
        except KafkaError as error:
            self.rewind()
            if not passes(error):
                raise BrokerUnavailable(f"reading topic {self._topic} failed: {error}") from error
            time.sleep(min(timeout_s, SETTLING_S))
            return []
        return [record for partition, records in fetched.items() if partition in self._places for record in records]

    def _begin(self) -> None:
        """Find out where new partitions are read on. Raises `BrokerUnavailable`."""
        given = sorted(self._given)
        if not given:
            return
        timeout_ms = int(self._config.request_timeout_s * 1000)
        try:
            first = self._consumer.beginning_offsets(given, timeout_ms=timeout_ms)
            known = {p: self._consumer.committed(p, timeout_ms=timeout_ms) for p in given}
        except KafkaError as error:
            raise BrokerUnavailable(f"the cluster does not say where to begin: {error}") from error
        for partition in given:
            if partition in self._given:  # it may be another's by now
                self._places[partition] = max(first[partition], known[partition] or 0)
                self._consumer.seek(partition, self._places[partition])
                self._consumer.resume(partition)
        self._given -= set(given)

    def commit(self) -> None:
        """All that was polled is answered. If the group moves on, its next owners answer some of it again.

        Raises `BrokerUnavailable`.
        """
        positions = {partition: position_of(self._consumer, partition) for partition in self._places}
        moved = {p: at for p, at in positions.items() if at is not None and at != self._places[p]}
        offsets = {partition: OffsetAndMetadata(at, "", -1) for partition, at in moved.items()}
        if commit_offsets(self._consumer, offsets, self._config):
            self._places |= {partition: at for partition, at in moved.items() if partition in self._places}

    def rewind(self) -> None:
        """Read on at the places once more: what was fetched since was not answered."""
        read_on_at(self._consumer, self._places)

    def lag(self) -> Mapping[str, int]:
        """Requests that wait, by partition. Raises `BrokerUnavailable`."""
        return waiting_after(self._consumer, self._places, self._config)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()


class RewardWriter:
    """A plain idempotent producer to the topic of feedback."""

    def __init__(self, config: KafkaConfig, topic: str) -> None:
        self._config, self._topic = config, topic
        self._producer: KafkaProducer | None = None

    def send(self, rewards: Sequence[Reward]) -> None:
        """Returns when all are acknowledged. Raises `BrokerUnavailable`: then some may have arrived."""
        if not rewards:
            return
        self._producer = self._producer or connected_producer(self._config)
        try:
            futures = [
                self._producer.send(
                    self._topic, encode_feedback(reward), key=(reward.doc_id or "").encode("utf-8", "surrogatepass")
                )
                for reward in rewards
            ]
            await_acknowledged(futures, self._config)
        except KafkaError as error:
            self.close()
            if isinstance(error, AuthorizationError):
                raise no_right(self._config, error, self._topic, "Write") from error
            raise BrokerUnavailable(f"rewards could not be sent to {self._topic}: {error}") from error

    def close(self) -> None:
        """Let the producer go, with what it has not sent."""
        drop_producer(self._producer)
        self._producer = None
