"""The commands of the service against a real cluster: what an operator types, and what comes back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from curatord.errors import IdentityError
from tests.integration.broker import Broker
from tests.integration.lane import Instance, Lane, run
from tests.integration.test_service import make_documents, readable
from tests.integration.torture import SETTINGS
from tests.integration.world import end_offsets, produce_documents, wait_until


@pytest.fixture
def lane(broker: Broker, prefix: str, tmp_path: Path) -> Lane:
    return Lane(broker.bootstrap, prefix, tmp_path, SETTINGS.replace("max_wait_s = 45.0", "max_wait_s = 3.0"))


def test_from_an_empty_cluster_to_a_document_that_was_taken_back(lane: Lane, instance: Instance) -> None:
    config = lane.config("a", lane.bootstrap)
    documents = readable(make_documents(num_rows=300))

    missing = run("validate", "-c", config)
    assert missing.exception is not None
    assert "topics create" in str(missing.exception)
    assert run("topics", "create", "--yes", "-c", config).exit_code == 0
    assert run("topics", "check", "-c", config).exit_code == 0
    valid = run("validate", "-c", config)
    assert valid.exit_code == 0, valid.output
    assert f"lane {lane.prefix}: new" in valid.output
    before = json.loads(run("status", "-c", config, "--json").stdout)
    assert before["epoch"] is None
    assert any("curatord run" in problem for problem in before["problems"])

    produce_documents(lane.bootstrap, lane.topics["documents"], documents, partition=0)
    dry = run("run", "--dry-run", "-c", config, "--json")
    assert json.loads(dry.stdout)["rows"] == len(documents)
    instance.start()
    instance.wait_for("idle_flushed")
    doc_id = json.loads(documents[0])["id"]
    receipt = run("retract", doc_id, "never-seen", "-c", config, "--wait", "--json")
    assert receipt.exit_code == 0
    assert [len(document["versions"]) for document in json.loads(receipt.stdout)["documents"]] == [1, 0]
    told = "taken back  by a retraction"
    wait_until(lambda: told in run("explain", doc_id, "-c", config).output, "the retraction")
    status = run("status", "-c", config, "--json")
    told_status = json.loads(status.stdout)
    assert told_status["epoch"] >= 1
    assert told_status["members"]
    assert set(told_status["lag"].values()) == {0}
    assert "DAMAGED" not in run("inspect", "state", "-c", config).output
    assert f"lane {lane.prefix}: at epoch" in run("validate", "-c", config).output
    assert instance.stop() == 0
    with KafkaAdminClient(bootstrap_servers=lane.bootstrap) as admin:
        admin.create_partitions({lane.topics["sequences"]: 5})
        wait_until(lambda: len(end_offsets(lane.bootstrap, lane.topics["sequences"])) == 5, "the partition")
    altered = run("validate", "-c", config)
    assert isinstance(altered.exception, IdentityError)
    assert "has 5 partitions, lane" in str(altered.exception)


@pytest.mark.parametrize("command", ["validate", "status", "retract x", "run --dry-run", "topics check", "finish"])
def test_without_a_cluster_every_command_says_so(tmp_path: Path, command: str) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[kafka]\nbootstrap_servers = "127.0.0.1:1"\nrequest_timeout_s = 1.0\n')

    result = run(*command.split(), "-c", config)

    assert getattr(result.exception, "exit_code", result.exit_code) == 69
    assert "127.0.0.1:1" in str(result.exception)
