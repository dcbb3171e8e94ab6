"""The real pipeline over the memory broker: the same documents give the same sequences, also after faults."""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from functools import cache
from itertools import accumulate
from pathlib import Path

import msgspec
import pytest

from consumers.memory import CrashPoint, World
from curation.dedup import sealing
from curation.dedup.manifest import manifest_of
from curation.vectors import retraining
from curatord.errors import JournalUnusable
from daemon.commands.explain import find_versions
from daemon.commands.read_state import Damage
from daemon.config import Config
from state.segments import read_segments
from state.snapshot import Snapshots
from state.store import Store, state_folder
from tests.simulation.world import (
    REWARDED,
    ByChance,
    Outcome,
    make_config,
    make_drifting_rows,
    make_rows,
    new_world,
    outcome,
    run,
    run_with_standbys,
    warm_world,
)

NUM_ROWS = 900
NUM_WARM_EPOCHS = 1
ANOTHER_DISK = Path("/dev/shm")


@cache
def undisturbed(seed: int, selecting: bool) -> Outcome:
    """Outcome without faults, committed in large epochs."""
    with tempfile.TemporaryDirectory() as folder:
        world = new_world(seed, NUM_ROWS, Path(folder))
        run(world, config_of(selecting), Path(folder))
    return outcome(world)


SELECTING: dict[str, dict[str, object]] = {
    "input": {"fields": {"weight": "weight", "scores": {"edu": "edu"}}},
    "quality": {"heads": {"edu": {"max": 4.0}}},
    "weights": {"by": ["commonness"], "memory_mib": 1, "after_tokens": 5000, "perplexity": {"min": 1.2}},
    "bandit": {**REWARDED, "reward": ["rules", "progress", "scorer", "edu"]},
    "mixture": {"rho": 0.7, "max_uses": 2, "gap": 8, "buffer_documents": 8},
}


def config_of(selecting: bool, **daemon: object) -> Config:
    """Everything on: bandit and mixture that repeats, or the default that passes everything through."""
    return make_config(daemon=daemon, **(SELECTING if selecting else {}))


@pytest.mark.parametrize("crashes", [{}, {3: CrashPoint.BEFORE_COMMIT, 5: CrashPoint.AFTER_COMMIT}])
def test_records_that_are_not_read_leave_no_trace_but_are_passed(
    tmp_path: Path, crashes: dict[int, CrashPoint]
) -> None:
    world = new_world(0, NUM_ROWS, tmp_path)
    known = world.num_read
    rng = random.Random(0)
    offsets = list(accumulate(rng.choice([1, 1, 1, 2, 9]) for _ in world.documents[known:]))
    world.documents = [
        *world.documents[:known],
        *(
            msgspec.structs.replace(row, position=known + offset)
            for row, offset in zip(world.documents[known:], offsets, strict=True)
        ),
    ]
    world.end = known + offsets[-1] + 7

    config = config_of(selecting=False, poll_documents=50, epoch_documents=100)
    assert run(world, config, tmp_path, crashes=crashes) == len(crashes)
    epochs = len(world.journal)
    run(world, config, tmp_path)

    assert world.position == world.end
    assert len(world.journal) == epochs  # nothing more was passed
    found, expected = outcome(world), undisturbed(0, False)
    assert replace(found, dead_letters=()) == replace(expected, dead_letters=())
    assert len(found.dead_letters) == len(expected.dead_letters)


@pytest.mark.parametrize("selecting", [False, True])
@pytest.mark.parametrize("batch", [1, 7])
def test_batch_sizes_leave_no_trace(tmp_path: Path, batch: int, selecting: bool) -> None:
    world = new_world(0, NUM_ROWS, tmp_path)

    run(world, config_of(selecting, poll_documents=batch, epoch_documents=batch), tmp_path)

    assert outcome(world) == undisturbed(0, selecting)


def seal_often(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Two of three seeds take their indices from memory to disk every some documents."""
    monkeypatch.setattr(sealing, "MAX_HOT_DOCUMENTS", (60, 250, sealing.MAX_HOT_DOCUMENTS)[seed % 3])


def test_a_crash_at_any_point_of_any_commit_leaves_no_trace(
    tmp_path: Path, simulation_seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(simulation_seed)
    selecting = simulation_seed % 2 == 1
    expected = undisturbed(simulation_seed % 4, selecting)
    seal_often(monkeypatch, simulation_seed)
    world = new_world(simulation_seed % 4, NUM_ROWS, tmp_path)
    config = config_of(selecting, poll_documents=rng.randrange(1, 200), epoch_documents=rng.randrange(20, 300))
    crashes = {epoch: rng.choice(list(CrashPoint)) for epoch in range(1, 60) if rng.random() < 0.3}

    committing = ByChance(simulation_seed) if simulation_seed % 4 else None
    wipes = simulation_seed % 3 == 2
    num_crashes = run(world, config, tmp_path, crashes=crashes, wipes=wipes, committing=committing)

    assert outcome(world) == expected
    assert num_crashes == sum(epoch <= len(world.journal) for epoch in crashes if epoch > NUM_WARM_EPOCHS)


def test_a_standby_that_followed_goes_on_as_the_owner_would_have(
    tmp_path: Path, simulation_seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(simulation_seed)
    selecting = simulation_seed % 2 == 1
    expected = undisturbed(simulation_seed % 4, selecting)
    seal_often(monkeypatch, simulation_seed)
    world = new_world(simulation_seed % 4, NUM_ROWS, tmp_path / "warm")
    config = config_of(selecting, poll_documents=rng.randrange(20, 200), epoch_documents=rng.randrange(40, 300))
    crashes = {epoch: rng.choice(list(CrashPoint)) for epoch in range(1, 60) if rng.random() < 0.2}

    committing = ByChance(simulation_seed) if simulation_seed % 4 else None
    num_crashes = run_with_standbys(world, config, tmp_path, crashes, committing=committing)

    assert outcome(world) == expected
    assert num_crashes == sum(epoch <= len(world.journal) for epoch in crashes if epoch > NUM_WARM_EPOCHS)


def test_a_lost_disk_comes_back_from_a_snapshot_and_the_journal_that_was_cut_behind_it(
    tmp_path: Path, snapshot_seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(snapshot_seed)
    expected = undisturbed(snapshot_seed % 4, True)
    seal_often(monkeypatch, snapshot_seed)
    world = new_world(snapshot_seed % 4, NUM_ROWS, tmp_path / "lane")
    config = config_of(True, poll_documents=rng.randrange(20, 200), epoch_documents=rng.randrange(40, 150))
    crashes = {epoch: rng.choice(list(CrashPoint)) for epoch in range(4, 60) if rng.random() < 0.3}
    snapshots = Snapshots(tmp_path / "snapshots", own_disk=ANOTHER_DISK)

    if snapshot_seed % 2:
        run_with_standbys(world, config, tmp_path / "lane", crashes, snapshots)
    else:
        run(world, config, tmp_path / "lane", crashes=crashes, wipes=True, snapshots=snapshots)

    assert outcome(world) == expected
    ((_, older), (_, _)) = reversed(list(snapshots.usable()))
    assert world.journal_start == older.journal_offset > world.journal[0].next_offset
    with pytest.raises(JournalUnusable, match="begins at offset"):
        run(world, config, tmp_path / "another")


def test_explain_finds_in_sealed_files_the_documents_that_a_scan_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal_often(monkeypatch, 1)
    world = new_world(1, NUM_ROWS, tmp_path)
    run(world, config_of(selecting=False, epoch_documents=100), tmp_path, flush=False)
    store = Store(state_folder(tmp_path), read_only=True)
    segments = list(read_segments(store))
    assert manifest_of(store).documents > NUM_ROWS / 2

    expected: dict[str, list[int]] = {}
    for segment in segments:
        for doc_no, doc_id in enumerate(segment.ids, segment.first):
            expected.setdefault(doc_id, []).append(doc_no)

    assert max(map(len, expected.values())) > 1
    for doc_id, doc_nos in expected.items():
        assert [verdict.doc_no for verdict in find_versions(store, doc_id, Damage())] == doc_nos
    next((store.folder / "runs").glob("ids-*")).unlink()
    for doc_id, doc_nos in list(expected.items())[:5]:
        assert [verdict.doc_no for verdict in find_versions(store, doc_id, Damage())] == doc_nos
    store.close()


def test_a_crash_before_and_after_the_warm_up_leaves_no_trace(tmp_path: Path) -> None:
    warm, _, _ = warm_world()
    world = World(documents=warm.documents)
    config = config_of(False, poll_documents=100, epoch_documents=100)
    crashes = {2: CrashPoint.BEFORE_COMMIT, 5: CrashPoint.AFTER_COMMIT, 6: CrashPoint.BEFORE_COMMIT}

    assert run(world, config, tmp_path, crashes=crashes, flush=False) == 3

    assert outcome(world) == outcome(warm)


def test_the_teachers_own_vectors_survive_a_crash(tmp_path: Path) -> None:
    rows = make_rows(7, 570)
    config = make_config(embedding={"mode": "teacher"}, daemon={"poll_documents": 30, "epoch_documents": 30})
    undisturbed_world, crashed_world = World(documents=rows), World(documents=rows)

    run(undisturbed_world, config, tmp_path / "undisturbed")
    num_crashes = run(crashed_world, config, tmp_path / "crashed", crashes={19: CrashPoint.AFTER_COMMIT}, wipes=True)

    assert num_crashes == 1
    assert outcome(crashed_world) == outcome(undisturbed_world)
    assert outcome(crashed_world).student_version == 0


@pytest.fixture
def soon_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retraining, "TRAINING_TICKS", 2)


DRIFTING = (700, 4000)


def retraining_config(**daemon: object) -> Config:
    return make_config(daemon=daemon, embedding={"retrain_drop": 0.08}, **SELECTING)


@cache
def undisturbed_drift() -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        world = World(documents=make_drifting_rows(5, *DRIFTING))
        run(world, retraining_config(), Path(folder))
    return outcome(world)


@pytest.mark.usefixtures("soon_trained")
@pytest.mark.parametrize("wipes", [False, True])
def test_a_crash_at_any_time_of_a_retraining_leaves_no_trace(tmp_path: Path, wipes: bool) -> None:
    world = World(documents=make_drifting_rows(5, *DRIFTING))
    # About one crash in each tick, from the warm-up to after the second version.
    crashes = {epoch: CrashPoint.BEFORE_COMMIT if epoch % 2 else CrashPoint.AFTER_COMMIT for epoch in range(4, 47, 5)}

    num_crashes = run(world, retraining_config(epoch_documents=100), tmp_path, crashes=crashes, wipes=wipes)

    assert num_crashes == len(crashes)
    assert undisturbed_drift().student_version == 2
    assert outcome(world) == undisturbed_drift()


@pytest.mark.usefixtures("soon_trained")
def test_a_standby_takes_over_with_the_present_student(tmp_path: Path) -> None:
    world = World(documents=make_drifting_rows(5, *DRIFTING))
    crashes = dict.fromkeys((3, 14, 20), CrashPoint.AFTER_COMMIT)

    run_with_standbys(world, retraining_config(poll_documents=200, epoch_documents=200), tmp_path, crashes)

    assert outcome(world) == undisturbed_drift()


def test_what_is_kept_open_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    world = new_world(1, NUM_ROWS, tmp_path)
    rows, world.documents = world.documents, world.documents[:777]
    run(world, config_of(True), tmp_path, flush=False)
    world.documents = rows

    run(world, config_of(True), tmp_path)

    assert outcome(world) == undisturbed(1, True)


def test_sequences_are_dense_and_within_their_length() -> None:
    for selecting in (False, True):
        sequences = undisturbed(3, selecting).sequences

        assert [sequence[0] for sequence in sequences] == list(range(len(sequences)))
        assert len(sequences) > 20
        assert all(0 < len(tokens) <= 4 * 512 for _, _, tokens, *_ in sequences if isinstance(tokens, bytes))
