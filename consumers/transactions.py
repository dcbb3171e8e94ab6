"""Transactions: one producer with the lane's transactional id, and the one order in which it is safe.

    begin → send → flush → check every future → send offsets → commit

kafka-python 3.0.12 commits a transaction whose records timed out, and reports a commit that it rolled back, unless
every record was acknowledged before; and it carries the offsets of a failed transaction into the next one. So every
future is checked, and a producer that saw any error is never used again.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from kafka import KafkaProducer, TopicPartition
from kafka.errors import CommitFailedError, KafkaError, ProducerFencedError
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from consumers.clients import connected_producer
from consumers.connection import KafkaConfig
from curatord.errors import BrokerUnavailable, LaneLost, WatchdogExpired


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record of a transaction."""

    topic: str
    partition: int
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()


class StaleMembership(Exception):
    """The group moved on since the snapshot that a commit was made with; nothing was committed."""


class Transactions:
    """The lane's producer. Only the owner may make one: making it fences whoever had it before."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._producer: KafkaProducer | None = None

    def take_over(self) -> None:
        """Fence the owner before, and end what it left open. Raises `BrokerUnavailable`."""
        self._producer = producer = connected_producer(
            self._config,
            transactional_id=self._config.lane,
            transaction_timeout_ms=int(self._config.transaction_timeout_s * 1000),
        )
        with self._guarded():
            producer.init_transactions()

    def send(self, records: Sequence[Outgoing]) -> list[int]:
        """Begin, and send; the offsets, once every record is acknowledged. Raises `BrokerUnavailable`, `LaneLost`."""
        with self._guarded() as producer:
            producer.begin_transaction()
            futures = [
                producer.send(
                    record.topic,
                    record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=list(record.headers),
                )
                for record in records
            ]
            producer.flush(timeout=self._config.commit_timeout_s)
            # `flush` raises nothing, and does not wait for what it had to send in smaller batches.
            return [future.get(timeout=self._config.commit_timeout_s).offset for future in futures]

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata], snapshot: ConsumerGroupMetadata) -> None:
        """Commit what was sent, with these offsets.

        Raises `StaleMembership` if the group moved on, `BrokerUnavailable` if the outcome is not known, `LaneLost`.
        """
        with self._guarded() as producer:
            producer.send_offsets_to_transaction(dict(offsets), snapshot)
            producer.commit_transaction()

    def renew(self) -> None:
        """After a failure, and only as long as this process owns the lane: a new producer."""
        self.close()
        self.take_over()

    @contextmanager
    def _guarded(self) -> Iterator[KafkaProducer]:
        """Nothing here has a timeout of its own: the process ends when the cluster is silent for too long."""
        assert self._producer is not None
        watchdog = threading.Timer(self._config.commit_timeout_s, _expire)
        watchdog.daemon = True
        watchdog.start()
        try:
            yield self._producer
        except CommitFailedError as error:
            raise StaleMembership(str(error)) from error
        except ProducerFencedError as error:
            raise LaneLost(f"another process took the lane over: {error}") from error
        except KafkaError as error:
            cause = self._cause() or error
            if isinstance(cause, CommitFailedError):
                raise StaleMembership(str(cause)) from error
            if isinstance(cause, ProducerFencedError):
                raise LaneLost(f"another process took the lane over: {cause}") from error
            raise BrokerUnavailable(
                f"a commit could not be finished: {type(cause).__name__} {cause}. Nothing is lost: the next start "
                "finds out whether it counts"
            ) from error
        finally:
            watchdog.cancel()

    def _cause(self) -> BaseException | None:
        """The first error of the producer; what its methods raise afterwards only says that there was one."""
        manager = getattr(self._producer, "_transaction_manager", None)
        error = getattr(manager, "last_error", None)
        return error if isinstance(error, BaseException) else None

    def close(self) -> None:
        """Let the producer go; an open transaction is ended by the next owner."""
        if self._producer is not None:
            with suppress(KafkaError):
                self._producer.close(timeout=2)
            self._producer = None


def _expire() -> None:
    """On the watchdog's thread: say where everybody is, and end the process."""
    if sys.__stderr__ is not None:
        sys.__stderr__.write("curatord: a commit did not finish in time; the process ends, to be restarted\n")
        faulthandler.dump_traceback(file=sys.__stderr__, all_threads=True)
    os._exit(WatchdogExpired.exit_code)
