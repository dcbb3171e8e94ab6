from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from tests.integration.broker import BOOTSTRAP_VARIABLE, Broker, GivenBroker, open_broker
from tests.integration.maven_broker import PORTS, MavenBroker, NoBroker, free_ports, kafka_jars
from tests.integration.world import create_topics, produce_documents, read_topic, wait_until

ROOT = Path(__file__).parents[2]


def java_of(folder: Path) -> list[int]:
    """The processes that have this broker's folder on their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:  # ended meanwhile
            continue
    return found


@pytest.fixture
def without_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with no container engine, no java and no maven."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(BOOTSTRAP_VARIABLE, raising=False)


def test_the_shared_broker_answers(broker: Broker):
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap) as admin:
        assert len(admin.describe_cluster()["brokers"]) >= 1


def test_a_broker_comes_back_with_its_data_and_leaves_nothing_behind(own_broker: MavenBroker, prefix: str):
    create_topics(own_broker.bootstrap, {prefix: 1})
    produce_documents(own_broker.bootstrap, prefix, [b"before"])
    bootstrap = own_broker.bootstrap
    own_broker.restart()
    assert own_broker.bootstrap == bootstrap
    produce_documents(own_broker.bootstrap, prefix, [b"after"])
    assert [record.value for record in read_topic(bootstrap, prefix)] == [b"before", b"after"]
    assert java_of(own_broker.folder)
    own_broker.stop()
    assert not java_of(own_broker.folder)
    own_broker.stop()
    own_broker.close()
    assert not own_broker.folder.exists()
    own_broker.close()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")
def test_a_broker_ends_with_a_process_that_is_killed(maven_broker: MavenBroker):
    script = "from tests.integration import maven_broker as m; print(m.MavenBroker().folder, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert folder.is_dir()
        assert java_of(folder)
        process.kill()
    wait_until(lambda: not java_of(folder) and not folder.exists(), "the end of the broker")


def test_a_broker_that_is_named_is_taken_and_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(BOOTSTRAP_VARIABLE, "kafka.example:9092")
    opened: object = open_broker()
    assert opened == GivenBroker("kafka.example:9092")


@pytest.mark.usefixtures("without_programs")
def test_without_any_broker_the_message_says_what_to_install():
    with pytest.raises(NoBroker, match=r"Set CURATORD_TEST_BOOTSTRAP .* container engine .* install java 17 and maven"):
        open_broker()


@pytest.mark.usefixtures("without_programs")
@pytest.mark.parametrize(("ci", "outcome"), [("", "1 skipped"), ("1", "1 error")], ids=["elsewhere", "in CI"])
def test_without_any_broker_tests_skip_but_never_in_ci(monkeypatch: pytest.MonkeyPatch, ci: str, outcome: str):
    monkeypatch.setenv("CI", ci)
    test = f"{Path(__file__).relative_to(ROOT)}::test_the_shared_broker_answers"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", test]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert outcome in done.stdout.splitlines()[-1], done.stdout + done.stderr
    assert "install java 17 and maven" in done.stdout


def test_jars_that_cannot_be_fetched_leave_no_half_filled_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "bin").mkdir()
    for name, script in (("java", "exit 0"), ("mvn", "echo no such host; exit 1")):
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(NoBroker, match="no such host"):
        kafka_jars()
    assert list((tmp_path / "cache" / "curatord").iterdir()) == []


def test_ports_are_different_and_outside_the_range_of_outgoing_connections():
    ports = free_ports(4)
    assert len(set(ports)) == 4
    assert set(ports) <= set(PORTS)
