"""Observing: the numbers of a commit are those of the ledger, and the time of the loop is all accounted for."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from consumers.broker import CommitReport, RawDocument
from consumers.memory import MemoryBroker, World
from curatord.errors import BrokerUnavailable, ConfigError
from daemon.app import build, encode_identity
from daemon.config import Config, parse_config
from daemon.loop import Hooks, Loop
from daemon.observer import Observer, config_hash, observed
from daemon.restore import catch_up
from ops.phases import PhaseClock
from state.epoch import Epoch, RemovalSurge
from state.store import Store, state_folder
from state.tally import Tally
from tests.ops.conftest import Process
from tests.simulation.world import REWARDED, make_config, new_world, tokenizer


class Ticking:
    """A clock on which every look takes a quarter of a second: sums are exact."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.25
        return self.now


def test_metrics_of_a_run_are_the_differences_of_its_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process()
    world = new_world(5, 700, tmp_path)
    made_us = int((process.clock.now - 2) * 1e6)
    world.documents = [
        RawDocument(row.source, row.position, row.value, timestamp_us=made_us if number % 2 else 0)
        for number, row in enumerate(world.documents)
    ]
    config = make_config(
        daemon={"epoch_documents": 100, "poll_documents": 50},
        bandit={**REWARDED},
    )
    store = Store(state_folder(tmp_path))
    broker = MemoryBroker(world, store)
    broker.last_commit = CommitReport(transaction_s=0.25, journal_bytes=500)
    assert not list(catch_up(broker, broker.take_over(), store))
    clock = Ticking()
    pipeline = build(config, store, tokenizer(), phases=PhaseClock(clock))
    pipeline.restore(store)
    read_before, before = pipeline.ledger.rows_read, dict(pipeline.ledger.rows)
    clock.now += 3600  # as a standby
    observer = Observer(process.events, pipeline, state_dir=tmp_path, clock=process.clock)
    began = clock.now
    identity, hooks = encode_identity(config, tokenizer()), Hooks(observer=observer)
    loop = Loop(pipeline, broker, config.daemon, identity, lambda: 0.0, hooks)
    guard = pipeline.decide.near_dedup.guard
    observe, surge = guard.observe, RemovalSurge(source="mirror", rate=0.9, usual_rate=0.1)
    surges = iter([[surge]])
    monkeypatch.setattr(guard, "observe", lambda *counted: observe(*counted) + next(surges, []))
    while not broker.ended():
        loop.step()
    pipeline.close()

    ledger = pipeline.ledger
    outcomes = {
        outcome: number - before[outcome] for outcome, number in ledger.rows.items() if number > before[outcome]
    }
    assert {labels[0]: number for labels, number in process.series("curatord_documents_total").items()} == outcomes
    assert sum(outcomes.values()) == ledger.rows_read - read_before == 700
    rejected = process.series("curatord_rejections_total")
    assert sum(rejected.values()) == outcomes["rejected"]
    assert rejected["same_text", "exact_dedup"] > 0
    assert sum(process.series("curatord_dead_letters_total").values()) == outcomes["dead"]
    assert process.value("curatord_held_tokens") == pipeline.held.unemitted_tokens()
    assert process.value("curatord_clusters") == len(pipeline.compose.clusters)
    assert len(process.series("curatord_bandit_admission_ratio")) == len(pipeline.compose.bandit.arms())
    assert process.value("curatord_removal_surges_total") == 1
    assert process.value("curatord_state_disk_free_bytes") > 0

    epochs = process.value("curatord_epochs_total")
    assert epochs == 7
    assert process.value("curatord_journal_bytes_total") == 500 * epochs
    ages = {
        point: (
            process.value("curatord_document_age_seconds_count", point=point),
            process.value("curatord_document_age_seconds_sum", point=point),
        )
        for point in ("received", "committed")
    }
    assert ages == {"received": (350, 700), "committed": (350, 700)}
    assert process.value("curatord_transaction_duration_seconds_sum") == 0.25 * epochs

    # Every moment between the first look at the clock and the last belongs to exactly one phase.
    spent = process.series("curatord_loop_seconds_total")
    assert sum(spent.values()) == clock.now - began
    assert {("poll",), ("decode",), ("pack",), ("commit",), ("observe",)} <= spent.keys()
    events = {line["event"] for line in process.lines()}
    assert {"epoch_committed", "dead_letters_written", "removal_surge"} <= events


@pytest.mark.parametrize(("dead", "is_told"), [(100, False), (101, True)])
def test_an_input_of_which_a_tenth_cannot_be_read_is_told_once_in_a_thousand_rows(
    tmp_path: Path, dead: int, is_told: bool
) -> None:
    process = Process()
    store = Store(state_folder(tmp_path))
    pipeline = build(make_config(), store, tokenizer())
    observer = Observer(process.events, pipeline, clock=process.clock)
    for number in range(10):
        epoch = Epoch(number=number + 1, identity="")
        share = dead - 9 * (dead // 10) if number == 9 else dead // 10
        epoch.tallies["docs-0"] = Tally(rows=100, dead=share, reason="no_text", letter="row 7")
        observer.committed(epoch, CommitReport(), commit_s=0.1)
    pipeline.close()
    told = [line for line in process.lines() if line["event"] == "input_unreadable"]
    assert [(line["source"], line["dead"], line["rows"], line["example"]) for line in told] == [
        ("docs-0", dead, 1000, "row 7")
    ] * is_told


def test_time_is_told_while_nothing_is_committed(tmp_path: Path) -> None:
    process = Process()
    new_world(5, 0, tmp_path)
    store = Store(state_folder(tmp_path))
    clock = Ticking()
    pipeline = build(make_config(), store, tokenizer(), phases=PhaseClock(clock))
    pipeline.restore(store)
    observer = Observer(process.events, pipeline, clock=process.clock)
    began = clock.now
    for _ in range(100):
        pipeline.phases.enter("poll")
        process.clock.now += 0.25
        observer.polled([])
    pipeline.close()

    told = sum(process.series("curatord_loop_seconds_total").values())
    assert clock.now - began == 25.0
    assert told >= 20.0
    assert process.health.heartbeat_age_s() == 0


def quiet(**metrics: object) -> Config:
    return parse_config({"metrics": {"listen": "", **metrics}}, "test")


def test_a_process_is_seen_from_its_start_to_its_end() -> None:
    file = io.BytesIO()
    with observed(quiet(), file=file) as events:
        events.standing_by(3)

    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["started", "standing_by", "stopped"]
    assert lines[0]["config"] == config_hash(quiet())
    assert lines[-1]["exit_code"] == 0


@pytest.mark.parametrize(
    ("error", "exit_code", "reason"),
    [(BrokerUnavailable("no broker answers"), 69, "no broker answers"), (KeyError("x"), 1, "KeyError('x')")],
)
def test_an_end_without_a_request_says_why(error: Exception, exit_code: int, reason: str) -> None:
    file = io.BytesIO()
    with pytest.raises(type(error)), observed(quiet(), file=file):
        raise error

    line = json.loads(file.getvalue().splitlines()[-1])
    assert (line["event"], line["exit_code"], line["reason"]) == ("stopped", exit_code, reason)


def test_an_address_that_cannot_be_had_ends_the_start() -> None:
    with (
        pytest.raises(ConfigError, match=r"metrics\.listen"),
        observed(quiet(listen="203.0.113.7:1"), file=io.BytesIO()),
    ):
        raise AssertionError("it must not come this far")


def test_the_hash_tells_configurations_apart() -> None:
    assert config_hash(Config()) == config_hash(Config())
    assert config_hash(Config()) != config_hash(parse_config({"packing": {"beta": 0.7}}, "test"))


def test_two_processes_of_a_lane_have_the_same_hash() -> None:
    own = {"state": {"dir": "/b"}, "metrics": {"listen": "127.0.0.1:9465"}}

    assert config_hash(Config()) == config_hash(parse_config(own, "test"))


def test_an_epoch_is_longer_while_more_documents_wait(tmp_path: Path) -> None:
    world = new_world(5, 11 * 50 + 30, tmp_path)
    config = make_config(daemon={"poll_documents": 50, "epoch_documents": 1000, "epoch_s": 1.0})
    store = Store(state_folder(tmp_path))
    broker = MemoryBroker(world, store)
    pipeline = build(config, store, tokenizer())
    pipeline.restore(store)
    now = 0.0
    loop = Loop(pipeline, broker, config.daemon, encode_identity(config, tokenizer()), lambda: now)
    sizes = []
    while not broker.ended():
        now += 1.1
        number, before = loop.epoch.number, loop.epoch.num_rows
        num_rows = loop.step()
        if loop.epoch.number > number:
            sizes.append(before + num_rows)
    pipeline.close()
    store.close()

    # Full polls: four steps of 1.1 s make four seconds. The last poll is not full.
    assert sizes == [200, 200, 180]


NUM_VERSIONS = 60


def slow_world(folder: Path) -> tuple[World, Config]:
    """One poll of many versions of one document, each of which is a run of its own."""
    world = new_world(5, 0, folder)
    versions = [b'{"id": "k", "text": "version %d"}' % version for version in range(NUM_VERSIONS)]
    world.documents += [RawDocument("new", at, value) for at, value in enumerate(versions)]
    return world, make_config(daemon={"poll_documents": 1000, "epoch_documents": 1000})


def test_an_outage_in_the_middle_of_rows_that_take_long_costs_none_of_them(tmp_path: Path) -> None:
    world, config = slow_world(tmp_path)
    store = Store(state_folder(tmp_path))
    broker = MemoryBroker(world, store)
    outages: list[str] = []

    def away() -> None:
        outages.append("away")
        raise BrokerUnavailable("the group does not answer")

    pipeline = build(config, store, tokenizer())
    pipeline.restore(store)
    identity = encode_identity(config, tokenizer())
    loop = Loop(pipeline, broker, config.daemon, identity, Ticking(), Hooks(keep_alive=away))

    assert loop.step() == NUM_VERSIONS  # the service would go on with the next poll, and not take these again
    pipeline.close()
    store.close()

    assert outages
    assert loop.epoch.num_rows == loop.epoch.positions["new"] == NUM_VERSIONS


def test_rows_that_take_long_do_not_keep_the_loop_from_saying_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process()
    world, config = slow_world(tmp_path)
    store = Store(state_folder(tmp_path))
    broker = MemoryBroker(world, store)
    beats: list[str] = []
    monkeypatch.setattr(process.events, "beat", lambda: beats.append("supervisor"))
    pipeline = build(config, store, tokenizer())
    pipeline.restore(store)
    observer = Observer(process.events, pipeline, clock=process.clock)
    hooks = Hooks(observer=observer, keep_alive=lambda: beats.append("group"))
    loop = Loop(pipeline, broker, config.daemon, encode_identity(config, tokenizer()), Ticking(), hooks)

    assert loop.step() == NUM_VERSIONS
    pipeline.close()
    store.close()

    # A quarter of a second a run, and a beat after every five.
    assert beats.count("supervisor") - 1 == beats.count("group")
    assert beats.count("group") in (2, 3)
