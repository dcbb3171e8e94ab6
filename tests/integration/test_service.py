"""The service on a real broker: the sequences of the embedded pipeline, for all messages, after faults too."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pyarrow as pa
import pytest
from kafka import KafkaAdminClient

from state.snapshot import MANIFEST
from tests.integration.audit import audit, replay
from tests.integration.broker import Broker
from tests.integration.lane import Instance, Lane
from tests.integration.maven_broker import MavenBroker
from tests.integration.test_kafka_python import transactional_producer
from tests.integration.torture import SETTINGS, undisturbed, visible_in_pseq, without_new_versions
from tests.integration.world import PATIENCE_S, end_offsets, produce_documents, read_sequences, read_topic, wait_until
from tests.simulation.test_hostile import hostile_rows
from tests.simulation.world import make_drifting_rows, make_rows

NUM_ROWS = 1500


def make_documents(seed: int = 0, num_rows: int = NUM_ROWS) -> list[bytes]:
    """Rows with everything that can happen to an input but for new versions, which the audit cannot follow."""
    rows = [row.value for row in make_rows(seed, num_rows)]
    return without_new_versions([row for row in rows if isinstance(row, bytes)])


@pytest.fixture
def lane(broker: Broker, prefix: str, tmp_path: Path) -> Lane:
    settings = SETTINGS.replace("max_wait_s = 45.0", "max_wait_s = 4.0")
    lane = Lane(broker.bootstrap, prefix, tmp_path, settings)
    lane.create_topics()
    return lane


def feed(instance: Instance, documents: list[bytes]) -> None:
    """Let it take them in, and let everything go."""
    flushes = len(instance.events("idle_flushed"))
    produce_documents(instance.lane.bootstrap, instance.lane.topics["documents"], documents, partition=0)
    instance.wait_for("idle_flushed", count=flushes + 1)


def as_lines(documents: list[bytes], size: int) -> list[bytes]:
    return [b"\n".join(documents[start : start + size]) for start in range(0, len(documents), size)]


def as_arrow(documents: list[bytes], size: int) -> list[bytes]:
    """Only what a table can say: readable records, by their columns."""
    messages = []
    for start in range(0, len(documents), size):
        records = [json.loads(document) for document in documents[start : start + size]]
        columns = {name: [record.get(name) for record in records] for name in ("id", "text", "timestamp")}
        sink = pa.BufferOutputStream()
        batch = pa.record_batch(columns)
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        messages.append(sink.getvalue().to_pybytes())
    return messages


def readable(documents: list[bytes]) -> list[bytes]:
    def is_readable(document: bytes) -> bool:
        try:
            record = json.loads(document)
        except ValueError:
            return False
        return isinstance(record, dict) and isinstance(record.get("text"), str)

    return [document for document in documents if is_readable(document)]


@pytest.mark.parametrize("shape", ["one a message", "many a message"])
def test_the_service_gives_the_sequences_of_the_embedded_pipeline(lane: Lane, instance: Instance, shape: str) -> None:
    documents = make_documents()
    if shape != "one a message":
        documents = readable(documents)
    messages = documents
    if shape != "one a message":
        half = len(documents) // 2
        messages = as_lines(documents[:half], 37) + as_arrow(documents[half:], 50)
    produce_documents(lane.bootstrap, lane.topics["documents"], messages, partition=0)
    instance.start()
    instance.wait_for("idle_flushed")
    assert instance.stop() == 0

    sequences = read_sequences(lane.bootstrap, lane.topics["sequences"])

    assert list(map(visible_in_pseq, sequences)) == list(map(visible_in_pseq, undisturbed(lane, documents)))
    if shape == "one a message":
        assert audit(lane, len(documents)).anomalies == []


def test_a_standby_goes_on_after_term_and_after_a_kill(lane: Lane, instance: Instance) -> None:
    documents = make_documents(seed=1, num_rows=3000)
    third = len(documents) // 3
    instance.start()
    instance.wait_for("restored")
    other = Instance(lane, "b", lane.bootstrap)
    try:
        produce_documents(lane.bootstrap, lane.topics["documents"], documents[:third], partition=0)
        other.start()
        other.wait_for("standing_by")

        instance.send(signal.SIGTERM)
        other.wait_for("restored")
        instance.wait()

        produce_documents(lane.bootstrap, lane.topics["documents"], documents[third : 2 * third], partition=0)
        instance.start()
        instance.wait_for("standing_by")
        other.kill()
        instance.wait_for("restored", count=2)
        flushes = len(instance.events("idle_flushed"))
        produce_documents(lane.bootstrap, lane.topics["documents"], documents[2 * third :], partition=0)
        instance.wait_for("idle_flushed", count=flushes + 1)
        instance.stop()
    finally:
        other.kill()

    assert audit(lane, len(documents)).anomalies == []


def test_a_lane_that_is_killed_while_its_student_is_trained_again_goes_on_as_if_it_had_not_been(
    lane: Lane, instance: Instance
) -> None:
    rows = [row.value for row in make_drifting_rows(3, 600, 5600)]
    documents = readable(without_new_versions([row for row in rows if isinstance(row, bytes)]))
    lane.settings = lane.settings.replace("retrain_drop = 1.0", "retrain_drop = 0.08")
    # The change is noticed and the sample full by 1,600; the new student takes over after 4,096 more.
    half = 3000
    other = Instance(lane, "b", lane.bootstrap)
    try:
        instance.start()
        instance.wait_for("restored")
        other.start()
        other.wait_for("standing_by")
        feed(instance, documents[:half])
        instance.kill()
        other.wait_for("restored")
        feed(other, documents[half:])
        assert other.stop() == 0
    finally:
        other.kill()

    assert [event["version"] for event in instance.events("student_trained")] == [1]
    assert other.events("student_trained")[0]["version"] == 2
    assert audit(lane, len(documents)).anomalies == []


def test_a_lost_disk_comes_back_from_a_snapshot_when_the_journal_was_cut(lane: Lane, instance: Instance) -> None:
    with TemporaryDirectory(dir="/dev/shm") as other_disk:
        lane.snapshot_dir = Path(other_disk)
        documents = make_documents(seed=2)
        half = len(documents) // 2
        instance.start()
        instance.wait_for("restored")
        for start in range(0, half, 100):
            produce_documents(
                lane.bootstrap, lane.topics["documents"], documents[start : min(start + 100, half)], partition=0
            )
            time.sleep(0.5)
        cut = instance.wait_for("journal_truncated")
        instance.kill()
        instance.wipe()
        produce_documents(lane.bootstrap, lane.topics["documents"], documents[half:], partition=0)
        instance.start()
        instance.wait_for("idle_flushed")
        assert instance.stop() == 0

        sequences = read_sequences(lane.bootstrap, lane.topics["sequences"])
        numbers = [sequence.seq_no for sequence in sequences]
        assert cut["before_offset"] > 0
        assert numbers == list(range(len(numbers)))
        decided = replay(read_topic(lane.bootstrap, lane.topics["journal"])).ledger
        assert decided.rows_read == len(documents)


def test_a_journal_that_the_broker_will_not_cut_stops_nothing(lane: Lane, instance: Instance) -> None:
    documents = iter(make_documents(seed=6))

    def produce_until(event: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not instance.events(event):
            assert time.monotonic() < deadline, instance.log_path.read_text()[-3000:]
            produce_documents(lane.bootstrap, lane.topics["documents"], [next(documents)], partition=0)
            time.sleep(0.2)

    with TemporaryDirectory(dir="/dev/shm") as other_disk:
        lane.snapshot_dir = Path(other_disk)
        instance.start()
        produce_until("snapshot_written")
        # The second snapshot lets the journal be cut behind the first: here, far behind the journal's end.
        manifest = next(Path(other_disk).glob(f"*/*/{MANIFEST}"))
        manifest.write_bytes(
            msgspec.json.encode({**msgspec.json.decode(manifest.read_bytes()), "journal_offset": 10**9})
        )
        produce_until("journal_not_cut")
        assert not instance.events("journal_truncated")
        produce_until("journal_truncated")
        assert instance.stop() == 0


def test_a_broker_that_is_away_is_waited_for(own_broker: MavenBroker, prefix: str, tmp_path: Path) -> None:
    lane = Lane(own_broker.bootstrap, prefix, tmp_path, SETTINGS.replace("max_wait_s = 45.0", "max_wait_s = 4.0"))
    lane.create_topics()
    documents = make_documents(seed=3, num_rows=600)
    own_broker.stop()
    instance = Instance(lane, "a", lane.bootstrap)
    try:
        instance.start()
        instance.wait_for("broker_away")
        status, body = instance.get("/readyz")
        assert status == 503
        assert "away" in body
        own_broker.start()
        instance.wait_for("restored")
        assert instance.get("/readyz")[0] == 200
        produce_documents(lane.bootstrap, lane.topics["documents"], documents[:300], partition=0)
        own_broker.stop()  # in the middle
        time.sleep(8)
        own_broker.start()
        produce_documents(lane.bootstrap, lane.topics["documents"], documents[300:], partition=0)

        def is_over() -> bool:
            instance.supervise()
            return bool(instance.events("idle_flushed"))

        wait_until(is_over, "the idle flush")
        instance.stop()
    finally:
        instance.kill()

    assert audit(lane, len(documents)).anomalies == []


def test_a_restore_that_waits_for_a_transaction_of_another_client_ends_when_it_is_asked_to(
    lane: Lane, instance: Instance
) -> None:
    documents = make_documents(seed=7, num_rows=400)
    instance.start()
    instance.wait_for("restored")
    feed(instance, documents[:200])
    with transactional_producer(lane.bootstrap, f"{lane.prefix}-foreign") as foreign:
        foreign.begin_transaction()
        foreign.send(lane.topics["journal"], b"hides what follows", partition=0)
        foreign.flush()
        feed(instance, documents[200:])
        assert instance.stop() == 0
        instance.wipe()
        instance.start()
        instance.wait_for("restoring")
        time.sleep(2)
        assert len(instance.events("restored")) == 1
        assert instance.stop() == 0
        foreign.abort_transaction()


def test_every_hostile_message_becomes_a_dead_letter_with_its_reason(
    lane: Lane, instance: Instance, corpora: Path
) -> None:
    hostile = [row for row in hostile_rows(corpora / "hostile") if len(row) < 4 << 20]
    documents = readable(make_documents(seed=5, num_rows=400))
    produce_documents(lane.bootstrap, lane.topics["documents"], [*documents, *hostile, *documents], partition=0)
    instance.start()
    instance.wait_for("idle_flushed")
    status, metrics = instance.get("/metrics")
    assert instance.stop() == 0

    letters = read_topic(lane.bootstrap, lane.topics["dead_letters"])
    ledger = replay(read_topic(lane.bootstrap, lane.topics["journal"])).ledger
    assert status == 200
    assert "curatord_loop_seconds_total" in metrics
    assert len(letters) == ledger.rows["dead"] > 0
    for letter in letters:
        headers = dict(letter.headers)
        assert headers["__streams.errors.topic"].decode() == lane.topics["documents"]
        assert headers["__streams.errors.message"]
    assert end_offsets(lane.bootstrap, lane.topics["documents"])[0] == len(documents) * 2 + len(hostile)


def test_wrong_surroundings_end_with_a_message_and_an_exit_code(lane: Lane, instance: Instance) -> None:
    produce_documents(lane.bootstrap, lane.topics["documents"], make_documents(num_rows=100), partition=0)
    instance.start()
    instance.wait_for("idle_flushed")
    assert instance.stop() == 0
    lane.settings += "\n[dedup.near]\nshingle_words = 7\n"
    instance.start()
    assert instance.wait() == 65
    assert "dedup.near.shingle_words" in instance.log_path.read_text()
    lane.settings = lane.settings.removesuffix("\n[dedup.near]\nshingle_words = 7\n")
    with KafkaAdminClient(bootstrap_servers=lane.bootstrap) as admin:
        admin.create_partitions({lane.topics["sequences"]: 2})
        wait_until(lambda: len(end_offsets(lane.bootstrap, lane.topics["sequences"])) == 2, "the partition")
    instance.start()
    assert instance.wait() == 65
    assert "has 2 partitions, lane" in instance.log_path.read_text()
    lane.topics["sequences"] = "no-such-topic"
    instance.start()
    assert instance.wait() == 78
    assert "curatord topics create" in instance.log_path.read_text()
