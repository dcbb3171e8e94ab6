"""Transactions: one producer with the lane's transactional id, and the one order in which it is safe.

    begin → send → flush → check every future → send offsets → commit

kafka-python 3.0.12 commits a transaction whose records timed out, and reports a commit that it rolled back, unless
every record was acknowledged before; and it carries the offsets of a failed transaction into the next one. So every
future is checked, and a producer that saw any error is never used again. Nor does it come back by itself when the
coordinator of the transaction or the leader of a partition dies in the middle, or hangs: an attempt gives up soon, and
the next one, with a new producer, finds who took their places. An attempt that only took long gets twice the time.
One that a dead broker may have stopped gets a little more: others take its partitions at a moment that no time-out
knows, and the attempt after that moment is the one that succeeds.
"""

from __future__ import annotations

import faulthandler
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kafka import KafkaProducer, TopicPartition
from kafka.errors import CommitFailedError, InvalidTimestampError, KafkaError, KafkaTimeoutError, ProducerFencedError
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from consumers.kafka.clients import connected_admin, connected_producer
from consumers.kafka.connection import KafkaConfig
from curatord.errors import BrokerUnavailable, LaneLost, WatchdogExpired

# What one attempt may take at first, of fencing and of a commit: a hundred times what it usually takes.
PATIENCE_S = 2.0
# How the patience grows after an attempt that was cut off: because the cluster is slow, or because of a dead broker.
SLOWER = 2.0
SAME_AGAIN = 1.25
CONNECT_S = 0.25  # to see whether a broker is there


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


class _Producer(KafkaProducer):  # type: ignore[misc]  # kafka-python has no types
    """Waits for the end of a transaction until `deadline`, not for ever."""

    deadline = float("inf")  # of `time.monotonic`

    def send_offsets_to_transaction(self, offsets: Any, group_metadata: Any) -> None:
        self._await(self._transaction_manager.send_offsets_to_transaction(offsets, group_metadata))

    def commit_transaction(self) -> None:
        self._await(self._transaction_manager.begin_commit())

    def left_s(self) -> float:
        """Seconds until the deadline."""
        return max(0.001, self.deadline - time.monotonic())

    def _await(self, result: Any) -> None:
        self._sender.wakeup()
        if not result.wait(timeout_ms=self.left_s() * 1000):
            raise KafkaTimeoutError("the coordinator did not answer in time")

    def abandon(self) -> None:
        """Let it go without waiting for anything: its sender ends as soon as it sees this."""
        self._unregister_cleanup()
        self._sender.force_close()
        self._closed = True


class Transactions:
    """The lane's producer. Only the owner may make one: making it fences the producer before."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._producer: _Producer | None = None
        self._longest_s = config.commit_timeout_s / 2  # a time that the watchdog does not end
        self._patience_s = min(PATIENCE_S, self._longest_s)
        self._fencing_s = min(PATIENCE_S, config.request_timeout_s)
        self._began = 0.0

    def take_over(self) -> None:
        """Fence the owner before, and end what it left open. Raises `BrokerUnavailable`."""
        patience_ms = int(self._fencing_s * 1000)
        try:
            self._producer = connected_producer(
                self._config,
                _Producer,
                transactional_id=self._config.lane,
                transaction_timeout_ms=int(self._config.transaction_timeout_s * 1000),
                max_block_ms=patience_ms,
                bootstrap_timeout_ms=patience_ms,  # it may ask one that hangs
            )
            with self._guarded() as producer:
                producer.init_transactions()
        except BrokerUnavailable:
            # A new client helps, rather than a patient one.
            self._fencing_s = min(self._config.request_timeout_s, SAME_AGAIN * self._fencing_s)
            raise
        self._fencing_s = min(PATIENCE_S, self._config.request_timeout_s)

    def send(self, records: Sequence[Outgoing]) -> list[int]:
        """Begin, and send; the offsets, once every record is acknowledged. Raises `BrokerUnavailable`, `LaneLost`."""
        self._began = time.monotonic()
        with self._guarded() as producer, self._in_time():
            producer.deadline = self._began + self._patience_s
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
            producer.flush(timeout=producer.left_s())
            # `flush` raises nothing, and does not wait for what it had to send in smaller batches.
            return [future.get(timeout=producer.left_s()).offset for future in futures]

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata], snapshot: ConsumerGroupMetadata) -> None:
        """Commit what was sent, with these offsets.

        Raises `StaleMembership` if the group moved on, `BrokerUnavailable` if the outcome is not known, `LaneLost`.
        """
        with self._guarded() as producer, self._in_time():
            producer.send_offsets_to_transaction(dict(offsets), snapshot)
            producer.commit_transaction()
        # What usually takes long is not begun again and again.
        self._patience_s = min(self._longest_s, max(PATIENCE_S, 4 * (time.monotonic() - self._began)))

    def renew(self) -> None:
        """After a failure, and only as long as this process owns the lane: a new producer.

        What the former one left open has ended when this returns, one way or the other. Raises as `take_over`.
        """
        if self._producer is not None:
            self._producer.abandon()
            self._producer = None
        self.take_over()

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """The next attempt gets more time than one that was cut off."""
        try:
            yield
        except KafkaTimeoutError:
            growth = SLOWER if self._are_all_there() else SAME_AGAIN
            self._patience_s = min(self._longest_s, growth * self._patience_s)
            raise

    def _are_all_there(self) -> bool:
        """Each broker of the cluster takes connections."""
        try:
            for broker in self._producer._metadata.brokers() if self._producer is not None else ():
                socket.create_connection((broker.host, broker.port), timeout=CONNECT_S).close()
        except OSError:
            return False
        return True

    @contextmanager
    def _guarded(self) -> Iterator[_Producer]:
        """Errors of the client become our own; the process ends where the client is silent for too long."""
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
            if isinstance(cause, InvalidTimestampError):
                raise _clock_differs(self._config) from error
            raise BrokerUnavailable(
                f"a commit could not be finished: {type(cause).__name__} {cause}. Nothing is lost: the next attempt "
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


def _clock_differs(config: KafkaConfig) -> BrokerUnavailable:
    """The error for a cluster that refuses records as too new or too old, with this machine's time and its own."""
    theirs = "another time"
    with suppress(KafkaError, BrokerUnavailable, LookupError), connected_admin(config) as admin:
        (partition,) = admin.describe_metadata_quorum()["topics"][0]["partitions"]
        theirs = _at(max(voter["last_caught_up_timestamp"] for voter in partition["current_voters"]))
    return BrokerUnavailable(
        f"the cluster refuses records as too new or too old: this machine's clock says {_at(int(time.time() * 1000))}, "
        f"the cluster's {theirs}. Set the one that is wrong (NTP), or raise message.timestamp.after.max.ms or "
        "message.timestamp.before.max.ms of the topics; nothing is lost, and it goes on by itself"
    )


def _at(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _expire() -> None:
    """On the watchdog's thread: write the stacks of all threads, and end the process."""
    if sys.__stderr__ is not None:
        sys.__stderr__.write("curatord: a commit did not finish in time; the process ends, to be restarted\n")
        faulthandler.dump_traceback(file=sys.__stderr__, all_threads=True)
    os._exit(WatchdogExpired.exit_code)
