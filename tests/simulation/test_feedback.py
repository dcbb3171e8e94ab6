"""Feedback through the real pipeline: the same messages between the same ticks teach the same, also after faults."""

from __future__ import annotations

import os
import random
import tempfile
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import daemon.loop
from consumers.formats.undecodable import TOOK_PROCESS_DOWN
from consumers.memory import Crash, CrashPoint, World
from curatord.records import EndRequest, Feedback, Retraction, Reward, SafePoint, encode_feedback
from curatord.sequence import PackedSequence
from daemon.config import Config
from daemon.pipeline import Pipeline
from tests.simulation.world import REWARDED, make_config, new_world, outcome, run, run_with_standbys

NUM_ROWS = 1_700  # after 520 rows that are there: ticks at 1,024, 1,536 and 2,048, then the flush
LEARNED = ("bandit", "feedback", "safe_points", "assignments", "clusters", "novelty", "lineage", "placements")
SINGLES = (b"bandit", b"feedback", b"clusters", b"novelty")  # of which there is one, in the family `meta`
ARRIVALS = (1_025, 1_540, 2_050)  # rows after which messages are there: always between the same two ticks


def config_of(**daemon: object) -> Config:
    return make_config(
        bandit={**REWARDED},
        feedback={"half_life_steps": 4},
        daemon={"poll_documents": 100, **daemon},
    )


def world_of(folder: Path, feedback: list[tuple[int, bytes]]) -> World:
    world = new_world(5, NUM_ROWS, folder)
    world.feedback = feedback
    return world


def learned(world: World) -> dict[str, dict[bytes, bytes]]:
    """The facts of what learns, as the journal tells them."""
    facts: dict[str, dict[bytes, bytes]] = {family: {} for family in (*LEARNED, "meta")}
    for record in world.journal:
        for family, key, value in record.changes:
            if family in LEARNED or (family, key) in {("meta", single) for single in SINGLES}:
                facts[family].pop(key, None)
                if value is not None:
                    facts[family][key] = value
    return facts


def report(sequences: list[PackedSequence], step: int, rank: int, run_id: str = "run") -> bytes:
    """Two ranks share the sequences of a step; the loss of every second cluster falls."""
    mine = sequences[rank::2]
    rng = np.random.default_rng([step, rank])
    clusters_S = np.concatenate([sequence.clusters_S for sequence in mine])
    lengths_S = np.concatenate([sequence.segment_lengths_S for sequence in mine])
    losses_S = 4 - 0.2 * step * (clusters_S % 2) + rng.normal(0, 0.05, len(clusters_S))
    return encode_feedback(
        Feedback(
            run_id=run_id,
            step=step,
            rank=rank,
            world=2,
            policy_version_min=0,
            policy_version_max=9,
            generation=mine[0].generation,
            first_seq_no=mine[0].seq_no,
            stride=2,
            num_segments=np.array([len(sequence.clusters_S) for sequence in mine], "<u2").tobytes(),
            sum_nll=(losses_S * lengths_S).astype("<f4").tobytes(),
            num_targets=lengths_S.astype("<u4").tobytes(),
        )
    )


@cache
def unheard() -> World:
    """Outcome without feedback."""
    with tempfile.TemporaryDirectory() as folder:
        world = world_of(Path(folder), [])
        run(world, config_of(), Path(folder))
    return world


def emitted_by(num_rows: int) -> list[PackedSequence]:
    """Sequences that are out, on the undisturbed way, when that many rows were read."""
    ticks = num_rows // 512
    config = config_of()
    with tempfile.TemporaryDirectory() as folder:
        world = world_of(Path(folder), [])
        world.documents = world.documents[: ticks * 512]
        run(world, config, Path(folder), flush=False)
    return list(world.sequences)


def ids_that_come_once() -> list[str]:
    """Documents that nothing replaces or takes back while a message about them is on its way."""
    ids: Counter[str] = Counter()
    for row in unheard().documents:
        if isinstance(row.value, Retraction):
            ids[row.value.id] += 1
        elif isinstance(row.value, bytes) and row.value.startswith(b'{"id":"d'):
            ids[msgspec.json.decode(row.value)["id"]] += 1
    return [doc_id for doc_id, number in ids.items() if number == 1]


@cache
def messages() -> list[tuple[int, bytes]]:
    """Reports of the sequences that the first feedback cannot have changed, out of order and repeated; rewards of
    everything that there is, or is not; and what cannot be read."""
    out = emitted_by(1_024)
    assert len(out) >= 24
    once = set(ids_that_come_once())
    known = next(doc_id for sequence in out for doc_id in sequence.doc_ids if doc_id in once)
    rng = random.Random(1)
    steps = [out[first : first + 4] for first in range(0, len(out) - 3, 4)]
    reports = [report(step, number, rank) for number, step in enumerate(steps) for rank in range(2)]
    reports += rng.sample(reports, 6)
    rng.shuffle(reports)
    far = [msgspec.structs.replace(out[0], seq_no=10**9)] * 2
    others = [
        report(far, 1, 0, "lost"),
        report([msgspec.structs.replace(sequence, generation=7) for sequence in out[:2]], 1, 1, "lost"),
        encode_feedback(Reward(reward=0.5, cluster=int(out[0].clusters_S[0]))),
        b'{"cluster": 1, "reward": 2}',
        b'{"cluster": 4000, "reward": 2}',
        msgspec.json.encode({"doc_id": known, "reward": -1.0}),
        b'{"doc_id": "no such document", "reward": 1}',
        b"\xff not feedback",
        b'{"cluster": 1, "reward": 2, "version": 3}',
    ]
    waiting = [
        msgspec.json.encode({"doc_id": doc_id, "reward": 0.25})
        for doc_id in ids_that_come_once()
        if 1_000 <= int(doc_id[1:]) < 1_025
    ]
    third = len(reports) // 3
    return [
        *((ARRIVALS[0], message) for message in [*waiting, *reports[:third], *others[:5]]),
        *((ARRIVALS[1], message) for message in [*others[5:], *reports[third : 2 * third]]),
        *((ARRIVALS[2], message) for message in reports[2 * third :]),
    ]


@cache
def undisturbed() -> World:
    with tempfile.TemporaryDirectory() as folder:
        world = world_of(Path(folder), messages())
        run(world, config_of(), Path(folder))
    return world


def test_feedback_changes_what_is_admitted_from_the_next_tick_on() -> None:
    answered, silent = undisturbed(), unheard()
    assert answered.num_heard == len(messages())
    assert learned(answered)["bandit"] != learned(silent)["bandit"]
    assert learned(silent)["feedback"] == {}
    # The tick at 1,536 is the first to hear; everything before it is as it was.
    before = len(emitted_by(1_024))
    assert outcome(answered).sequences[:before] == outcome(silent).sequences[:before]
    assert outcome(answered).sequences != outcome(silent).sequences


def test_every_message_ends_as_one_outcome_and_the_unreadable_as_dead_letters() -> None:
    state = msgspec.msgpack.decode(learned(undisturbed())["meta"][b"feedback"])
    counts = state[0]
    records = {name: number for name, number in counts.items() if not name.startswith("sequences_")}
    assert sum(records.values()) == len(messages())
    assert counts["duplicate"] == 6
    assert counts["dead"] == 2
    assert counts["unknown_sequences"] == 2
    assert counts["unknown_cluster"] == 1
    assert 1 <= counts["unknown_document"] < 1 + 15
    assert [letter.reason for letter in undisturbed().dead_letters if letter.source == "feedback"] == [
        "feedback_unreadable",
        "feedback_newer",
    ]
    numbers = {key for record in undisturbed().journal for family, key, _ in record.changes if family == "dead_letters"}
    assert len(numbers) == len(undisturbed().dead_letters)


@pytest.mark.parametrize(
    ("point", "wipes"), [*((point, False) for point in CrashPoint), (CrashPoint.AFTER_COMMIT, True)]
)
def test_a_crash_in_every_commit_with_feedback_in_flight_leaves_no_trace(
    tmp_path: Path, point: CrashPoint, wipes: bool
) -> None:
    world = world_of(tmp_path, messages())
    crashes = dict.fromkeys(range(2, 100), point)

    num_crashes = run(world, config_of(epoch_documents=150, poll_documents=75), tmp_path, crashes=crashes, wipes=wipes)

    assert num_crashes >= 10
    assert learned(world) == learned(undisturbed())
    assert_same(world, undisturbed())


@pytest.mark.parametrize(("max_records", "poll"), [(1, 2), (17, 20), (1_000, 256)])
def test_how_messages_are_cut_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_records: int, poll: int
) -> None:
    monkeypatch.setattr(daemon.loop, "MAX_FEEDBACK_RECORDS", max_records)
    world = world_of(tmp_path, messages())

    run(world, config_of(poll_documents=poll, epoch_documents=230), tmp_path)

    assert world.num_heard == len(messages())
    assert learned(world) == learned(undisturbed())
    assert_same(world, undisturbed())


def assert_same(world: World, other: World) -> None:
    """Everything is the same, but for where unreadable messages stand among unreadable rows: polls decide that."""
    ours, theirs = outcome(world), outcome(other)
    assert replace(ours, dead_letters=()) == replace(theirs, dead_letters=())
    assert sorted(ours.dead_letters) == sorted(theirs.dead_letters)


def test_while_the_bandit_is_off_feedback_is_read_and_has_no_effect(tmp_path: Path) -> None:
    world = world_of(tmp_path, messages())
    run(world, make_config(), tmp_path)
    assert world.num_heard == len(messages())
    counts = msgspec.msgpack.decode(learned(world)["meta"][b"feedback"])[0]
    assert counts["unused"] + counts["dead"] == len(messages())
    assert learned(world)["bandit"] == learned(world)["assignments"] == {}


@cache
def mixed(over: str) -> World:
    """Outcome of shares that follow the losses."""
    with tempfile.TemporaryDirectory() as folder:
        world = world_of(Path(folder), messages())
        run(world, mixing(over, poll_documents=100), Path(folder))
    return world


def mixing(over: str, **daemon: object) -> Config:
    return make_config(mixture={"rho": 0.6, "rule": "odm", "over": over}, daemon=daemon)


@pytest.mark.parametrize("over", ["sources", "clusters"])
def test_shares_that_follow_losses_are_the_same_after_crashes(tmp_path: Path, over: str) -> None:
    world = world_of(tmp_path, messages())
    crashes = dict.fromkeys(range(2, 100), CrashPoint.AFTER_COMMIT)

    num_crashes = run(
        world, mixing(over, epoch_documents=150, poll_documents=75), tmp_path, crashes=crashes, wipes=True
    )

    assert num_crashes >= 10
    assert_same(world, mixed(over))
    counts = msgspec.msgpack.decode(learned(world)["meta"][b"feedback"])[0]
    assert counts["learned"] > 0


POLL = 75
QUANTUM = 4
ENDS = (520 + 8 * POLL, 520 + 17 * POLL)  # rows after which the stream is to end; where a poll ends in every life


def controlled() -> Config:
    return config_of(poll_documents=POLL, epoch_documents=2 * POLL)


def control_messages() -> list[tuple[int, bytes]]:
    """Messages that teach nothing, between rewards: two ends, the first of them asked for twice, and safe points."""
    end = encode_feedback(EndRequest(end_of_stream=True))

    def point(run_id: str, safe_seq_no: int) -> bytes:
        return encode_feedback(SafePoint(run_id=run_id, generation=0, safe_seq_no=safe_seq_no))

    reward = b'{"cluster": 1, "reward": 2}'
    return [
        *((520 + POLL, message) for message in (point("a", 4), point("b", 8), reward)),
        *((ENDS[0], message) for message in (reward, end, reward, end, point("a", 12))),
        *((ENDS[0] + POLL, message) for message in (point("b", 6), point("c", 9), b'{"safe_seq_no": 1}')),
        *((ENDS[1], message) for message in (point("c", -1), end)),
    ]


@cache
def ended() -> World:
    with tempfile.TemporaryDirectory() as folder:
        world = world_of(Path(folder), control_messages())
        run(world, with_quantum(controlled()), Path(folder))
    return world


def with_quantum(config: Config) -> Config:
    return msgspec.structs.replace(config, packing=msgspec.structs.replace(config.packing, batch_quantum=QUANTUM))


def test_an_end_that_lives_ended_over_is_not_judged_by_what_a_copy_of_the_process_can_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, process, kills = Pipeline._flush, os.getpid(), iter(range(3))

    def killed_by_chance(*arguments: Any, **named: Any) -> None:
        if os.getpid() != process:
            raise RuntimeError("a copy of a process has no threads, and no accelerator")
        if next(kills, None) is not None:
            raise Crash(0, CrashPoint.BEFORE_COMMIT)
        flush(*arguments, **named)

    monkeypatch.setattr(Pipeline, "_flush", killed_by_chance)
    world = world_of(tmp_path, control_messages())

    assert run(world, with_quantum(controlled()), tmp_path) == 3
    assert world.ends == ended().ends
    assert [letter.reason for letter in world.dead_letters if letter.reason == TOOK_PROCESS_DOWN] == []


def test_an_end_lets_everything_go_and_what_comes_later_goes_on() -> None:
    world = ended()
    first, second = world.ends
    assert 0 < first.seq_no < second.seq_no < len(world.sequences)
    assert first.seq_no % QUANTUM == second.seq_no % QUANTUM == 0
    assert [sequence.seq_no for sequence in world.sequences] == list(range(len(world.sequences)))
    assert {sequence.generation for sequence in world.sequences} == {first.generation} == {second.generation}
    fillers = [sequence.seq_no for sequence in world.sequences if sequence.is_filler]
    assert fillers
    assert all(any(end.seq_no - QUANTUM < number < end.seq_no for end in world.ends) for number in fillers)
    # Nothing is held at an end: a document that was read before it is in no sequence after it.
    before = {row.position for row in world.documents[: ENDS[0]]}
    after = {doc_id for sequence in world.sequences[first.seq_no :] for doc_id in sequence.doc_ids}
    assert not {f"d{position}" for position in before} & after & set(ids_that_come_once())


def test_the_newest_safe_point_of_each_run_is_a_fact_until_the_run_ends() -> None:
    facts = learned(ended())["safe_points"]
    assert {key: msgspec.msgpack.decode(value)[:2] for key, value in facts.items()} == {b"a": [0, 12], b"b": [0, 6]}
    counts = msgspec.msgpack.decode(learned(ended())["meta"][b"feedback"])[0]
    assert (counts["safe_point"], counts["end_request"], counts["dead"]) == (6, 3, 1)


@pytest.mark.parametrize(
    ("point", "wipes"), [*((point, False) for point in CrashPoint), (CrashPoint.AFTER_COMMIT, True)]
)
def test_a_crash_in_every_commit_leaves_no_trace_in_ends_and_safe_points(
    tmp_path: Path, point: CrashPoint, wipes: bool
) -> None:
    world = world_of(tmp_path, control_messages())

    num_crashes = run(
        world, with_quantum(controlled()), tmp_path, crashes=dict.fromkeys(range(2, 100), point), wipes=wipes
    )

    assert num_crashes >= 10
    assert learned(world) == learned(ended())
    assert_same(world, ended())


def test_a_standby_takes_ends_and_safe_points_over(tmp_path: Path) -> None:
    world = world_of(tmp_path / "0", control_messages())
    crashes = {epoch: list(CrashPoint)[epoch % 3] for epoch in range(2, 100, 3)}

    assert run_with_standbys(world, with_quantum(controlled()), tmp_path, crashes) >= 3

    assert learned(world) == learned(ended())
    assert_same(world, ended())
