"""Share: the partitions of a topic that one worker of a group works on, among as many as there are partitions.

The client's own cooperative assignor gives them out, and moves as few as it can. Where a partition is read on stands in
the group's offsets, each with a mark of the work on what follows: how many lives began it. A life that goes on commits
the next offset with a new mark, so a number that grows belongs to documents over which workers end.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    CorruptRecordError,
    KafkaError,
    LogTruncationError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    UnsupportedCodecError,
)
from kafka.structs import OffsetAndMetadata

from consumers.kafka.clients import connected_admin, group_offsets, passes, position_of
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.membership import SETTLING_S, Listener, connected_member, joining_timeout_s
from consumers.kafka.offsets import commit_offsets, read_on_at, waiting_after
from consumers.kafka.positions import source_name
from curatord.errors import BrokerUnavailable, StateError


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """Lives that began to work at an offset, and those of them that took its first message alone."""

    lives: int = 0
    alone: int = 0


@dataclass(slots=True)
class Place:
    """Where a partition is read on."""

    at: int
    left: Mark  # of lives before this one


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """Messages of one partition, and the positions that they cover: also of records that no reader is given."""

    partition: TopicPartition
    first: int
    next: int
    messages: Sequence[ConsumerRecord]
    left: Mark


@dataclass(slots=True)
class _Heard:
    """Partitions by what is known of them."""

    given: set[TopicPartition] = field(default_factory=set)  # not begun yet
    places: dict[TopicPartition, Place] = field(default_factory=dict)  # being worked on


class Share:
    """A member of the workers' group. Raises `BrokerUnavailable` if the cluster cannot be reached."""

    def __init__(self, config: KafkaConfig, topic: str) -> None:
        self._config, self._topic = config, topic
        self._heard = _Heard()
        self._consumer = connected_member(config, config.workers, CooperativeStickyAssignor())
        self._consumer.subscribe([topic], listener=Listener(self))

    def hear_assigned(self, assigned: list[TopicPartition]) -> None:
        """On the client's thread: read nothing of new partitions before their places are known."""
        for partition in assigned:
            self._consumer.seek(partition, 0)
            self._consumer.pause(partition)
            self._heard.given.add(partition)

    def hear_lost(self, partitions: list[TopicPartition]) -> None:
        """On the client's thread: others work on these now."""
        for partition in partitions:
            self._heard.given.discard(partition)
            self._heard.places.pop(partition, None)

    @property
    def partitions(self) -> list[TopicPartition]:
        """Those that are worked on."""
        return sorted(self._heard.places)

    def poll(self, timeout_s: float, max_messages: int) -> list[Portion]:
        """The next messages, a portion a partition; when there are none, what was passed without any.

        Raises `StateError` where a partition cannot be continued exactly, `BrokerUnavailable`.
        """
        timeout_s = joining_timeout_s(self._consumer, timeout_s)
        self._begin()
        try:
            fetched = self._consumer.poll(int(timeout_s * 1000), max_records=max_messages)
        except (OffsetOutOfRangeError, LogTruncationError, NoOffsetForPartitionError) as error:
            raise self._gone(str(error)) from error
        except (UnsupportedCodecError, CorruptRecordError) as error:
            raise StateError(
                f"a message of topic {self._topic} cannot be fetched: {error}; nothing was skipped"
            ) from error
        except KafkaError as error:
            if not passes(error):
                raise BrokerUnavailable(f"reading topic {self._topic} failed: {error}") from error
            self.rewind()  # what was fetched may be half given out
            time.sleep(min(timeout_s, SETTLING_S))
            return []
        portions = []
        for partition, place in self._heard.places.items():
            messages = fetched.get(partition, [])
            end = position_of(self._consumer, partition)
            end = messages[-1].offset + 1 if messages and end is None else end
            if messages or (not fetched and end is not None and end > place.at):
                portions.append(
                    Portion(partition=partition, first=place.at, next=end or 0, messages=messages, left=place.left)
                )
        return portions

    def _begin(self) -> None:
        """Find out where new partitions are read on, and say so. Raises `StateError`, `BrokerUnavailable`."""
        given = sorted(self._heard.given)
        if not given:
            return
        timeout_ms = int(self._config.request_timeout_s * 1000)
        try:
            first = self._consumer.beginning_offsets(given, timeout_ms=timeout_ms)
            own = {p: self._consumer.committed(p, metadata=True, timeout_ms=timeout_ms) for p in given}
            lane = self._of_lane([partition for partition, found in own.items() if found is None])
        except KafkaError as error:
            raise BrokerUnavailable(f"the cluster does not say where to begin: {error}") from error
        for partition, found in own.items():
            known = found or lane.get(partition)
            at = first[partition] if known is None else known.offset
            if at < first[partition]:
                name = source_name(partition)
                raise self._gone(f"{name} begins at {first[partition]:,} now, and is to be read on at {at:,}")
            self._consumer.seek(partition, at)
            self._heard.places[partition] = Place(at, Mark() if found is None else decode_mark(found.metadata))
        places = self._heard.places
        if self.note({p: Mark(places[p].left.lives + 1, places[p].left.alone) for p in given}):
            self._consumer.resume(*given)
            self._heard.given -= set(given)

    def _of_lane(self, partitions: list[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata]:
        """Where the lane stands in partitions that no worker has begun."""
        if not partitions:
            return {}
        admin = connected_admin(self._config)
        try:
            return group_offsets(admin, self._config.lane)
        finally:
            admin.close()

    def _gone(self, why: str) -> StateError:
        return StateError(
            f"the documents cannot be prepared from where they were left: {why}. Topic {self._topic} was cut by "
            "retention, or made anew. Nothing is ever skipped by itself: see docs/operating.md#input-gone"
        )

    def note(self, marks: Mapping[TopicPartition, Mark]) -> bool:
        """Say what is begun now, without moving; whether the group took it."""
        places = self._heard.places
        offsets = {p: marked_offset(places[p].at, mark) for p, mark in marks.items() if p in places}
        return commit_offsets(self._consumer, offsets, self._config)

    def commit(self, positions: Mapping[TopicPartition, int]) -> bool:
        """All before these positions is prepared and acknowledged. Those that are others' by now are passed over.

        False if the group does not take it: then all partitions are read again from their places. Raises
        `BrokerUnavailable`, after which `rewind` is to be called.
        """
        places = self._heard.places
        moved = {partition: at for partition, at in positions.items() if partition in places}
        offsets = {partition: marked_offset(at, Mark(1)) for partition, at in moved.items()}
        if commit_offsets(self._consumer, offsets, self._config):
            for partition, at in moved.items():
                places[partition] = Place(at, Mark())
            return True
        self.rewind()
        return False

    def rewind(self) -> None:
        """Read on at the places once more, for what was fetched since does not count."""
        read_on_at(self._consumer, self._offsets())

    def lag(self) -> dict[str, int]:
        """Messages that wait, of the partitions that are worked on. Raises `BrokerUnavailable`."""
        return waiting_after(self._consumer, self._offsets(), self._config)

    def _offsets(self) -> dict[TopicPartition, int]:
        return {partition: place.at for partition, place in self._heard.places.items()}

    def close(self, *, is_done: bool) -> None:
        """Leave the group. With `is_done` the life did not end over what comes next."""
        if is_done:
            with suppress(BrokerUnavailable):
                self.note({partition: place.left for partition, place in self._heard.places.items()})
        self._consumer.close()


def marked_offset(at: int, mark: Mark) -> OffsetAndMetadata:
    """An offset with its mark, as the group keeps it."""
    return OffsetAndMetadata(at, msgspec.json.encode(mark).decode(), -1)


def decode_mark(metadata: str) -> Mark:
    """The mark; none where another client moved the offset."""
    try:
        return msgspec.json.decode(metadata, type=Mark)
    except msgspec.DecodeError:
        return Mark()
