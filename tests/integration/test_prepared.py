"""Workers before a lane, on a real broker: the sequences of the embedded pipeline, also when workers die."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from functools import partial
from itertools import cycle
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, TopicPartition

from consumers.broker import PreparedRow
from consumers.formats.prepared import decode_message
from consumers.kafka.clients import group_offsets
from curatord.errors import IdentityError, UsageError
from daemon.config import load_config
from daemon.prepared.identity import prepared_identity
from packing.held_blocks import BLOCKS
from packing.tokenizer import open_tokenizer
from state.journal import decode_changes
from tests.integration.audit import audit
from tests.integration.broker import Broker
from tests.integration.lane import Instance, Lane, run
from tests.integration.test_kafka_python import transactional_producer
from tests.integration.test_service import feed, make_documents
from tests.integration.test_set_aside import deadly
from tests.integration.torture import SETTINGS, cutting, undisturbed, visible_in_pseq
from tests.integration.world import end_offsets, produce_documents, read_topic, wait_until

SELECTING = (
    SETTINGS.replace("max_wait_s = 45.0", "max_wait_s = 3600.0")
    + """
[bandit]
enabled = true
reward = ["rules"]
[mixture]
rho = 0.7
max_uses = 2
gap = 8
buffer_documents = 8
"""
)
FEW = """
[daemon]
epoch_s = 0.25
[output]
max_wait_s = 1.0
[packing]
context_length = 512
mode = "best_fit"
"""


@pytest.fixture
def lane(broker: Broker, prefix: str, tmp_path: Path) -> Lane:
    return Lane(broker.bootstrap, prefix, tmp_path, SELECTING, is_prepared=True)


def produce(lane: Lane, documents: list[bytes]) -> None:
    produce_documents(lane.bootstrap, lane.topics["documents"], documents, partition=0)


def positions(lane: Lane, group: str) -> dict[str, int]:
    with KafkaAdminClient(bootstrap_servers=lane.bootstrap) as admin:
        return {f"{p.topic}-{p.partition}": at.offset for p, at in group_offsets(admin, group).items()}


def wait_for_lane(lane: Lane, position: int) -> None:
    source = f"{lane.topics['documents']}-0"
    wait_until(lambda: positions(lane, lane.prefix).get(source) == position, f"the lane at {position}")


def wait_for_workers(lane: Lane, position: int) -> None:
    source = f"{lane.topics['documents']}-0"
    wait_until(lambda: positions(lane, f"{lane.prefix}-prepare").get(source) == position, f"workers at {position}")


def test_a_lane_changes_to_workers_that_are_killed_and_frozen_and_back(lane: Lane) -> None:
    lane.create_topics()
    lane.variants = {f"w{number}": cutting(SELECTING, number) for number in (7, 40, 100)}
    documents = make_documents(num_rows=1700)
    owner = Instance(lane, "a", lane.bootstrap, ("tests.hasty",))
    workers = [Instance(lane, name, lane.bootstrap, command="prepare") for name in lane.variants]
    prepared = lane.topics.pop("prepared")
    try:
        owner.start()
        produce(lane, documents[:540])
        wait_for_lane(lane, 540)
        assert owner.stop() == 0

        lane.topics["prepared"] = prepared
        for instance in (owner, *workers):
            instance.start()
        _feed_among_faults(workers, documents[540:860], 540)
        wait_for_lane(lane, 860)
        owner.kill()
        owner.wipe()  # tokens of what is held are on the topic, and the journal names their places
        owner.start()
        _feed_among_faults(workers, documents[860:1100], 860)
        wait_for_lane(lane, 1100)
        assert {worker.stop() for worker in workers} <= {0, -signal.SIGTERM}  # which ends one that still starts
        end = end_offsets(lane.bootstrap, prepared)[0]
        with KafkaAdminClient(bootstrap_servers=lane.bootstrap) as admin:
            admin.delete_records({TopicPartition(prepared, 0): end})
        owner.wait_for("places_cut")
        assert owner.stop() == 0
        owner.wipe()  # and after a cut in the journal itself

        del lane.topics["prepared"]
        lane.settings = SELECTING.replace("max_wait_s = 3600.0", "max_wait_s = 4.0")
        owner.start()
        feed(owner, documents[1100:])
        assert owner.stop() == 0
    finally:
        for instance in (owner, *workers):
            instance.kill()

    assert end_offsets(lane.bootstrap, prepared)[0] == end > 7
    assert num_placed(lane) > 0
    found = audit(lane, len(documents))  # which takes what the mixture repeats for a fault
    assert found.journal.ledger.rows_read == len(documents)
    assert list(map(visible_in_pseq, found.sequences)) == list(map(visible_in_pseq, undisturbed(lane, documents)))


def num_placed(lane: Lane) -> int:
    """Blocks of held documents that the journal names by their places."""
    parts = [record.value for record in read_topic(lane.bootstrap, lane.topics["journal"])]
    blocks = [
        BLOCKS.value.decode(value)
        for record in parts
        for family, key, value in decode_changes([record])
        if family == "held" and key.startswith(BLOCKS.prefix) and isinstance(value, bytes)
    ]
    return sum(not block.is_read for block in blocks)


def _feed_among_faults(workers: list[Instance], documents: list[bytes], first: int) -> None:
    """The worker that has the partition is killed, the next is frozen for longer than the group waits."""
    lane = workers[0].lane
    faults = cycle(("", "kill", "freeze"))
    for start in range(0, len(documents), 80):
        at_work = next((worker for worker in workers if worker.process and _has_partition(worker)), workers[0])
        produce(lane, documents[start : start + 80])
        fault = next(faults)
        if fault == "kill":
            at_work.send(signal.SIGKILL)
        elif fault == "freeze":
            at_work.send(signal.SIGSTOP)
            time.sleep(1.5 * lane.session_timeout_s)
            at_work.send(signal.SIGCONT)
        end = first + min(start + 80, len(documents))
        source = f"{lane.topics['documents']}-0"
        wait_until(partial(_are_at_work, workers, source, end), f"workers at {end}")


def _are_at_work(workers: list[Instance], source: str, end: int) -> bool:
    for worker in workers:
        worker.supervise()
    return positions(workers[0].lane, f"{workers[0].lane.prefix}-prepare").get(source) == end


def _has_partition(worker: Instance) -> bool:
    with suppress(OSError, IndexError):
        return worker.metric("curatord_prepared_partitions") > 0
    return False


def test_what_retention_cut_is_refused_and_prepared_again(lane: Lane) -> None:
    lane.settings = FEW
    config = lane.config("a", lane.bootstrap)
    assert run("topics", "create", "--yes", "--partitions", 1, "-c", config).exit_code == 0
    owner, worker = Instance(lane, "a", lane.bootstrap), Instance(lane, "w", lane.bootstrap, command="prepare")
    documents = [b'{"id": "%d", "text": "some text of number %d"}' % (number, number) for number in range(40)]
    source, prepared = f"{lane.topics['documents']}-0", f"{lane.topics['prepared']}-0"
    try:
        owner.start()
        worker.start()
        with transactional_producer(lane.bootstrap, lane.prefix + "-producer") as producer:
            producer.begin_transaction()
            for document in documents[:10]:
                producer.send(lane.topics["documents"], document, partition=0)
            producer.commit_transaction()
        owner.wait_for("idle_flushed")
        wait_for_lane(lane, 11)  # behind the marker of the transaction
        shown = run("status", "-c", config).output
        assert "Workers   curatord-" in shown
        assert "0 messages wait for them" in shown
        assert "PROBLEM" not in shown.replace("no process answers", "")
        assert "messages in 1 of 1 partitions" in run("validate", "-c", config).output
        assert isinstance(run("prepare", "--again", "-c", config).exception, UsageError)

        assert owner.stop() == 0
        produce(lane, documents[10:20])
        wait_for_workers(lane, 21)
        end = end_offsets(lane.bootstrap, lane.topics["prepared"])[0]
        with KafkaAdminClient(bootstrap_servers=lane.bootstrap) as admin:
            admin.delete_records({TopicPartition(lane.topics["prepared"], 0): end})
        produce(lane, documents[20:30])
        wait_for_workers(lane, 31)
        owner.start()
        assert owner.wait() == 65
        assert "from 21 on, and it was read up to 11: 10 positions are missing" in owner.events("stopped")[-1]["reason"]

        assert worker.stop() == 0
        again = run("prepare", "--again", "-c", config)
        assert (again.exit_code, f"{source} is prepared from 11 on" in again.output) == (0, True), again.output
        assert positions(lane, lane.prefix)[prepared] == end_offsets(lane.bootstrap, lane.topics["prepared"])[0]
        owner.start()
        worker.start()
        produce(lane, documents[30:])
        wait_for_lane(lane, 41)
        assert [owner.stop(), worker.stop()] == [0, 0]
    finally:
        owner.kill()
        worker.kill()

    assert audit(lane, len(documents)).anomalies == []


def test_a_document_that_ends_workers_is_set_aside_and_stops_nothing(lane: Lane) -> None:
    lane.settings = FEW
    file = lane.config("w", lane.bootstrap)
    assert run("topics", "create", "--yes", "--partitions", 1, "-c", file).exit_code == 0
    worker = Instance(lane, "w", lane.bootstrap, ("tests.deadly", "kill"), command="prepare")
    documents = [b'{"id": "%d", "text": "some text of number %d"}' % (number, number) for number in range(20)]
    documents[7] = deadly(7)
    try:
        worker.start()
        produce(lane, documents)
        for _ in range(2):
            assert worker.wait() == -signal.SIGKILL
            worker.start()
        wait_for_workers(lane, 20)
        assert worker.stop() == 0
    finally:
        worker.kill()

    config = load_config(file)
    identity = prepared_identity(config, open_tokenizer(config.tokenizer))
    rows = [
        row
        for record in read_topic(lane.bootstrap, lane.topics["prepared"])
        for row in decode_message(record.value, identity, "a message").rows
    ]
    assert [row.position for row in rows] == list(range(20))
    assert [event["position"] for event in worker.events("set_aside")] == [7]
    batch = rows[7].value
    assert isinstance(batch, PreparedRow)
    assert batch.batch.slice(batch.row, 1).to_pylist()[0]["reason"] == "took_process_down"
    lane.settings += "[dedup.near]\nshingle_words = 4\n"
    refused = run("validate", "-c", lane.config("other", lane.bootstrap)).exception
    assert isinstance(refused, IdentityError)
    assert "dedup.near.shingle_words: it was prepared with 5, now it is 4" in str(refused)


def test_partitions_that_are_added_while_workers_run_are_prepared_and_decided(lane: Lane) -> None:
    lane.settings = FEW
    config = lane.config("a", lane.bootstrap)
    assert run("topics", "create", "--yes", "--partitions", 1, "-c", config).exit_code == 0
    hasty = ("tests.hasty",)
    owner = Instance(lane, "a", lane.bootstrap, hasty)
    workers = [Instance(lane, name, lane.bootstrap, hasty, command="prepare") for name in ("v", "w")]
    documents = [b'{"id": "%d", "text": "some text of number %d"}' % (number, number) for number in range(60)]
    try:
        for instance in (owner, *workers):
            instance.start()
        produce(lane, documents[:20])
        wait_for_lane(lane, 20)
        with KafkaAdminClient(bootstrap_servers=lane.bootstrap) as admin:  # the documents' topic is another team's
            admin.create_partitions({lane.topics["documents"]: 3})
        added = run("topics", "create", "--yes", "-c", config)
        assert added.exit_code == 0, added.output
        for number in (1, 2):
            produce_documents(
                lane.bootstrap, lane.topics["documents"], documents[20 * number : 20 * number + 20], partition=number
            )
        names = [f"{lane.topics['documents']}-{number}" for number in range(3)]
        wait_until(
            lambda: all(positions(lane, lane.prefix).get(name) == 20 for name in names), "the lane at 20 in each"
        )
        assert [instance.stop() for instance in (owner, *workers)] == [0, 0, 0]
    finally:
        for instance in (owner, *workers):
            instance.kill()

    found = audit(lane, len(documents))
    assert found.anomalies == []
    assert found.journal.ledger.rows_read == len(documents)
