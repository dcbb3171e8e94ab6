"""`curatord topics` on a real cluster: the difference is told, repaired, and gone."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from consumers.kafka.clients import connected_producer
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.outputs import max_sequence_bytes
from daemon.cli import cli
from tests.integration.broker import Broker

NAMES = ("documents", "sequences", "verdicts", "dead_letters", "feedback", "journal", "artifacts")
Run = Callable[..., Result]


def until(attempt: Callable[[], Result], is_enough: Callable[[Result], bool]) -> Result:
    """The first result that is enough: a cluster tells of a change a moment after it was made."""
    deadline = time.monotonic() + 10
    while not is_enough(result := attempt()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return result


def write_config(folder: Path, bootstrap: str, prefix: str, more: str = "") -> Path:
    """A configuration in which every topic begins with `prefix`."""
    path = folder / "curatord.toml"
    listed = "\n".join(f'{name} = "{prefix}-{name}"' for name in NAMES)
    kafka = f'[kafka]\nbootstrap_servers = "{bootstrap}"\nrequest_timeout_s = 2.0'
    path.write_text(f"{more}\n{kafka}\n[topics]\n{listed}\n")
    return path


@pytest.fixture
def run(broker: Broker, prefix: str, tmp_path: Path) -> Run:
    """Runs `curatord topics` with a configuration of the test's own."""
    path = write_config(tmp_path, broker.bootstrap, prefix, "[packing]\ncontext_length = 262144")

    def call(*arguments: str, answer: str = "") -> Result:
        return CliRunner().invoke(cli, ["topics", *arguments, "-c", str(path)], input=answer)

    return call


def test_topics_are_made_once_and_then_as_they_must_be(run: Run, broker: Broker, prefix: str) -> None:
    before = run("check")
    assert before.exit_code == 1
    assert before.output.count("does not exist") == len(NAMES)

    assert run("create", answer="n\n").exit_code != 0
    assert run("check").exit_code == 1
    made = run("create", "--yes", "--partitions", "2")
    assert made.exit_code == 0, made.output
    assert f"+ {prefix}-journal: does not exist; to be made with 1 partition, cleanup.policy = delete" in made.output

    again = run("create")
    assert (again.exit_code, again.output.count("as it must be")) == (0, len(NAMES))
    assert run("check").exit_code == 0
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap) as admin:
        found = admin.describe_topics([f"{prefix}-{name}" for name in NAMES])
    assert {topic["name"].removeprefix(f"{prefix}-"): len(topic["partitions"]) for topic in found} == {
        name: 1 if name in ("journal", "artifacts") else 2 for name in NAMES
    }


def test_a_changed_topic_is_told_and_repaired(run: Run, broker: Broker, prefix: str) -> None:
    run("create", "--yes")
    journal, sequences = f"{prefix}-journal", f"{prefix}-sequences"
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap) as admin:
        admin.alter_configs(
            [
                ConfigResource(ConfigResourceType.TOPIC, journal, {"retention.ms": "1000"}),
                ConfigResource(ConfigResourceType.TOPIC, sequences, {"max.message.bytes": "1000", "retention.ms": "5"}),
            ]
        )
    check = until(lambda: run("check", "--json"), lambda check: check.output.count("max.message.bytes") == 1)
    assert check.exit_code == 1
    told = {(found["topic"], found["option"]): found for found in json.loads(check.output)}
    assert set(told) == {(journal, "retention.ms"), (sequences, "max.message.bytes")}
    assert told[journal, "retention.ms"]["wanted"] == "-1"

    assert run("create", "--yes").exit_code == 0
    assert run("check").exit_code == 0
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap) as admin:
        resource = ConfigResource(ConfigResourceType.TOPIC, sequences, {"retention.ms": None})
        kept = admin.describe_configs([resource], config_filter="all")["topic"][sequences]["retention.ms"]["value"]
    assert kept == "5"  # the operator's choice


def test_a_journal_of_two_partitions_is_told_and_left_alone(run: Run, broker: Broker, prefix: str) -> None:
    run("create", "--yes")
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap) as admin:
        admin.create_partitions({f"{prefix}-journal": 2})
    until(lambda: run("check"), lambda check: check.exit_code == 1)
    for command in (["check"], ["create", "--yes"]):
        result = run(*command)
        assert result.exit_code == 1
        assert f"! {prefix}-journal: has 2 partitions, must have 1" in result.output


def test_the_longest_record_of_256k_tokens_goes_through(run: Run, broker: Broker, prefix: str) -> None:
    run("create", "--yes")
    value = random.Random(0).randbytes(max_sequence_bytes(262_144))  # cannot be compressed
    producer = connected_producer(KafkaConfig(bootstrap_servers=broker.bootstrap))
    future = producer.send(f"{prefix}-sequences", value, partition=0, headers=[("seq_no", b"1" * 18)])
    producer.flush(timeout=30)
    assert future.succeeded(), future.exception
    producer.close()


def test_without_a_broker_the_message_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        bootstrap = f"127.0.0.1:{taken.getsockname()[1]}"
        path = write_config(tmp_path, bootstrap, "x")
        # In a process of its own: kafka-python leaves a socket open for each refused connection.
        command = [sys.executable, "-m", "curatord", "topics", "check", "-c", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 69
    assert f"curatord: no broker answers at {bootstrap}" in done.stderr
    assert "Traceback" not in done.stderr
