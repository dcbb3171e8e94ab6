"""Reading the journal: epoch after epoch, as far as was committed, or on and on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from kafka import TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import KafkaError, OffsetOutOfRangeError

from consumers.broker import JournalRecord
from consumers.kafka.artifacts import ArtifactReader
from consumers.kafka.clients import connected_admin, connected_consumer, passes, position_of
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.topics import TopicsConfig
from curatord.errors import BrokerUnavailable, JournalUnusable, StateError
from state.journal import decode_changes, resolved

POLL_S = 0.1
SILENT_S = 5.0  # after which the end of a journal that gives nothing is asked for


class JournalReader:
    """A consumer of the journal alone, outside every group. Raises `BrokerUnavailable`."""

    def __init__(self, config: KafkaConfig, topics: TopicsConfig) -> None:
        self._config = config
        self._partition = TopicPartition(topics.journal, 0)
        self._artifacts = ArtifactReader(config, topics.artifacts)
        # Epochs of an owner that died in mid-commit must not be seen.
        self._consumer = connected_consumer(config, group_id=None, isolation_level="read_committed")
        self._consumer.assign([self._partition])
        self._next = 0  # offset after the last record that was fetched

    def read(self, start: int, end: int | None) -> Iterator[JournalRecord | None]:
        """Epochs from offset `start`: to offset `end`, or for ever. None means that there is none yet.

        Raises `StateError` if the journal does not reach back to `start`, ends before `end`, or is damaged;
        `BrokerUnavailable`.
        """
        self._consumer.seek(self._partition, start)
        self._next = start
        parts: list[bytes] = []
        reached = start
        heard_at = time.monotonic()
        while end is None or reached < end:
            fetched = self._poll(start, end)
            for record in fetched:
                headers = dict(record.headers)
                part = int(headers["part"])
                if part == 0:
                    parts.clear()
                if part != len(parts):
                    raise JournalUnusable(f"the journal lacks part {len(parts)} of epoch {headers['epoch'].decode()}")
                parts.append(record.value)
                if len(parts) == int(headers["parts"]):
                    changes = resolved(decode_changes(parts), self._artifacts.fetch)
                    reached = record.offset + 1
                    yield JournalRecord(
                        epoch=int(headers["epoch"]),
                        identity=headers["identity"].decode(),
                        changes=changes,
                        next_offset=reached,
                    )
                    if end is not None and reached >= end:
                        return
            if fetched:
                heard_at = time.monotonic()
                continue
            if end is not None and time.monotonic() - heard_at >= SILENT_S:
                self._check_end(end)
                heard_at = time.monotonic()
            yield None

    def holds_records(self, first: int, end: int) -> bool:
        """Whether anything between these offsets was committed, not aborted. Raises `BrokerUnavailable`."""
        self._consumer.seek(self._partition, first)
        self._next = first
        deadline = time.monotonic() + self._config.request_timeout_s
        while (position_of(self._consumer, self._partition) or first) < end:
            if self._poll(first, None):
                return True
            if time.monotonic() > deadline:
                raise BrokerUnavailable(f"the journal {self._partition.topic} could not be read in time")
        return False

    def _check_end(self, end: int) -> None:
        """Raise `StateError` if the journal ends before `end`, `BrokerUnavailable` if the cluster does not say.

        A transaction that is open hides what is there, so what is not committed counts, too.
        """
        admin = connected_admin(self._config)
        try:
            found = admin.list_partition_offsets({self._partition: OffsetSpec.LATEST})[self._partition].offset
        except KafkaError as error:
            raise BrokerUnavailable(f"where journal {self._partition.topic} ends is not known: {error}") from error
        finally:
            admin.close()
        if found < end:
            raise StateError(
                f"the journal {self._partition.topic} ends at offset {found}, but it was committed up to {end}: it "
                "lost its end, or was made anew. See docs/operating.md#journal-lost"
            )

    def _poll(self, start: int, end: int | None) -> list[Any]:
        try:
            fetched = list(self._consumer.poll(int(POLL_S * 1000)).get(self._partition, []))
        except OffsetOutOfRangeError as error:
            self._check_end(self._next if end is None else end)
            raise JournalUnusable(
                f"the journal {self._partition.topic} does not reach back to offset {start}, where this state ends. "
                "Remove the state folder, and a snapshot will be taken instead (state.snapshot_dir)"
            ) from error
        except KafkaError as error:
            if not passes(error):
                raise BrokerUnavailable(f"the journal {self._partition.topic} cannot be read: {error}") from error
            # A connection went, and what was fetched may be half given out.
            self._consumer.seek(self._partition, self._next)
            return []
        self._next = fetched[-1].offset + 1 if fetched else self._next
        return fetched

    def close(self) -> None:
        """Let the connection go."""
        self._consumer.close()
