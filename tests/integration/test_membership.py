"""The right to commit: joins in the middle of a commit, zombies at the moment of a take-over, strangers to the lane."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from consumers.broker import Ownership
from consumers.kafka.broker import KafkaBroker
from consumers.kafka.clients import group_offsets
from curatord.errors import LaneLost, StateError
from daemon.restore import catch_up
from state.journal import PART_BYTES, journal_position
from tests.integration.broker import Broker
from tests.integration.test_kafka_python import evict, transactional_producer
from tests.integration.test_lane import World, become_owner, facts, make_epoch, run, stand_by
from tests.integration.world import create_topics, produce_documents, read_topic, wait_until


@pytest.fixture
def world(broker: Broker, prefix: str, tmp_path: Path) -> Iterator[World]:
    world = World(broker.bootstrap, prefix, tmp_path)
    world.create_topics()
    yield world
    world.close()


@contextmanager
def standing_by(member: KafkaBroker, *, as_owner: bool = False) -> Iterator[None]:
    """Polls a member that has joined, as its process would, until the end or, without `as_owner`, it has the lane."""
    enough = threading.Event()

    def poll() -> None:
        while not enough.is_set() and (as_owner or member.ownership() is Ownership.STANDBY):
            member._membership.poll(0.05, 1)

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def test_a_standby_that_joins_in_the_middle_of_a_commit_costs_one_more_attempt(world: World) -> None:
    owner, store = world.owner("a")
    attempts: list[ConsumerGroupMetadata] = []
    commit = owner._transactions.commit

    def count(offsets: dict[TopicPartition, OffsetAndMetadata], snapshot: ConsumerGroupMetadata) -> None:
        attempts.append(snapshot)
        commit(offsets, snapshot)

    owner._transactions.commit = count  # type: ignore[method-assign,assignment]
    standby, _ = world.member("b")
    standby.join()
    epoch = make_epoch(owner, store)
    with standing_by(standby):
        membership = owner._membership

        def moved() -> bool:
            """The client rejoins in the background: its generation goes on, the snapshot does not."""
            before = membership._snapshot
            membership._consumer.poll(0, max_records=1)
            return bool(membership._consumer.group_metadata() != before)

        wait_until(moved, "the owner to rejoin")
        owner.commit(epoch)

    assert len(attempts) == 2
    assert attempts[0] != attempts[1]
    assert owner.ownership() is Ownership.OWNER
    assert world.outputs() == [b"1"]


def test_an_evicted_owner_does_not_fence_the_one_that_took_over(world: World) -> None:
    owner, store = world.owner("a")
    run(owner, store, 1)
    epoch = make_epoch(owner, store)
    heir, heir_store = world.member("b")
    heir.join()
    commit = owner._transactions.commit

    def commit_late(offsets: dict[TopicPartition, OffsetAndMetadata], snapshot: ConsumerGroupMetadata) -> None:
        evict(world.bootstrap, world.prefix, snapshot.member_id)
        try:
            commit(offsets, snapshot)
        finally:
            # Here it is frozen; the other one takes the lane over before it learns what became of its commit.
            stand_by(heir, heir_store, lambda: False)
            become_owner(heir, heir_store)
            run(heir, heir_store, 1)

    owner._transactions.commit = commit_late  # type: ignore[method-assign,assignment]
    with pytest.raises(LaneLost):
        owner.commit(epoch)
    run(heir, heir_store, 2)

    assert world.outputs() == [b"1", b"2", b"3", b"4"]


def test_an_owner_that_hears_in_the_middle_of_work_that_it_lost_the_lane_commits_nothing(world: World) -> None:
    produce_documents(world.bootstrap, world.topics.documents, [b"{}"] * 100, partition=0)
    owner, store = world.owner("a")
    heir, _ = world.member("b")
    heir.join()
    with standing_by(heir, as_owner=True):
        run(owner, store, 1)
        epoch = make_epoch(owner, store)
        former = owner._membership.snapshot
        evict(world.bootstrap, world.prefix, former.member_id)

        def is_back() -> bool:
            """With a good membership, so that the group would take its commit."""
            owner._membership.keep_alive()
            member = owner._membership
            return owner.ownership() is Ownership.LOST and member._is_member() and member.snapshot != former

        wait_until(is_back, "the owner to join again")

    with pytest.raises(LaneLost):
        owner.keep_alive()
    with pytest.raises(LaneLost):
        owner.commit(epoch)
    assert world.outputs() == [b"1"]


def test_a_join_that_is_answered_while_a_member_works_is_not_begun_anew(world: World) -> None:
    owner, _ = world.owner("a")
    membership = owner._membership
    coordinator, former = membership._consumer._coordinator, membership.snapshot
    join, joins = coordinator._do_join_and_sync_async, []

    async def join_slowly() -> object:
        joins.append(time.monotonic())
        answer = await join()
        await coordinator._net.sleep(0.1)  # longer than a poll that does not wait
        return answer

    coordinator._do_join_and_sync_async = join_slowly
    evict(world.bootstrap, world.prefix, former.member_id)
    while (membership.is_joining or not joins) and len(joins) < 20:
        membership.keep_alive()
        time.sleep(0.3)

    assert len(joins) < 20
    assert membership._is_member()
    assert membership.snapshot != former


def test_no_row_of_a_partition_that_is_assigned_in_the_middle_of_work_is_passed_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.kafka.membership.METADATA_AGE_MS", 200)
    documents = world.topics.documents
    owner, _ = world.owner("a")
    assert owner.poll(100, 0.1) == []
    with KafkaAdminClient(bootstrap_servers=world.bootstrap) as admin:
        admin.create_partitions({documents: 3})
    produce_documents(world.bootstrap, documents, [b"{}"] * 5, partition=2)

    def is_assigned() -> bool:
        """While it works, only `keep_alive` polls."""
        owner.keep_alive()
        return TopicPartition(documents, 2) in owner._membership.partitions

    wait_until(is_assigned, "the new partition")
    positions: list[int] = []

    def are_read() -> bool:
        positions.extend(row.position for row in owner.poll(100, 0.2) if row.source == f"{documents}-2")
        return len(positions) >= 5

    wait_until(are_read, "the messages of the new partition")
    assert positions == [0, 1, 2, 3, 4]


def test_nothing_is_committed_without_the_offset_of_an_input_that_was_read(world: World) -> None:
    owner, store = world.owner("a")
    epoch = make_epoch(owner, store)
    epoch.positions[f"{world.topics.documents}-feedback-0"] = 3  # is no partition of the documents
    owner.commit(epoch)
    epoch = make_epoch(owner, store)
    epoch.positions[f"{world.topics.documents}-9"] = 3

    with pytest.raises(LaneLost, match=f"{world.topics.documents}-9 went to another process"):
        owner.commit(epoch)

    assert world.outputs() == [b"1"]


def test_all_positions_are_committed_again_before_they_expire(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    produce_documents(world.bootstrap, world.topics.documents, [b"{}"] * 20, partition=0)
    owner, store = world.owner("a")
    while store.get("inputs", f"{world.topics.documents}-0".encode()) != b"20":
        run(owner, store, 1)
    sent: list[dict[TopicPartition, OffsetAndMetadata]] = []
    commit = owner._transactions.commit

    def listen(offsets: dict[TopicPartition, OffsetAndMetadata], snapshot: ConsumerGroupMetadata) -> None:
        sent.append(offsets)
        commit(offsets, snapshot)

    owner._transactions.commit = listen  # type: ignore[method-assign,assignment]
    run(owner, store, 1)
    monkeypatch.setattr("consumers.kafka.broker.RECOMMIT_S", 0.0)
    run(owner, store, 1)

    documents = world.topics.documents
    often, rarely = ({tp.partition: at.offset for tp, at in one.items() if tp.topic == documents} for one in sent)
    assert often == {}
    assert rarely == {0: 20, 1: 0}


def test_a_large_value_comes_back_from_the_topic_of_artifacts(world: World) -> None:
    owner, store = world.owner("a")
    table = bytes(range(256)) * 8000  # three chunks
    epoch = make_epoch(owner, store)
    epoch.put("embedding", b"table", table)
    owner.commit(epoch)
    owner.close()

    _, restored = world.owner("b")

    assert restored.get("embedding", b"table") == table
    journal = read_topic(world.bootstrap, world.topics.journal)
    assert sum(len(record.value) for record in journal) < 1000
    assert [len(record.value) for record in read_topic(world.bootstrap, world.topics.artifacts)][:2] == [PART_BYTES] * 2


def test_a_journal_that_was_cut_restores_only_a_state_that_has_what_is_gone(world: World) -> None:
    owner, store = world.owner("a")
    run(owner, store, 3)
    owner.close()
    again, _ = world.member("a")
    cut_at = journal_position(store)
    other, other_store = world.owner("b")
    run(other, other_store, 2)
    other.cut_journal(before_offset=cut_at)
    other.close()

    with pytest.raises(StateError, match=r"does not reach back to offset 0.*Remove the state folder"):
        world.owner("c")
    world.members.pop().close()
    again.join()
    stand_by(again, store, lambda: False)
    become_owner(again, store)

    assert facts(store) == facts(other_store)


def test_an_owner_waits_for_the_end_of_a_journal_that_another_clients_transaction_hides(world: World) -> None:
    """The target of a restore is the marker's offset: what readers see now may end before it."""
    owner, store = world.owner("a")
    run(owner, store, 2)
    with transactional_producer(world.bootstrap, f"{world.prefix}-foreign") as foreign:
        foreign.begin_transaction()
        foreign.send(world.topics.journal, b"hides what follows", partition=0)
        foreign.flush()
        run(owner, store, 2)
        owner.close()
        heir, heir_store = world.member("b")
        heir.join()
        stand_by(heir, heir_store, lambda: False)
        committed = heir.take_over()
        seen = []
        for record in heir.journal(from_offset=journal_position(heir_store), follow=False):
            seen.append(record and record.epoch)
            if len(seen) == 20:
                break
            if record is None and len(seen) == 10:
                foreign.abort_transaction()
    assert committed.epoch == 4
    assert seen.count(None) >= 3
    assert [number for number in seen if number is not None][-1] == 4


@pytest.mark.parametrize("journal", ["lost its end", "was made anew"])
@pytest.mark.parametrize("state", ["none", "behind"])
def test_a_journal_that_ends_before_its_marker_stops_a_restore_with_the_reason(
    world: World, monkeypatch: pytest.MonkeyPatch, journal: str, state: str
) -> None:
    monkeypatch.setattr("consumers.kafka.journal_reader.SILENT_S", 0.5)
    owner, store = world.owner("a")
    run(owner, store, 2)
    if state == "behind":
        follower, follower_store = world.member("b")
        list(catch_up(follower, follower.committed(), follower_store))
        follower.close()
    run(owner, store, 2)
    owner.close()
    partition = TopicPartition(world.topics.journal, 0)
    with KafkaAdminClient(bootstrap_servers=world.bootstrap) as admin:
        marker = group_offsets(admin, world.prefix)[partition]
        if journal == "lost its end":
            marker = OffsetAndMetadata(marker.offset + 9, marker.metadata.replace('"e":4', '"e":7'), -1)
        else:
            admin.delete_topics([partition.topic])
            wait_until(lambda: partition.topic not in {t["name"] for t in admin.describe_topics()}, "it to be gone")
            create_topics(world.bootstrap, {partition.topic: 1})
        admin.alter_group_offsets(world.prefix, {partition: marker})
    heir, heir_store = world.member("b")

    with pytest.raises(StateError, match=r"ends at offset .* committed up to .*journal-lost"):
        list(catch_up(heir, heir.committed(), heir_store))


def test_a_standby_is_not_told_to_remove_its_state_when_the_journal_was_made_anew(world: World) -> None:
    owner, store = world.owner("a")
    run(owner, store, 2)
    owner.close()
    journal = world.topics.journal
    with KafkaAdminClient(bootstrap_servers=world.bootstrap) as admin:
        admin.delete_topics([journal])
        wait_until(lambda: journal not in {t["name"] for t in admin.describe_topics()}, "it to be gone")
    create_topics(world.bootstrap, {journal: 1})
    standby, _ = world.member("a")

    with pytest.raises(StateError, match="journal-lost"):
        stand_by(standby, store, lambda: False)


def test_the_first_epoch_is_begun_once(world: World) -> None:
    first, second = (world.member(name) for name in "ab")
    for member, _ in (first, second):
        member.join()
    owners = []
    with standing_by(first[0]), standing_by(second[0]):
        wait_until(lambda: any(m.ownership() is Ownership.OWNER for m, _ in (first, second)), "an owner")
    for member, store in (first, second):
        member._membership.keep_alive()
        if member.ownership() is Ownership.OWNER:
            become_owner(member, store)
            owners.append((member, store))
    assert len(owners) == 1
    run(*owners[0], 2)
    epochs = [dict(record.headers)["epoch"] for record in read_topic(world.bootstrap, world.topics.journal)]
    assert epochs == [b"0", b"1", b"2"]


def test_a_standby_that_comes_late_does_not_wait_for_the_group_at_every_epoch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    produce_documents(world.bootstrap, world.topics.documents, [b"{}"] * 6000, partition=0)
    owner, store = world.owner("a")
    run(owner, store, 100)
    standby, standby_store = world.member("b")
    standby.join()
    poll, polls = standby._membership.poll, []
    monkeypatch.setattr(standby._membership, "poll", lambda *given: polls.append(given) or poll(*given))

    stand_by(standby, standby_store, lambda: standby_store.committed() == store.committed())

    assert len(polls) < 50, "behind a long journal the group is asked now and then"
    assert facts(standby_store) == facts(store)
