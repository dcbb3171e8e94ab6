"""Membership: one consumer in the lane's group. Its rules come from kafka-python 3.0.12.

- Callbacks run on the client's thread: they note what happened and place the consumer, nothing else.
- The group's metadata are a snapshot of the latest `poll`. The live ones become generation -1 after an eviction, and a
  broker checks no membership for those: a process that lost the lane could commit.
- A rebalance goes on only within `poll`: polling with a zero timeout restarts the join for ever.
- A rebalance that new metadata ask for is forgotten when its answer comes between two polls: it is asked for again.
- Partitions that are taken away end the process; their records may be in an open epoch already.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.errors import (
    CorruptRecordError,
    KafkaError,
    KafkaTimeoutError,
    LogTruncationError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    UnsupportedCodecError,
)
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from consumers.broker import Ownership
from consumers.kafka.assignor import AllToOne
from consumers.kafka.clients import connected_consumer, passes, position_of
from consumers.kafka.connection import KafkaConfig
from curatord.errors import BrokerUnavailable, LaneLost, StateError

MAX_POLL_INTERVAL_MS = 300_000
METADATA_AGE_MS = 30_000  # new partitions are found after at most this long
SETTLING_S = 0.1
JOINING_S = 0.5
NOTE_TIMEOUT_MS = 2000


class Member(Protocol):
    """A member of a group, which hears on the client's thread, within a poll, what the group decides."""

    def hear_assigned(self, assigned: list[TopicPartition]) -> None:
        """These partitions are its own from now on."""

    def hear_lost(self, partitions: list[TopicPartition]) -> None:
        """These went to another member."""


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """Tells a member what the group decides."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        self._member.hear_assigned(assigned)

    def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        self._member.hear_lost(revoked)

    def on_partitions_lost(self, lost: list[TopicPartition]) -> None:
        self._member.hear_lost(lost)


def connected_member(config: KafkaConfig, group: str, assignor: Any) -> KafkaConsumer:
    """A client that may join a group, which divides partitions by this assignor. Raises `BrokerUnavailable`."""
    return connected_consumer(
        config,
        group_id=group,
        # Only this makes the fetch of committed offsets wait for those of an open transaction (KIP-447).
        isolation_level="read_committed",
        partition_assignment_strategy=[assignor],
        session_timeout_ms=int(config.session_timeout_s * 1000),
        # A standby hears at its next heartbeat that the owner left.
        heartbeat_interval_ms=int(config.session_timeout_s * 1000 / 10),
        max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
        metadata_max_age_ms=METADATA_AGE_MS,
    )


def is_joining(consumer: KafkaConsumer) -> bool:
    """Whether the group moves on, and this member is not in its next generation yet."""
    coordinator = consumer._coordinator
    return bool(coordinator.rejoining or coordinator.need_rejoin())


def joining_timeout_s(consumer: KafkaConsumer, timeout_s: float) -> float:
    """How long to poll. While a member joins, it waits for the answer.

    An answer between two polls is dropped, and the join begun anew: with a timeout of 0 for ever. If new metadata were
    its reason, it would not even be begun anew, and the member stay outside without a heartbeat.
    """
    if not is_joining(consumer):
        return timeout_s
    consumer._coordinator.request_rejoin()
    return max(timeout_s, JOINING_S)


class Membership:
    """A member of the group that reads the input topic.

    Raises `BrokerUnavailable` if the cluster cannot be reached.
    """

    def __init__(self, config: KafkaConfig, topic: str) -> None:
        self._topic = topic
        self._next: dict[TopicPartition, int] = {}  # offset after the last message that was given out
        self._reading = False
        self._closing = False
        self._lost = False
        self._snapshot = ConsumerGroupMetadata(group_id=config.lane)
        self._polled_at = time.monotonic()
        self._consumer = connected_member(config, config.lane, AllToOne())

    def join(self) -> None:
        """Ask for the lane; until then this is only a client."""
        self._consumer.subscribe([self._topic], listener=Listener(self))

    def hear_assigned(self, assigned: list[TopicPartition]) -> None:
        """On the client's thread: place new partitions, and read none of them before the state is there."""
        for partition in assigned:
            self._consumer.seek(partition, self._next.get(partition, 0))
            if not self._reading:
                self._consumer.pause(partition)

    def hear_lost(self, partitions: list[TopicPartition]) -> None:
        """On the client's thread: partitions went to another member."""
        self._lost = self._lost or (bool(partitions) and not self._closing)

    @property
    def ownership(self) -> Ownership:
        """As of the latest poll."""
        if self._lost:
            return Ownership.LOST
        return Ownership.OWNER if self._consumer.assignment() and self._is_member() else Ownership.STANDBY

    def check_lane(self) -> None:
        """Raise `LaneLost` if this process had the lane, and has it no more."""
        if self._lost:
            raise LaneLost("the lane went to another process: this one was silent for longer than the session timeout")

    @property
    def silent_s(self) -> float:
        """Seconds since the latest poll; a process that was frozen does not know yet what it lost meanwhile."""
        return time.monotonic() - self._polled_at

    def is_heard_since(self, moment: float) -> bool:
        """Whether the group answered a heartbeat that was sent after this moment of `time.monotonic`."""
        heartbeat = self._consumer._coordinator.heartbeat
        return bool(moment < heartbeat.last_send <= heartbeat.last_receive)

    @property
    def is_joining(self) -> bool:
        """Whether the group moves on, and this member is not in its next generation yet."""
        return is_joining(self._consumer)

    def _is_member(self) -> bool:
        return self._snapshot.generation_id >= 1 and bool(self._snapshot.member_id)

    @property
    def snapshot(self) -> ConsumerGroupMetadata:
        """The group's metadata as of the latest poll, to commit with. Raises `BrokerUnavailable` if there are none."""
        if not self._is_member():
            raise BrokerUnavailable("this process is no member of its group any more: it was silent for too long")
        return self._snapshot

    @property
    def partitions(self) -> list[TopicPartition]:
        """The partitions that this member owns."""
        return sorted(self._consumer.assignment())

    def poll(self, timeout_s: float, max_records: int) -> list[Any]:
        """The next messages of all partitions, each partition in its order; while it joins, it waits for the answer.

        Raises `StateError` where the input cannot be continued exactly, `BrokerUnavailable` on what does not pass.
        """
        timeout_s = joining_timeout_s(self._consumer, timeout_s)
        try:
            fetched = self._consumer.poll(int(timeout_s * 1000), max_records=max_records)
            self._snapshot, self._polled_at = self._consumer.group_metadata(), time.monotonic()
        except (OffsetOutOfRangeError, LogTruncationError, NoOffsetForPartitionError) as error:
            raise self._gone(error) from error
        except (UnsupportedCodecError, CorruptRecordError) as error:
            raise StateError(
                f"a message of topic {self._topic} cannot be fetched: {error}. Install the codec, or repair the topic; "
                "nothing was skipped"
            ) from error
        except KafkaError as error:
            if not passes(error):
                raise BrokerUnavailable(f"reading topic {self._topic} failed: {error}") from error
            # A connection went. What was fetched may be half given out: begin again after what came here.
            for partition in self._consumer.assignment():
                self._consumer.seek(partition, self._next.get(partition, 0))
            time.sleep(min(timeout_s, SETTLING_S))
            return []
        messages = [message for records in fetched.values() for message in records]
        for partition, records in fetched.items():
            self._next[partition] = records[-1].offset + 1
        return messages

    def positions(self) -> dict[TopicPartition, int]:
        """Where each partition is read on: past markers of transactions, aborted and compacted records.

        Every message before is in what `poll` returned.
        """
        for partition in self._consumer.assignment() if self._reading else ():
            position = position_of(self._consumer, partition)
            if position is not None:
                self._next[partition] = position
        return dict(self._next)

    def _gone(self, error: KafkaError) -> StateError:
        return StateError(
            f"the input cannot be continued where it was left: {error}. Topic {self._topic} was cut by retention, or "
            "made anew. Nothing is ever skipped by itself: see docs/operating.md#input-gone"
        )

    def keep_alive(self) -> None:
        """Stay a member, if this is one, while something else takes long: nothing is fetched."""
        if not self._consumer.subscription():
            return
        self._consumer.pause(*self._consumer.assignment())
        for message in self.poll(0, 1):
            # Of a partition that was assigned within this poll, and is not paused: it is read again.
            partition = TopicPartition(message.topic, message.partition)
            self._next[partition] = message.offset
            self._consumer.seek(partition, message.offset)
        if self._reading:
            self._consumer.resume(*self._consumer.assignment())

    def settle(self) -> None:
        """Wait until the generation does not move: a first join is usually done twice."""
        before = None
        while self.ownership is Ownership.OWNER and before != self._snapshot:
            before = self._snapshot
            self.poll(SETTLING_S, 1)

    def read_from(self, positions: Mapping[TopicPartition, int]) -> None:
        """Start to read; partitions without a position are new and start at 0."""
        self._next, self._reading = dict(positions), True
        for partition in self._consumer.assignment():
            self._consumer.seek(partition, positions.get(partition, 0))
        self._consumer.resume(*self._consumer.assignment())

    def committed(self, partition: TopicPartition, timeout_s: float) -> OffsetAndMetadata | None:
        """The group's committed offset. Raises `BrokerUnavailable` if the cluster does not say in time."""
        try:
            return self._consumer.committed(partition, metadata=True, timeout_ms=int(timeout_s * 1000))
        except KafkaTimeoutError as error:
            raise BrokerUnavailable(
                f"the cluster did not say within {timeout_s:g} s what the group committed for {partition.topic}"
            ) from error
        except KafkaError as error:
            raise BrokerUnavailable(f"the group's offsets cannot be read: {error}") from error

    def note(self, partition: TopicPartition, text: str, *, wait: bool) -> None:
        """Leave a text with the group, as metadata of a partition that no member reads; best effort.

        Only a member in good standing can, so a process that lost the lane never overwrites what its successor wrote.
        """
        offsets = {partition: OffsetAndMetadata(0, text, -1)}
        with suppress(KafkaError):
            if wait:
                self._consumer.commit(offsets, timeout_ms=NOTE_TIMEOUT_MS)
            else:
                self._consumer.commit_async(offsets, callback=lambda offsets, answer: None)

    def bounds(self, partitions: list[TopicPartition], timeout_s: float) -> dict[TopicPartition, tuple[int, int]]:
        """First offset and end of partitions, as far as committed. Raises `BrokerUnavailable`."""
        try:
            first = self._consumer.beginning_offsets(partitions, timeout_ms=int(timeout_s * 1000))
            end = self._consumer.end_offsets(partitions, timeout_ms=int(timeout_s * 1000))
        except KafkaError as error:
            raise BrokerUnavailable(f"the cluster does not answer: {error}") from error
        return {partition: (first[partition], end[partition]) for partition in partitions}

    def close(self) -> None:
        """Leave the group, so that a standby takes over at once."""
        self._closing = True
        self._consumer.close()
