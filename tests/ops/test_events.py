"""Events: each moves metrics, health and log together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ops.epochs import EpochCommitted
from ops.health import Status
from tests.ops.conftest import Process

EPOCH = EpochCommitted(
    epoch=7,
    counts={
        ("documents_total", "accepted"): 6,
        ("documents_total", "rejected"): 3,
        ("documents_total", "dead"): 1,
        ("rejections_total", "exact_dedup", "same_text"): 2,
        ("rejections_total", "quality", "c4_no_sentence"): 1,
        ("sequences_total",): 3,
        ("tokens_total", "accepted"): 900,
        ("tokens_total", "emitted"): 700,
        ("tokens_total", "emitted_again"): 50,
        ("packing_tokens_total", "padding"): 2,
        ("feedback_total", "learned"): 5,
    },
    gauges={"held_documents": 5, "cluster_documents": {"4": 60, "1": 40}, "state_disk_free_bytes": 1 << 30},
    commit_s=0.03,
    transaction_s=0.02,
    journal_bytes=5000,
    received_ages_s=[1.0, 2.0],
    committed_ages_s=[2.0, 3.0],
)


def test_a_commit_moves_every_number_it_carries(process: Process) -> None:
    process.events.epoch_committed(EPOCH)
    process.events.epoch_committed(replace(EPOCH, epoch=8, gauges={**EPOCH.gauges, "held_documents": 2}))

    assert process.series("curatord_documents_total") == {("accepted",): 12, ("rejected",): 6, ("dead",): 2}
    assert process.value("curatord_rejections_total", stage="exact_dedup", reason="same_text") == 4
    assert process.value("curatord_tokens_total", kind="emitted") == 1400
    assert process.value("curatord_packing_tokens_total", kind="padding") == 4
    assert process.value("curatord_epoch") == 8
    assert process.value("curatord_held_documents") == 2
    assert process.series("curatord_cluster_documents") == {("4",): 60, ("1",): 40}
    assert process.value("curatord_journal_uncut_bytes") == 10_000
    assert process.value("curatord_commit_duration_seconds_count") == 2
    assert process.value("curatord_document_age_seconds_sum", point="committed") == 10
    assert process.value("curatord_last_commit_timestamp_seconds") == process.clock.now
    assert process.value("curatord_state_disk_free_bytes") == 1 << 30


def test_commits_are_logged_once_in_ten_seconds_and_nothing_is_left_out_of_the_sums(process: Process) -> None:
    for number in range(25):
        process.events.epoch_committed(replace(EPOCH, epoch=number))
        process.clock.now += 1
    process.events.stopped(exit_code=0)

    lines = process.lines()

    assert [line["event"] for line in lines] == [*["epoch_committed"] * 3, "stopped"]
    assert [line["epochs"] for line in lines] == [1, 10, 10, 4]
    assert [line["documents"] for line in lines] == [10, 100, 100, 40]
    assert lines[1]["accepted"] == 60


def test_the_last_epochs_before_a_silence_are_logged_all_the_same(process: Process) -> None:
    process.events.epoch_committed(EPOCH)
    process.clock.now += 1
    process.events.epoch_committed(replace(EPOCH, epoch=8))
    for _ in range(60):
        process.clock.now += 0.25
        process.events.beat()

    assert [(line["epoch"], line["epochs"]) for line in process.lines()] == [(7, 1), (8, 1)]


def test_ready_follows_what_happens(process: Process) -> None:
    events, health = process.events, process.health

    def seen() -> tuple[str, bool]:
        (status,) = [labels[0] for labels, value in process.series("curatord_status").items() if value]
        assert status == health.readiness().status.value
        return status, health.readiness().is_ready

    events.started(version="1", lane="main", config_hash="abc", listening="", open_files=1024)
    assert seen() == ("connecting", False)
    events.restoring(41, 100)
    assert seen() == ("restoring", False)
    assert health.readiness().reason == "restoring 41 % (41 of 100 epochs)"
    assert process.value("curatord_restore_remaining_epochs") == 59
    events.standing_by(100)
    assert seen() == ("standby", True)
    assert process.value("curatord_owner", lane="main") == 0
    events.became_owner(101)
    assert seen() == ("taking_over", False)
    assert process.value("curatord_owner", lane="main") == 1
    events.restored(101, 0.2)
    assert seen() == ("ready", True)
    events.broker_away("no broker answers at kafka:9092")
    assert seen() == ("broker_away", False)
    assert "no broker answers at kafka:9092" in health.readiness().reason
    events.broker_back()
    assert seen() == ("ready", True)
    events.draining("SIGTERM")
    events.broker_away("closed")
    assert seen() == ("draining", False)


def test_a_training_that_documents_wait_for_is_told_every_ten_seconds_with_its_share(process: Process) -> None:
    events, health = process.events, process.health
    events.restored(0, 0.1)
    for done in range(0, 2048, 32):
        events.training(done, 2048, version=0)
        process.clock.now += 1

    assert health.readiness().is_ready
    assert health.readiness().reason == "warming up, 98 %: documents wait"
    told = [line["share"] for line in process.lines() if line["event"] == "training"]
    assert told == [0.0, 0.15, 0.31, 0.46, 0.62, 0.78, 0.93]
    events.epoch_committed(EPOCH)
    assert health.readiness().reason == "curating, epoch 7"
    events.training(1, 2048, version=1)
    assert health.readiness().reason.startswith("training the next student")


def test_an_outage_is_counted_once_however_often_it_is_noticed(process: Process) -> None:
    for _ in range(30):
        process.events.broker_away("timeout")
        process.clock.now += 1
    process.events.broker_back()
    process.events.broker_back()

    assert process.value("curatord_broker_outages_total") == 1
    events = [line["event"] for line in process.lines()]
    assert events == ["broker_away"] * 3 + ["broker_back"]
    assert process.lines()[1]["suppressed"] == 9


def test_an_outage_is_a_heartbeat_because_waiting_is_what_the_loop_does_then(process: Process) -> None:
    process.clock.now += 500
    process.events.broker_away("timeout")

    assert process.health.heartbeat_age_s() == 0


def test_surges_of_many_sources_make_no_series(process: Process) -> None:
    for number in range(500):
        process.events.removal_surge(source=f"site-{number}", rate=0.9, usual_rate=0.1)

    assert process.series("curatord_removal_surges_total") == {(): 500}
    assert process.lines()[0] | {"timestamp": ""} == {
        "event": "removal_surge",
        "level": "warning",
        "source": "site-0",
        "rate": 0.9,
        "usual_rate": 0.1,
        "timestamp": "",
    }


@pytest.mark.parametrize("source", ["\ud800", "a\nb", "x" * 10_000, '"}'])
def test_odd_names_make_one_line_of_json(process: Process, source: str) -> None:
    process.events.removal_surge(source=source, rate=1.0, usual_rate=0.0)

    (line,) = process.lines()
    assert line["source"] == source[:2000]


def test_a_stop_says_why(process: Process) -> None:
    process.events.started(version="1", lane="main", config_hash="abc", listening="", open_files=1024)
    process.events.stopped(exit_code=69, reason="the broker cannot be reached")

    line = process.lines()[-1]
    assert (line["event"], line["level"], line["exit_code"]) == ("stopped", "error", 69)
    assert line["reason"] == "the broker cannot be reached"
    assert process.value("curatord_owner", lane="main") == 0


def test_snapshots_and_cuts_of_the_journal_are_seen(process: Process) -> None:
    process.events.epoch_committed(EPOCH)
    process.events.snapshot_written(epoch=7, num_bytes=1 << 20, seconds=1.5)
    process.events.journal_truncated(before_epoch=3, before_offset=12)
    process.events.snapshot_failed("no space left on device")

    assert process.value("curatord_snapshots_total") == 1
    assert process.value("curatord_snapshot_failures_total") == 1
    assert process.value("curatord_snapshot_bytes") == 1 << 20
    assert process.value("curatord_last_snapshot_timestamp_seconds") == process.clock.now
    assert process.value("curatord_journal_cuts_total") == 1
    assert process.value("curatord_journal_uncut_bytes") == 0
    assert process.lines()[-1]["level"] == "error"


def test_places_that_retention_was_faster_to_reach_are_told(process: Process) -> None:
    process.events.places_measured({"prepared-0": 12, "prepared-1": 0})
    assert process.value("curatord_prepared_headroom_messages", partition="prepared-1") == 0
    assert process.lines() == []
    process.events.places_measured({"prepared-0": -3})
    line = process.lines()[-1]
    assert (line["event"], line["level"], line["source"], line["messages"]) == (
        "places_cut",
        "warning",
        "prepared-0",
        3,
    )
    process.events.places_measured({})
    assert process.series("curatord_prepared_headroom_messages") == {}


def test_headroom_is_there_while_a_run_needs_it_and_a_lost_checkpoint_is_told(process: Process) -> None:
    events = process.events
    events.started(version="1", lane="main", config_hash="abc", listening="", open_files=1024)
    assert process.series("curatord_retention_headroom_sequences") == {}

    events.headroom_measured(run_id="r", safe_seq_no=12, retained_from=12)
    assert process.value("curatord_retention_headroom_sequences", lane="main") == 0
    events.headroom_unknown("denied")
    assert [line["event"] for line in process.lines()] == ["started", "headroom_unknown"]
    events.headroom_measured(run_id="r", safe_seq_no=12, retained_from=20)
    assert process.value("curatord_retention_headroom_sequences", lane="main") == -8
    line = process.lines()[-1]
    assert (line["event"], line["level"], line["run_id"], line["retained_from"]) == (
        "checkpoint_lost",
        "error",
        "r",
        20,
    )
    events.headroom_unneeded()
    assert process.series("curatord_retention_headroom_sequences") == {}


def test_a_look_at_the_file_is_always_answered(process: Process) -> None:
    process.events.config_checked(changed=["packing.beta: 0.5 -> 0.7"])
    process.events.config_checked(changed=[], problem="packing.betta is no option")

    first, second = process.lines()
    assert first["changed"] == ["packing.beta: 0.5 -> 0.7"]
    assert (second["level"], second["problem"]) == ("error", "packing.betta is no option")


def test_every_status_can_be_shown() -> None:
    assert len(Status) <= 8, "the limit of the status metric"


def test_the_library_that_makes_ids_is_a_line_and_a_slow_one_a_warning(process: Process) -> None:
    process.events.tokenizer_chosen(library="fastokens 0.3.5", slow_because="")
    process.events.tokenizer_chosen(library="tiktoken 0.14.0", slow_because="fastokens is not installed")

    assert [(line["level"], line["event"], line["library"]) for line in process.lines()] == [
        ("info", "tokenizer_chosen", "fastokens 0.3.5"),
        ("warning", "tokenizer_slow", "tiktoken 0.14.0"),
    ]
    assert process.lines()[1]["because"] == "fastokens is not installed"


def test_a_training_names_its_teachers_and_documents_that_none_of_them_reads_are_a_warning(process: Process) -> None:
    for install in ({}, {"install": "a-package"}):
        process.events.student_trained(version=2, beside="none", foreign_share=0.25, **install)

    lines = process.lines()
    assert [line["level"] for line in lines] == ["info", "warning"]
    assert (lines[0]["version"], lines[0]["beside"], lines[0]["foreign_share"]) == (2, "none", 0.25)
