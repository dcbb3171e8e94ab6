"""The inbox of a lane's owner: documents from all partitions of a topic, and feedback from another."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any

from kafka import TopicPartition

from consumers.attempts import FATAL, Attempts
from consumers.broker import MAX_POLL_BYTES, RawDocument, RawFeedback, row_bytes
from consumers.formats.input_config import InputConfig
from consumers.formats.messages import rows_of
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.feedback_reader import FeedbackReader
from consumers.kafka.membership import Membership
from consumers.kafka.positions import Positions, source_name
from consumers.kafka.topics import TopicsConfig
from consumers.trial import first_fatal, verdict
from curatord.errors import StateError

LAG_TIMEOUT_S = 5.0  # a cluster that does not say is away


class KafkaInbox:
    """Reads from the committed positions on, once the first poll asks for rows."""

    def __init__(
        self,
        kafka: KafkaConfig,
        topics: TopicsConfig,
        config: InputConfig,
        membership: Membership,
        positions: Positions,
    ) -> None:
        self._kafka = kafka
        self._topics = topics
        self._config = config
        self._membership = membership
        self._positions = positions
        self._fetched: deque[Any] = deque()  # messages that no poll has given out yet
        self._condemned: dict[tuple[str, int], str] = {}  # messages that end a process that decodes them
        self._is_reading = False
        self._feedback: FeedbackReader | None = None
        self.attempts = Attempts()

    def poll(self, max_rows: int, timeout_s: float) -> list[RawDocument]:
        """The next rows; the rows of one message are never parted, so there may be more than `max_rows`.

        Raises `LaneLost` if the lane went to another process, and as `Membership.poll`.
        """
        if not self._is_reading:
            self._begin()
        rows: list[RawDocument] = []
        num_bytes = 0
        if not self._fetched:
            self._fetched.extend(self._membership.poll(timeout_s, max_rows))
        num = self.attempts.begin([(source_name(message), message.offset) for message in self._fetched])
        if num and self.attempts.deaths >= FATAL:
            self._try_decoding(list(islice(self._fetched, num)))
        while num and len(rows) < max_rows and num_bytes < MAX_POLL_BYTES:
            message, num = self._fetched.popleft(), num - 1
            how = self._condemned.get((source_name(message), message.offset))
            found = rows_of_message(message, self._config) if how is None else [message_set_aside(message, how)]
            num_bytes += sum(map(row_bytes, found))
            rows += found
        self._membership.check_lane()
        return rows

    def _begin(self) -> None:
        self._membership.read_from(self._start())
        self._is_reading = True
        if self._topics.feedback:
            self._feedback = FeedbackReader(self._kafka, self._topics.feedback, self._positions)

    def _start(self) -> dict[TopicPartition, int]:
        """Where to read on. Raises `StateError` if state, group and topic do not agree."""
        partitions = self._membership.partitions
        bounds = self._membership.bounds(partitions, self._kafka.request_timeout_s)
        start = {}
        for partition in partitions:
            source, position = source_name(partition), self._check_group(partition) or 0
            first, end = bounds[partition]
            if not first <= position <= end:
                raise StateError(
                    f"{source} holds offsets {first} to {end}, and is to be read on at {position}: "
                    + ("retention cut it before it was read" if position < first else "the topic was made anew")
                    + ". Nothing is skipped by itself: see docs/operating.md#input-gone"
                )
            start[partition] = position
        return start

    def _check_group(self, partition: TopicPartition) -> int | None:
        """The position of a partition; None if it was never read. Raises `StateError` if state and group differ."""
        source = source_name(partition)
        known = self._positions.of(source)
        committed = self._membership.committed(partition, self._kafka.request_timeout_s)
        if known != (None if committed is None else committed.offset):
            raise StateError(
                f"the state was read up to {known} of {source}, the group {self._kafka.lane} "
                f"committed {committed and committed.offset}: another client moved the group's offsets. "
                "See docs/operating.md#offsets-moved"
            )
        return known

    def _try_decoding(self, messages: list[Any]) -> None:
        """Find those that end a copy of this process."""
        while True:
            left = [message for message in messages if (source_name(message), message.offset) not in self._condemned]
            fatal = first_fatal(left, lambda message: rows_of_message(message, self._config), beat=self._keep_alive)
            if fatal is None:
                return
            self._condemned[source_name(left[fatal.index]), left[fatal.index].offset] = fatal.how

    def _keep_alive(self) -> None:
        self._membership.keep_alive()
        self._membership.check_lane()

    def feedback(self, max_records: int) -> list[RawFeedback]:
        """The next messages of trainers and scorers that are at hand. Raises `BrokerUnavailable`."""
        return [] if self._feedback is None else self._feedback.poll(max_records)

    def passed(self) -> dict[str, int]:
        """As the clients' positions say, which stand past what they do not give out."""
        if not self._is_reading:
            return {}
        positions = {source_name(partition): at for partition, at in self._membership.positions().items()}
        for message in self._fetched:
            positions.pop(source_name(message), None)
        return self._ahead(positions)

    def _ahead(self, positions: dict[str, int]) -> dict[str, int]:
        """Those that are ahead of the committed ones, with those of feedback."""
        if self._feedback is not None:
            positions |= self._feedback.positions()
        return {source: at for source, at in positions.items() if at > (self._positions.of(source) or 0)}

    def lag(self) -> dict[str, int]:
        """Messages that wait, by partition. Raises `BrokerUnavailable`."""
        return self._lag(self._membership.partitions)

    def _lag(self, partitions: list[TopicPartition]) -> dict[str, int]:
        bounds = self._membership.bounds(partitions, min(LAG_TIMEOUT_S, self._kafka.request_timeout_s))
        ends = {source_name(partition): end for partition, (_, end) in bounds.items()}
        return {source: max(0, end - (self._positions.of(source) or 0)) for source, end in ends.items()}

    def take_repeated(self) -> int:
        """None: a topic has each message once."""
        return 0

    def close(self) -> None:
        """Let the client of feedback go; that of documents is the membership's."""
        if self._feedback is not None:
            self._feedback.close()


def rows_of_message(message: Any, config: InputConfig) -> list[RawDocument]:
    """The rows of one message as kafka-python gives it."""
    return rows_of(
        source_name(message),
        message.offset,
        message.key,
        message.value,
        message.headers,
        message.timestamp * 1000,
        config,
    )


def message_set_aside(message: Any, how: str) -> RawDocument:
    """A message that cannot be decoded without an end of the process, as one row."""
    source, timestamp_us = source_name(message), max(0, message.timestamp * 1000)
    return RawDocument(source, message.offset, verdict(how), message.value or b"", timestamp_us=timestamp_us)
