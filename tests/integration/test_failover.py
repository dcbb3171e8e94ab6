"""The owner lives through the deaths of brokers, one of three at a time; it waits while two are down."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from curatord.errors import BrokerUnavailable, LaneLost
from tests.integration.broker import Broker
from tests.integration.failover import fail_over
from tests.integration.lane import run as run_command
from tests.integration.maven_broker import MavenCluster, NoBroker
from tests.integration.test_kafka_python import evict
from tests.integration.test_lane import World, make_epoch, run
from tests.integration.world import wait_until

HOUR_S = 3600.0


@pytest.fixture
def world(broker: Broker, prefix: str, tmp_path: Path) -> Iterator[World]:
    world = World(broker.bootstrap, prefix, tmp_path)
    world.create_topics()
    yield world
    world.close()


@pytest.fixture
def cluster(broker: Broker) -> Iterator[MavenCluster]:
    """Three brokers of their own, where a broker can be had at all (`broker` says so)."""
    try:
        cluster = MavenCluster()
    except NoBroker as error:
        pytest.skip(str(error))
    yield cluster
    cluster.close()


def test_an_owner_lives_through_the_deaths_of_leaders_and_coordinators_and_waits_while_two_are_down(
    cluster: MavenCluster, prefix: str, tmp_path: Path
) -> None:
    done, report = fail_over(cluster, tmp_path, prefix, ["journal", "transaction"], two_for_s=5.0)

    assert report.anomalies == []
    assert report.exits == {0: 1}
    assert len(done.kills) == 3
    assert done.owner.events("broker_away")

    config = done.lane.config("a", done.lane.bootstrap)
    cluster.brokers[0].stop()
    wait_until(lambda: lag(config) == {f"{done.lane.topics['documents']}-0": 0}, "the lag, of the next leader")
    new = tmp_path / "new.toml"
    new.write_text(config.read_text().replace(prefix, f"new-{prefix}"))
    made = run_command("topics", "create", "--yes", "--replication", 3, "-c", new)  # one copy comes later
    assert made.exit_code == 0, made.output
    assert run_command("topics", "check", "-c", new).exit_code == 0
    validated = run_command("validate", "-c", new)
    assert validated.exit_code == 0, validated.output


def lag(config: Path) -> dict[str, int]:
    """As `status` tells it, with the brokers that are left."""
    told: dict[str, int] = json.loads(run_command("status", "--json", "-c", config).stdout or '{"lag": {}}')["lag"]
    return told


@pytest.mark.parametrize("counts", [False, True])
def test_an_epoch_whose_attempt_failed_is_committed_once(
    world: World, monkeypatch: pytest.MonkeyPatch, counts: bool
) -> None:
    owner, store = world.owner("a")
    run(owner, store, 1)
    epoch = make_epoch(owner, store)
    commit = owner._transactions.commit

    def lose_the_answer(*arguments: object) -> None:
        if counts:
            commit(*arguments)  # type: ignore[arg-type]
        raise BrokerUnavailable("the coordinator died")

    with monkeypatch.context() as patched:
        patched.setattr(owner._transactions, "commit", lose_the_answer)
        with pytest.raises(BrokerUnavailable):
            owner.commit(epoch)
    owner.commit(epoch)
    run(owner, store, 1)

    assert world.outputs() == [b"1", b"2", b"3"]


def test_an_owner_that_lost_the_lane_while_its_commit_hung_fences_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, store = world.owner("a")
    run(owner, store, 1)
    epoch = make_epoch(owner, store)

    def hang(*_: object) -> None:
        raise BrokerUnavailable("no answer in time")

    with monkeypatch.context() as patched:
        patched.setattr(owner._transactions, "commit", hang)
        with pytest.raises(BrokerUnavailable):
            owner.commit(epoch)
    evict(world.bootstrap, world.prefix, owner._membership.snapshot.member_id)
    heir, its_store = world.owner("b")
    run(heir, its_store, 1)

    with pytest.raises(LaneLost):
        owner.commit(epoch)
    run(heir, its_store, 1)

    assert world.outputs() == [b"1", b"2", b"3"]


def test_an_attempt_that_hangs_gives_up_and_the_next_has_twice_the_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.kafka.transactions.PATIENCE_S", 0.5)
    owner, store = world.owner("a")
    epoch = make_epoch(owner, store)
    producer = owner._transactions._producer
    assert producer is not None
    producer._sender.wakeup = lambda: None
    before = owner._transactions._patience_s
    monkeypatch.setattr(producer._transaction_manager, "next_request_handler", lambda *_: time.sleep(0.05))

    with pytest.raises(BrokerUnavailable, match="could not be finished"):
        owner.commit(epoch)
    assert owner._transactions._patience_s == 2 * before
    owner.commit(epoch)

    assert world.outputs() == [b"1"]


@pytest.mark.parametrize("ahead_h", [2, -2])
def test_a_clock_that_the_cluster_does_not_take_is_named_with_the_times_and_waited_for(
    broker: Broker, prefix: str, tmp_path: Path, ahead_h: int
) -> None:
    world = World(broker.bootstrap, prefix, tmp_path)
    world.create_topics()
    with KafkaAdminClient(bootstrap_servers=world.bootstrap) as admin:
        limits = {f"message.timestamp.{side}.max.ms": "3600000" for side in ("before", "after")}
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, world.topics.sequences, limits)])
    try:
        owner, store = world.owner("a")
        epoch = make_epoch(owner, store)
        producer = owner._transactions._producer
        assert producer is not None
        at_ms = int((time.time() + ahead_h * HOUR_S) * 1000)
        producer.send = partial(producer.send, timestamp_ms=at_ms)  # as with a clock that is wrong
        with pytest.raises(BrokerUnavailable) as refused:
            owner.commit(epoch)
        owner.commit(epoch)  # it was set
        outputs = world.outputs()
    finally:
        world.close()

    said = str(refused.value)
    assert said.startswith("the cluster refuses records as too new or too old: this machine's clock says 2")
    assert said.count(" UTC") == 2
    assert outputs == [b"1"]
