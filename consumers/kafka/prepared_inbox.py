"""The inbox of a lane that reads prepared documents: partition p of that topic holds partition p of the documents.

Positions are those of the documents, as in a lane that reads them itself: ids, facts and the group's offsets of that
topic are the same, so a lane changes over and back at any restart. Its place in the topic of prepared documents is
committed beside them, and only says where to read on: which rows are new, their own positions say.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from consumers.attempts import FATAL
from consumers.broker import MAX_POLL_BYTES, MessagePlace, RawDocument, row_bytes
from consumers.formats.input_config import InputConfig
from consumers.formats.prepared import PreparedMessage, decode_message
from consumers.kafka.clients import connected_consumer
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.inbox import LAG_TIMEOUT_S, KafkaInbox
from consumers.kafka.membership import Membership
from consumers.kafka.parts import Parts
from consumers.kafka.positions import Positions, source_name
from consumers.kafka.topics import TopicsConfig
from consumers.prepared import Coverage
from consumers.trial import first_fatal
from curatord.errors import BrokerUnavailable, StateError

POLL_MESSAGES = 32  # each holds some hundred rows
MAX_UNPACKED = 4 << 30  # bytes of one message; a worker bounds it by the documents that it holds


class PreparedInbox(KafkaInbox):
    """As `KafkaInbox`; `identity` is that of preparing."""

    def __init__(
        self,
        kafka: KafkaConfig,
        topics: TopicsConfig,
        config: InputConfig,
        membership: Membership,
        positions: Positions,
        identity: str,
    ) -> None:
        super().__init__(kafka, topics, config, membership, positions)
        self._identity = identity
        self._coverage = Coverage(positions.of)
        self._parts: dict[TopicPartition, Parts] = {}
        self._taken: dict[TopicPartition, int] = {}  # offset after the last record that was taken
        self._rows: deque[RawDocument] = deque()  # that no poll has given out yet
        self._documents_reader: KafkaConsumer | None = None

    def take_repeated(self) -> int:
        """Rows that came again, since the last call."""
        num, self._coverage.num_repeated = self._coverage.num_repeated, 0
        return num

    def poll(self, max_rows: int, timeout_s: float) -> list[RawDocument]:
        """The next rows; those of a message are together, so there may be more than `max_rows`.

        Raises as `KafkaInbox.poll`, `IdentityError` for rows of another configuration, `StateError` where some miss.
        """
        if not self._is_reading:
            self._begin()
        if not self._rows:
            self._fill(max_rows, timeout_s)
        num = self.attempts.begin([(row.source, row.position) for row in self._rows])
        rows = [self._rows.popleft() for _ in range(num)]
        self._membership.check_lane()
        return rows

    def _fill(self, max_rows: int, timeout_s: float) -> None:
        """Take messages until their new rows are enough, or no more are at hand."""
        if not self._fetched:
            self._fetched.extend(self._membership.poll(timeout_s, POLL_MESSAGES))
        num_bytes = 0
        num = self.attempts.begin([(source_name(record), record.offset) for record in self._fetched])
        is_suspect = num > 0 and self.attempts.deaths >= FATAL
        while num and len(self._rows) < max_rows and num_bytes < MAX_POLL_BYTES:
            record, num = self._fetched.popleft(), num - 1
            rows = self._take(record, is_suspect=is_suspect)
            num_bytes += sum(map(row_bytes, rows))
            self._rows.extend(rows)

    def _take(self, record: Any, *, is_suspect: bool) -> list[RawDocument]:
        """The new rows of the message that a record completes; a suspect one is decoded in a copy of the process first.

        Raises `StateError` for one that ends the copy: its rows are not known, and none is ever skipped.
        """
        partition = TopicPartition(record.topic, record.partition)
        parts = self._parts.setdefault(partition, Parts())
        value, first = parts.add(record)
        self._taken[partition] = record.offset + 1
        if value is None:
            return []
        place = f"{source_name(record)}@{record.offset}"
        source = source_name(self._documents(partition))

        def decode(message: bytes) -> PreparedMessage:
            at = MessagePlace(source_name(record), first)
            return decode_message(message, self._identity, place, max_bytes=MAX_UNPACKED, at=at)

        fatal = first_fatal([value], decode, beat=self._keep_alive) if is_suspect else None
        if fatal is not None:
            raise StateError(
                f"{place} ended two processes that read it, and a copy of this one: {fatal.how}. It is damaged, or a "
                "library has a defect. Nothing is skipped by itself: `curatord prepare --again` has its documents "
                "prepared once more. See docs/operating.md#prepared-gap"
            )
        message = decode(value)
        rows = self._coverage.take(message, source, place)
        parts.forget(self._coverage.reached[source])
        return rows

    def _documents(self, partition: TopicPartition) -> TopicPartition:
        return TopicPartition(self._topics.documents, partition.partition)

    def _start(self) -> dict[TopicPartition, int]:
        """Where to read on. What retention cut, or a topic that was made anew, shows as a gap, if it is one."""
        partitions = self._membership.partitions
        timeout_s = self._kafka.request_timeout_s
        start = {}
        for partition, (first, end) in self._membership.bounds(partitions, timeout_s).items():
            self._check_group(self._documents(partition))
            committed = self._membership.committed(partition, timeout_s)
            at = first if committed is None else committed.offset
            start[partition] = at if first <= at <= end else first
        return start

    def passed(self) -> dict[str, int]:
        """Positions of the documents as messages cover them, and of the messages themselves."""
        if not self._is_reading or self._rows:
            return {}
        positions = self._ahead(self._coverage.reached)
        for partition, at in self._taken.items():
            source, start = source_name(partition), self._parts[partition].start()
            at = at if start is None else start
            if at != self._positions.of(source):  # in a topic that was made anew it goes back
                positions[source] = at
        return positions

    def lag(self) -> dict[str, int]:
        """Messages of both topics that wait, by partition: for a worker or for the lane. Raises `BrokerUnavailable`."""
        return self._lag(self._membership.partitions) | self._lag_of_documents()

    def _lag_of_documents(self) -> dict[str, int]:
        """By a client without a group: one that subscribes to a topic learns nothing of others."""
        self._documents_reader = self._documents_reader or connected_consumer(
            self._kafka, group_id=None, isolation_level="read_committed"
        )
        partitions = [self._documents(partition) for partition in self._membership.partitions]
        timeout_ms = int(1000 * min(LAG_TIMEOUT_S, self._kafka.request_timeout_s))
        try:
            ends = self._documents_reader.end_offsets(partitions, timeout_ms=timeout_ms) if partitions else {}
        except KeyError:  # the client does not know of partitions that were added: the next one does
            self._documents_reader.close()
            self._documents_reader, ends = None, {}
        except KafkaError as error:
            raise BrokerUnavailable(f"the cluster does not answer: {error}") from error
        return {
            source_name(partition): max(0, end - (self._positions.of(source_name(partition)) or 0))
            for partition, end in ends.items()
        }

    def close(self) -> None:
        """As `KafkaInbox.close`."""
        super().close()
        if self._documents_reader is not None:
            self._documents_reader.close()
