"""The broker over Apache Kafka: documents from a topic, sequences to a topic, exactly once.

One transaction holds the outputs of an epoch, its facts as records of the journal, and how far everything was read. The
marker of the epoch is the group's committed offset *of the journal's partition*: where the journal ends, with epoch and
identity as metadata. So the marker moves with the outputs or not at all, and it says to the record how far a restore
must go. The store is a cache of the journal: written after the commit, without waiting for the disk.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from kafka import TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from consumers.attempts import Attempts
from consumers.broker import CommitReport, JournalRecord, Ownership, RawDocument, RawFeedback
from consumers.formats.dead_letters import coordinates
from consumers.formats.input_config import InputConfig
from consumers.kafka.clients import connected_admin
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.inbox import KafkaInbox
from consumers.kafka.journal_reader import JournalReader
from consumers.kafka.journal_writer import JournalWriter
from consumers.kafka.marker import Marker, check_partitions, decode_marker
from consumers.kafka.membership import Membership
from consumers.kafka.outputs import Outputs
from consumers.kafka.positions import Positions, source_name
from consumers.kafka.prepared_inbox import PreparedInbox
from consumers.kafka.prepared_messages import PreparedMessages
from consumers.kafka.retention import RetentionReader
from consumers.kafka.topics import TopicsConfig
from consumers.kafka.transactions import Outgoing, StaleMembership, Transactions
from curatord.errors import BrokerUnavailable, LaneLost, StateError
from state.common_facts import LANE
from state.epoch import Committed, Epoch
from state.journal import apply_journalled
from state.store import Store

REJOIN_POLL_S = 0.02
FOLLOW_POLL_S = 0.5
RECOMMIT_S = 3600.0  # offsets of partitions that do not move would be forgotten


class KafkaBroker:
    """A member of the lane's group; the owner of the lane from `take_over` on.

    Raises `BrokerUnavailable` if the cluster cannot be reached, `StateError` if topics are missing.
    """

    def __init__(
        self,
        kafka: KafkaConfig,
        topics: TopicsConfig,
        input_config: InputConfig,
        outputs: Outputs,
        store: Store,
        identity: str,
        prepared_identity: str = "",
    ) -> None:
        self._kafka = kafka
        self._topics = topics
        self._outputs = outputs
        self._store = store
        self._identity = identity
        self._journal_partition = TopicPartition(topics.journal, 0)
        self._mark_partition = TopicPartition(topics.artifacts, 0)  # its metadata are the mark
        self._membership = Membership(kafka, topics.prepared or topics.documents)
        self._positions = Positions(store)
        reading = kafka, topics, input_config, self._membership, self._positions
        self._inbox = PreparedInbox(*reading, prepared_identity) if topics.prepared else KafkaInbox(*reading)
        self._transactions = Transactions(kafka)
        self._journal = JournalReader(kafka, topics)
        self._journal_writer = JournalWriter(kafka, topics)
        self._marker: Marker | None = None
        self._retention: RetentionReader | None = None
        self._prepared_messages: PreparedMessages | None = None
        self._recommitted_at = 0.0
        self._process = uuid.uuid4().hex[:16]
        self._is_undecided = False  # an attempt failed, and may count
        self.last_commit = CommitReport()

    def join(self) -> None:
        """Stand by for the lane."""
        self._membership.join()

    def ownership(self) -> Ownership:
        """As of the latest poll."""
        return self._membership.ownership

    def ended(self) -> bool:
        """Never: a topic has no end."""
        return False

    def poll(self, max_rows: int, timeout_s: float) -> list[RawDocument]:
        """The next rows, as `KafkaInbox.poll`."""
        return self._inbox.poll(max_rows, timeout_s)

    def feedback(self, max_records: int) -> list[RawFeedback]:
        """The next messages of trainers and scorers, as `KafkaInbox.feedback`."""
        return self._inbox.feedback(max_records)

    def passed(self) -> dict[str, int]:
        """Positions behind records that no reader is given, as `KafkaInbox.passed`."""
        return self._inbox.passed()

    def lag(self) -> dict[str, int]:
        """Messages that wait, by partition. Raises `BrokerUnavailable`."""
        return self._inbox.lag()

    @property
    def attempts(self) -> Attempts:
        """The ends of earlier lives, once the lane is taken over."""
        return self._inbox.attempts

    def _keep(self, mark: bytes, *, wait: bool) -> None:
        """In the group, where the next owner finds it: outside of transactions, which a death undoes."""
        self._membership.note(self._mark_partition, mark.decode(), wait=wait)

    def take_over(self) -> Committed:
        """Fence the owner before, and learn how far it came. The very first owner begins the journal.

        Raises `StateError` if the journal is there but the marker is not, `LaneLost` if another process was faster.
        """
        silent_s = self._membership.silent_s
        self._membership.settle()
        # To fence is not to be undone: it would hit the process that took the lane while this one was frozen.
        if silent_s > self._kafka.session_timeout_s or self.ownership() is not Ownership.OWNER:
            raise LaneLost("the lane went to another process before this one had taken it over")
        self._transactions.renew()
        left = self._membership.committed(self._mark_partition, self._kafka.request_timeout_s)
        self._inbox.attempts = Attempts(self._keep, b"" if left is None else left.metadata.encode())
        self._recommitted_at = time.monotonic()
        if self.committed() is None:
            first, end = self._membership.bounds([self._journal_partition], self._kafka.request_timeout_s)[
                self._journal_partition
            ]
            # A first owner that died in the middle of epoch 0 left what was aborted.
            if first or self._journal.holds_records(first, end):
                raise StateError(
                    f"the journal {self._topics.journal} holds epochs (offsets {first} to {end}), but the group "
                    f"{self._kafka.lane} has no marker for it: its offsets were deleted, or the journal belongs to "
                    "another lane. See docs/operating.md#marker-gone"
                )
            self._begin()
        committed = self.committed()
        assert committed is not None
        return committed

    def _begin(self) -> None:
        """Epoch 0: where the inputs begin, and the name of this journal."""
        self._marker = Marker(e=0, lane=uuid.uuid4().hex, id=self._identity, p=self._outputs.num_partitions)
        epoch = Epoch(number=0, identity=self._identity)
        # The first message of prepared documents says where they begin.
        partitions = [] if self._topics.prepared else self._membership.partitions
        for partition, (first, _) in self._membership.bounds(partitions, self._kafka.request_timeout_s).items():
            epoch.positions[source_name(partition)] = first
        LANE.put(epoch, None, self._marker.lane)
        epoch.stamp()
        self.commit(epoch)

    def committed(self) -> Committed | None:
        """The marker of the group; None before the first owner.

        Raises `StateError` if it is not that of this state, `IdentityError` as `check_partitions`.
        """
        found = self._membership.committed(self._journal_partition, self._kafka.request_timeout_s)
        if found is None:
            return None
        marker = decode_marker(found.metadata)
        num_partitions = self._outputs.num_partitions
        check_partitions(marker, num_partitions, topic=self._topics.sequences, lane=self._kafka.lane)
        self._marker = msgspec.structs.replace(marker, p=num_partitions)
        local = LANE.get(self._store, None)
        if local is not None and local != self._marker.lane:
            raise StateError(
                f"the state in {self._store.folder} belongs to another journal than {self._topics.journal}: one of "
                "them was made anew. If that was on purpose, move the state folder away, and the lane's folder in "
                "state.snapshot_dir with it, and start again; else see docs/operating.md#journal-lost"
            )
        return Committed(epoch=self._marker.e, identity=self._marker.id, journal_end=found.offset)

    def journal(self, *, from_offset: int, follow: bool) -> Iterator[JournalRecord | None]:
        """The epochs from an offset on. With `follow` until the lane is this process's; None while there is none."""
        if follow:
            for record in self._journal.read(from_offset, None):
                # Behind a long journal only now and then.
                if record is None or self._membership.silent_s > FOLLOW_POLL_S:
                    self._membership.keep_alive()
                if self.ownership() is not Ownership.STANDBY:
                    return
                yield record
            return
        end = self._membership.committed(self._journal_partition, self._kafka.request_timeout_s)
        for record in self._journal.read(from_offset, end.offset if end is not None else from_offset):
            self._membership.keep_alive()
            yield record

    def complete(self, epoch: Epoch) -> None:
        """Nothing: the loop waits for a commit, which makes facts of the positions itself."""

    def commit(self, epoch: Epoch) -> None:
        """One transaction, then the store.

        Raises `LaneLost`, or `BrokerUnavailable` if the outcome is not known: then this must be called again with the
        same epoch, or the process must end.
        """
        # It may have joined again since, and would commit with a membership that is good.
        self._membership.check_lane()
        began = time.monotonic()
        offset = self._decided(epoch) if self._is_undecided else None
        self._is_undecided = True
        journal_bytes = 0
        if offset is None:
            offset, journal_bytes = self._send(epoch)
        self._is_undecided = False
        transaction_s, num_repeated = time.monotonic() - began, self._inbox.take_repeated()
        self.last_commit = CommitReport(
            transaction_s=transaction_s, journal_bytes=journal_bytes, num_repeated=num_repeated
        )
        apply_journalled(self._store, epoch.changes(), offset)

    def _decided(self, epoch: Epoch) -> int | None:
        """After an attempt that failed: a new producer, which ends it. Where the journal goes on, if it did count.

        Raises `LaneLost` if another process committed meanwhile, `BrokerUnavailable`.
        """
        self._prove_ownership()
        self._transactions.renew()
        committed = self.committed()
        if committed is None or committed.epoch == epoch.number - 1:
            return None
        assert self._marker is not None
        if committed.epoch != epoch.number or self._marker.by != self._process:
            raise LaneLost(f"another process committed epoch {committed.epoch} while this one was at {epoch.number}")
        return committed.journal_end

    def _prove_ownership(self) -> None:
        """Hear from the group: only an owner may make a producer, and one that was frozen would fence its heir.

        Raises `LaneLost` if it owns the lane no more, `BrokerUnavailable` if the group does not answer.
        """
        began = time.monotonic()
        while not self._membership.is_heard_since(began):
            if time.monotonic() - began > self._kafka.session_timeout_s / 2:
                raise BrokerUnavailable("the group does not answer, in the middle of a commit")
            self.keep_alive()
            time.sleep(REJOIN_POLL_S)
        self.keep_alive()

    def _send(self, epoch: Epoch) -> tuple[int, int]:
        """Where the journal goes on after the epoch, and its bytes there. Raises as `commit`."""
        self._positions.put(epoch)
        records = self._outputs.records(epoch, self._store)
        journal = self._journal_writer.records(epoch)
        snapshot = self._membership.snapshot
        try:
            offset = self._transact(records + journal, epoch, snapshot)
        except StaleMembership:
            # A standby joined in the middle, and nothing was committed: once more, with the membership of now. Only an
            # owner may make a new producer: a process that is none any more would fence the one that is.
            snapshot = self._membership_after(snapshot)
            self._transactions.renew()
            try:
                offset = self._transact(records + journal, epoch, snapshot)
            except StaleMembership as error:
                raise LaneLost(f"the group moved on twice in one commit: {error}") from error
        return offset, sum(len(record.value or b"") for record in journal)

    def _membership_after(self, former: Any) -> Any:
        """The group's metadata after these, as soon as this member has them.

        Raises `LaneLost` if it owns no more, `BrokerUnavailable` if the group does not say in time.
        """
        deadline = time.monotonic() + self._kafka.session_timeout_s
        while self.ownership() is not Ownership.LOST and time.monotonic() < deadline:
            self._membership.keep_alive()
            is_owner = self.ownership() is Ownership.OWNER
            # While it joins, what it has is of a generation that is about to end.
            if is_owner and not self._membership.is_joining and self._membership.snapshot != former:
                return self._membership.snapshot
            time.sleep(REJOIN_POLL_S)
        self._membership.check_lane()
        raise BrokerUnavailable("the group did not take this process in again in the middle of a commit")

    def _transact(self, records: list[Outgoing], epoch: Epoch, snapshot: Any) -> int:
        """One attempt; where the journal goes on after it."""
        assert self._marker is not None
        offsets = self._transactions.send(records)
        next_offset = offsets[-1] + 1
        marker = msgspec.structs.replace(self._marker, e=epoch.number, by=self._process)
        positions = self._offsets(epoch.positions)
        positions[self._journal_partition] = OffsetAndMetadata(next_offset, msgspec.json.encode(marker).decode(), -1)
        self._transactions.commit(positions, snapshot)
        return next_offset

    def _offsets(self, positions: Mapping[str, int]) -> dict[TopicPartition, OffsetAndMetadata]:
        """The partitions that moved; now and then all of them. Feedback has its positions in the facts alone.

        Raises `LaneLost` if one is not this process's: outputs without their inputs' offsets would be made again.
        """
        partitions = self._membership.partitions
        if self._topics.prepared:
            partitions += [TopicPartition(self._topics.documents, own.partition) for own in partitions]
        named = {source_name(partition): partition for partition in partitions}
        wanted = dict(positions)
        if time.monotonic() - self._recommitted_at > RECOMMIT_S:
            self._recommitted_at = time.monotonic()
            for source in named.keys() - wanted.keys():
                known = self._positions.of(source)
                if known is not None:
                    wanted[source] = known
        inputs = self._topics.documents, self._topics.prepared
        wanted = {source: at for source, at in wanted.items() if coordinates(source)[0] in inputs}
        if foreign := wanted.keys() - named.keys():
            raise LaneLost(f"{', '.join(sorted(foreign))} went to another process before it was committed")
        return {named[source]: OffsetAndMetadata(at, "", -1) for source, at in wanted.items()}

    def keep_alive(self) -> None:
        """Stay a member of the group. Raises `LaneLost` if the lane went to another process."""
        self._membership.keep_alive()
        self._membership.check_lane()

    def _prepared(self) -> PreparedMessages:
        self._prepared_messages = self._prepared_messages or PreparedMessages(self._kafka)
        return self._prepared_messages

    def prepared_message(self, source: str, offset: int) -> bytes:
        """As `PreparedMessages.read`."""
        self._membership.keep_alive()
        return self._prepared().read(source, offset)

    def retained_places(self, sources: Sequence[str]) -> dict[str, tuple[int, int]]:
        """As `PreparedMessages.retained`."""
        return self._prepared().retained(sources)

    def retained_from(self, generation: int, next_seq_no: int) -> int | None:
        """The first sequence of a generation that the topic still holds, with all that follow.

        Raises `BrokerUnavailable`, `CorruptSequence`.
        """
        if self._retention is None:
            self._retention = RetentionReader(self._kafka, self._topics.sequences, self._outputs.num_partitions)
        return self._retention.retained_from(generation, next_seq_no)

    def cut_journal(self, *, before_offset: int) -> None:
        """Delete the journal before an offset. Raises `BrokerUnavailable`."""
        admin = connected_admin(self._kafka)
        try:
            admin.delete_records({self._journal_partition: before_offset})
        except KafkaError as error:
            raise BrokerUnavailable(f"the journal could not be cut: {error}") from error
        finally:
            admin.close()

    def close(self) -> None:
        """Leave the group, so that a standby takes over at once."""
        self._membership.close()
        self._transactions.close()
        self._journal.close()
        self._inbox.close()
        self._journal_writer.close()
        if self._retention is not None:
            self._retention.close()
