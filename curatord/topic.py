"""A Kafka topic as a source: assigned, never subscribed; committed records only; every number accounted for.

The place of a sequence is found by its number alone, so a state needs no offsets: partition `seq_no mod P`, and in it a
search over the `seq_no` headers, which only ever grow.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
    UnknownBrokerIdError,
)

from curatord.access import OptionNames, acl_command, check_access
from curatord.clients import open_client
from curatord.errors import (
    AccessRefused,
    BrokerUnavailable,
    CuratordError,
    GenerationEnded,
    RetentionLost,
    SequenceGap,
    StreamError,
)
from curatord.partition import HeadedRecord, committed_messages, headed_record, whole_from
from curatord.sequence import EndOfStream, decode_end, decode_sequence
from curatord.source import Bounds, Found, Plan, missing

POLL_MS = 250
SEARCH_S = 30.0  # a step of a search that takes so long gives up
# Records that are read and thrown away rather than searched for.
NEAR = 64
# A partition that is this far ahead of the others waits for them.
MAX_AHEAD = 512


def _record(message: Any) -> HeadedRecord:
    try:
        return headed_record(message)
    except ValueError as error:
        raise StreamError(f"{error}, so it is no packed sequence: is this the topic of sequences?") from error


class TopicSource:
    """The sequences on a topic."""

    def __init__(self, servers: str, topic: str, options: Mapping[str, Any]) -> None:
        """`options` are further ones of kafka-python's clients.

        Raises `AccessRefused`, `BrokerUnavailable`, `StreamError`.
        """
        self._servers, self._topic = servers, topic
        common = {
            "bootstrap_servers": servers.split(","),
            "client_id": "curatord-stream",
            **options,
        }
        self._user = options.get("sasl_plain_username", "")
        check_access(common, OptionNames(), has_certificate=bool(options.get("ssl_certfile")))
        self.identity = self._topic_id(common)
        try:
            self._consumer = open_client(
                KafkaConsumer,
                **common,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level="read_committed",
                allow_auto_create_topics=False,
            )
        except KafkaError as error:
            raise self._unreachable(error) from error
        try:
            numbers = self._consumer.partitions_for_topic(topic)
        except KafkaError as error:
            self._consumer.close()
            raise self._unreachable(error) from error
        self._partitions = [TopicPartition(topic, number) for number in sorted(numbers or ())]
        self._ahead = 0  # the newest number that is known, and one more

    def _topic_id(self, common: Mapping[str, Any]) -> str:
        try:
            admin = open_client(KafkaAdminClient, **common)
            try:
                described = admin.describe_topics([self._topic])[0]
            finally:
                admin.close()
        except KafkaError as error:
            raise self._unreachable(error) from error
        allowed = described.get("authorized_operations")  # old brokers do not say
        if described["error_code"] == TopicAuthorizationFailedError.errno or (allowed and "READ" not in allowed):
            raise self._no_right()
        if described["error_code"]:
            raise StreamError(f"no topic {self._topic} at {self._servers}: `curatord topics create` makes it")
        return str(described["topic_id"])

    def _no_right(self) -> AccessRefused:
        command = acl_command(self._servers, self._user, ("Describe", "Read"), "topic", self._topic)
        whom = f"user {self._user}" if self._user else "this client (NAME: as the cluster calls it)"
        return AccessRefused(
            f"the cluster gives {whom} no right to read topic {self._topic}. This grants it:\n  {command}"
        )

    def _unreachable(self, error: Exception) -> CuratordError:
        if isinstance(error, AuthorizationError):
            return self._no_right()
        return BrokerUnavailable(f"no broker answers at {self._servers} ({error}): is the address right?")

    def bounds(self, generation: int | None) -> Bounds:
        try:
            starts = self._consumer.beginning_offsets(self._partitions)
            ends = self._consumer.end_offsets(self._partitions)
            lasts = [self._last(partition, starts[partition], ends[partition]) for partition in self._partitions]
            newest = max((last.generation for last in lasts if last is not None), default=0)
            if generation is None:
                generation = newest
            end = first = 0
            if generation < newest:
                lasts = [
                    self._last(p, starts[p], self._find(p, (generation + 1, 0), starts[p], ends[p]))
                    for p in self._partitions
                ]
            for last in lasts:
                if last is not None and last.generation == generation:
                    end = max(end, last.seq_no + (0 if last.is_end else 1))
            for partition in self._partitions:
                if not starts[partition]:
                    continue  # nothing was ever cut
                begin = self._find(partition, (generation, 0), starts[partition], ends[partition])
                record = self._at(partition, begin, ends[partition])
                # A partition that holds nothing of the generation lacks everything up to the end.
                held = end if record is None or record.generation != generation else record.seq_no
                first = max(first, whole_from(held, partition.partition, len(self._partitions)))
        except KafkaError as error:
            raise self._unreachable(error) from error
        return Bounds(generation=generation, first=first, end=max(first, end))

    def stop_from(self, generation: int, first: int) -> int:
        """The end of the topic as it is now: an end with sequences behind it is a past one.

        A job that stands a part of a step before it would else stop there at every start, with nothing to train on. And
        a job that read up to here has met an end that stands here.
        """
        return max(first + 1, self.bounds(generation).end)

    def newest(self) -> int:
        return self._ahead

    def read(self, plan: Plan) -> Iterator[Found | EndOfStream | None]:
        reading = _Reading(plan, len(self._partitions))
        partitions = [p for p in self._partitions if p.partition in reading.expected]
        try:
            starts, ends = self._consumer.beginning_offsets(partitions), self._consumer.end_offsets(partitions)
            # From the same number in all: an end may lie before what a partition goes on with, and every rank meets it.
            places = {p: self._find(p, (plan.generation, plan.first), starts[p], ends[p]) for p in partitions}
            self._consumer.assign(partitions)
            for partition, offset in places.items():
                self._consumer.seek(partition, offset)
            reading.is_whole = {p.partition for p in partitions if not starts[p]}
            while True:
                for item in reading.ready():
                    if isinstance(item, EndOfStream) and item.seq_no - plan.first < plan.world:
                        self._check_newest(plan.generation, item.seq_no)  # there was no step left to take in this one
                    yield item
                yield None
                self._fetch(partitions, reading)
        except KafkaError as error:
            raise self._unreachable(error) from error

    def _check_newest(self, generation: int, end: int) -> None:
        """Raise `GenerationEnded` if the topic goes on with a newer one."""
        if self.bounds(None).generation > generation:
            raise _ended(generation, end)

    def _fetch(self, partitions: list[TopicPartition], reading: _Reading) -> None:
        """Wait a little for more."""
        full = [p for p in partitions if reading.waiting(p.partition) > MAX_AHEAD]
        self._consumer.pause(*full)
        before = {partition: self._consumer.position(partition) for partition in partitions}
        try:
            fetched = self._consumer.poll(POLL_MS)
        except OffsetOutOfRangeError as error:
            raise self._lost(reading.plan) from error
        except KafkaError as error:
            # A broker that is gone is unknown until others have its place.
            if not error.retriable and not isinstance(error, UnknownBrokerIdError):
                raise
            # A connection went, and what was fetched may be half given out.
            for partition, offset in before.items():
                self._consumer.seek(partition, offset)
            fetched = {}
        self._consumer.resume(*full)
        for partition, messages in fetched.items():
            records = [_record(message) for message in messages]
            for record in records:
                if lost := reading.take(partition.partition, record):
                    raise self._lost(reading.plan) if lost == "first" else self._gap(reading, partition, record)
            self._estimate(partition, records[0], records[-1])

    def _estimate(self, partition: TopicPartition, first: HeadedRecord, last: HeadedRecord) -> None:
        """How far the topic goes, if there are as many marks and aborted records ahead as there are here."""
        behind = max(0, (self._consumer.highwater(partition) or 0) - self._consumer.position(partition))
        rate = len(self._partitions) * 1.0
        if last.offset > first.offset:
            rate = (last.seq_no - first.seq_no) / (last.offset - first.offset)
        # An end has the number of what comes after it.
        self._ahead = max(self._ahead, last.seq_no + (not last.is_end), int(last.seq_no + behind * rate))

    def _gap(self, reading: _Reading, partition: TopicPartition, record: HeadedRecord) -> SequenceGap:
        expected = reading.expected[partition.partition]
        return SequenceGap(
            f"sequence {expected} is missing: {self._topic}-{partition.partition} goes on with {record.seq_no} at "
            f"offset {record.offset}. Records were removed from the topic, or something else writes to it; "
            "on_gap='fill' trains on without them",
            expected=expected,
            found=record.seq_no,
        )

    def _lost(self, plan: Plan) -> RetentionLost:
        oldest = self.bounds(plan.generation).first
        return RetentionLost(
            f"sequence {plan.first} is not on topic {self._topic} any more: the oldest is {oldest}, "
            f"{oldest - plan.first} were deleted before they were read. Start at start={oldest} on every rank, and "
            "raise the topic's retention.ms above the age of the oldest checkpoint that you go back to",
            wanted=plan.first,
            oldest=oldest,
        )

    def _find(self, partition: TopicPartition, place: tuple[int, int], low: int, high: int) -> int:
        """The offset of the first record at `place` or behind it, or one not far before; `high` if there is none."""
        while high - low > NEAR:
            middle = (low + high) // 2
            record = self._at(partition, middle, high)
            if record is None or record.place >= place:
                high = middle
            else:
                low = record.offset + 1
        for record in self._scan(partition, low, high):
            if record.place >= place:
                return record.offset
        return high

    def _last(self, partition: TopicPartition, low: int, high: int) -> HeadedRecord | None:
        """The last record before offset `high`."""
        back = 4
        while high > low:
            records = list(self._scan(partition, max(low, high - back), high))
            if records:
                return records[-1]
            if high - back <= low:
                break
            back *= 8
        return None

    def _at(self, partition: TopicPartition, low: int, high: int) -> HeadedRecord | None:
        """The first record of the offsets `low` to `high`."""
        return next(self._scan(partition, low, high), None)

    def _scan(self, partition: TopicPartition, low: int, high: int) -> Iterator[HeadedRecord]:
        """The committed records of the offsets `low` to `high`."""
        return map(_record, committed_messages(self._consumer, partition, low, high, time.monotonic() + SEARCH_S))

    def close(self) -> None:
        """Let the connection go."""
        self._consumer.close()


class _Reading:
    """Fetched sequences that wait for their turn: one queue a partition that the plan needs."""

    def __init__(self, plan: Plan, num_partitions: int) -> None:
        self.plan = plan
        self.is_whole: set[int] = set()  # partitions that nothing was ever deleted from
        self._count = num_partitions
        self._next = plan.start()
        # Every partition that this rank meets, with the first number in it that counts.
        self.expected: dict[int, int] = {}
        for turn in range(num_partitions):
            seq_no = self._next + turn * plan.world
            if seq_no % num_partitions in self.expected:
                break
            number = seq_no % num_partitions
            self.expected[number] = plan.first + (number - plan.first) % num_partitions
        self._queues: dict[int, deque[Found]] = {number: deque() for number in self.expected}
        self._begun: set[int] = set()
        self._end: EndOfStream | None = None
        self._ended: set[int] = set()  # partitions that say that the generation is over

    def waiting(self, number: int) -> int:
        """How many sequences of a partition are fetched."""
        return len(self._queues[number])

    def take(self, number: int, record: HeadedRecord) -> str:
        """Note what came from a partition. "first" or "gap" if something is missing before it, else ""."""
        plan, expected = self.plan, self.expected[number]
        if record.generation > plan.generation:
            self._ended.add(number)
        if record.generation != plan.generation:
            return ""
        if record.is_end and record.seq_no >= plan.stop_from and self._end is None:
            self._end = decode_end(record.value)
        if record.seq_no < expected:
            return ""
        lacking = range(expected, record.seq_no, self._count)
        if lacking and number not in self._begun and number not in self.is_whole:
            return "first"
        if lacking and not plan.fill_gaps:
            return "gap"
        self._begun.add(number)
        for seq_no in lacking:
            self._keep(number, missing(seq_no, plan.generation))
        expected += len(lacking) * self._count
        if not record.is_end:
            self._keep(number, Found(record.seq_no, record.quantum, partial(decode_sequence, record.value)))
            expected += self._count
        self.expected[number] = expected
        return ""

    def _keep(self, number: int, found: Found) -> None:
        if found.seq_no % self.plan.world == self.plan.rank:
            self._queues[number].append(found)

    def ready(self) -> Iterator[Found | EndOfStream]:
        """The sequences that can be given out in order."""
        # A mark lies before what comes after it, so it is known by then.
        while (self._end is None or self._next < self._end.seq_no) and (
            queue := self._queues[self._next % self._count]
        ):
            yield queue.popleft()
            self._next += self.plan.world
        if self._end is not None and self._next >= self._end.seq_no:
            yield self._end
        elif self._next % self._count in self._ended:
            raise _ended(self.plan.generation, self._next)


def _ended(generation: int, end: int) -> GenerationEnded:
    return GenerationEnded(
        f"generation {generation} ended before sequence {end}; the topic goes on with another context length: make a "
        f"stream with generation={generation + 1}"
    )
