"""Ends and safe points on a real cluster: what a lane sends, what `finish` says, what is left after retention."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from consumers.kafka.retention import RetentionReader
from curatord.errors import ConfigError
from curatord.records import SafePoint, encode_feedback
from curatord.sequence import EndOfStream, decode_end
from daemon.config import load_config
from tests.integration.audit import audit
from tests.integration.broker import Broker
from tests.integration.lane import Instance, Lane, run
from tests.integration.test_service import make_documents, readable
from tests.integration.torture import SETTINGS
from tests.integration.world import end_offsets, produce_documents, read_sequences, read_topic, wait_until

NUM_PARTITIONS = 3
QUANTUM = 4


@pytest.fixture
def lane(broker: Broker, prefix: str, tmp_path: Path) -> Lane:
    return Lane(broker.bootstrap, prefix, tmp_path, SETTINGS.replace("batch_quantum = 2", f"batch_quantum = {QUANTUM}"))


def finish(config: Path, *arguments: str) -> EndOfStream:
    result = run("finish", "-c", config, "--json", *arguments)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["partitions"] == NUM_PARTITIONS
    return EndOfStream(told["generation"], told["seq_no"])


def ends_on(lane: Lane) -> list[list[EndOfStream]]:
    """Of each partition, in order. What stands after an end has its number or a larger one."""
    ends: list[list[EndOfStream]] = [[] for _ in range(NUM_PARTITIONS)]
    for record in read_topic(lane.bootstrap, lane.topics["sequences"]):
        headers = {name: value.decode() for name, value in record.headers}
        seq_no = int(headers["seq_no"])
        if "end" in headers:
            end = decode_end(record.value)
            expected = {"v": "1", "seq_no": str(end.seq_no), "n_tok": "0", "n_seg": "0", "q": str(QUANTUM)}
            assert headers == expected | {"gen": str(end.generation), "end": "1"}
            ends[record.partition].append(end)
        elif ends[record.partition]:
            assert seq_no >= ends[record.partition][-1].seq_no
    return ends


def cut(lane: Lane, partition: int, seq_no: int | None) -> None:
    """Retention takes what a partition holds before a sequence, or all."""
    offset = -1
    if seq_no is not None:
        records = read_topic(lane.bootstrap, lane.topics["sequences"])
        (offset,) = [
            record.offset
            for record in records
            if record.partition == partition
            and dict(record.headers)["seq_no"] == b"%d" % seq_no
            and "end" not in dict(record.headers)
        ]
    with KafkaAdminClient(bootstrap_servers=lane.bootstrap) as admin:
        admin.delete_records({TopicPartition(lane.topics["sequences"], partition): offset})


def test_a_stream_ends_goes_on_and_is_held_against_what_runs_may_need(lane: Lane, instance: Instance) -> None:
    config = lane.config("a", lane.bootstrap)
    documents = readable(make_documents(seed=6, num_rows=500))
    half = len(documents) // 2 + 8
    assert run("topics", "create", "--yes", "--partitions", NUM_PARTITIONS, "-c", config).exit_code == 0
    produce_documents(lane.bootstrap, lane.topics["documents"], documents[:half], partition=0)

    # Without a lane it waits, and changes nothing.
    command = [sys.executable, "-m", "curatord", "finish", "-c", str(config)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, cwd=Path(__file__).parents[2]) as waiting:
        assert waiting.stderr is not None
        assert b"start `curatord run`" in waiting.stderr.readline()
        waiting.send_signal(signal.SIGINT)
        assert b"nothing was changed" in waiting.stderr.read()
    assert waiting.returncode == 130
    assert set(end_offsets(lane.bootstrap, lane.topics["feedback"]).values()) == {0}

    points = [("old", 4), ("new", 8), ("over", 1), ("over", -1)]
    produce_documents(
        lane.bootstrap,
        lane.topics["feedback"],
        [encode_feedback(SafePoint(run_id=name, generation=0, safe_seq_no=at)) for name, at in points],
        partition=1,
    )
    instance.start()
    first = finish(config)
    sequences = read_sequences(lane.bootstrap, lane.topics["sequences"])
    assert [sequence.seq_no for sequence in sequences] == list(range(first.seq_no))
    assert first.seq_no % QUANTUM == 0
    num_fillers = sum(sequence.is_filler for sequence in sequences)
    assert num_fillers == -(len(sequences) - num_fillers) % QUANTUM
    assert ends_on(lane) == [[first]] * NUM_PARTITIONS

    # Documents that come later go on; an end that is asked for twice is the same. The mark after a transaction is no
    # message that the lane could commit.
    with KafkaProducer(bootstrap_servers=lane.bootstrap, transactional_id=lane.prefix + "-producer") as producer:
        producer.init_transactions()
        producer.begin_transaction()
        for document in documents[half:]:
            producer.send(lane.topics["documents"], document, partition=0)
        producer.commit_transaction()
    second = finish(config)
    again = run("finish", "-c", config, "--now")
    assert again.exit_code == 0, again.output
    assert f"ends before sequence {second.seq_no:,} of generation 0" in again.stdout
    assert second.generation == first.generation
    assert second.seq_no > first.seq_no
    assert ends_on(lane) == [[first, second, second]] * NUM_PARTITIONS
    assert [event["seq_no"] for event in instance.events("stream_ended")] == [
        end.seq_no for end in (first, second, second)
    ]
    assert instance.stop() == 0
    assert audit(lane, len(documents)).anomalies == []

    reader = RetentionReader(load_config(config).kafka, lane.topics["sequences"], NUM_PARTITIONS)
    assert reader.retained_from(0, second.seq_no) == 0
    cut(lane, 2, 8)
    cut(lane, 0, 3)
    assert reader.retained_from(0, second.seq_no) == 6
    assert reader.retained_from(1, 0) == 0

    # What runs said outlives the process.
    instance.start()
    lost = instance.wait_for("checkpoint_lost")
    assert (lost["run_id"], lost["safe_seq_no"], lost["retained_from"]) == ("old", 4, 6)
    address = instance.events("started")[-1]["listening"].removeprefix("http://")
    config.write_text(config.read_text().replace("127.0.0.1:0", address))
    status = run("status", "-c", config, "--json")
    told = json.loads(status.stdout)
    assert told["headroom"] == -2
    assert [(each["run_id"], each["safe_seq_no"]) for each in told["runs"]] == [("new", 8), ("old", 4)]
    assert any("#checkpoint-lost" in problem for problem in told["problems"])
    assert instance.stop() == 0

    cut(lane, 1, None)
    wait_until(lambda: reader.retained_from(0, second.seq_no) > 6, "a partition that is empty")
    assert second.seq_no - NUM_PARTITIONS < reader.retained_from(0, second.seq_no) <= second.seq_no
    reader.close()


def test_without_a_topic_of_feedback_no_lane_would_hear_the_request(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[topics]\nfeedback = ""\n')

    result = run("finish", "-c", config)

    assert isinstance(result.exception, ConfigError)
    assert "topics.feedback" in str(result.exception)
