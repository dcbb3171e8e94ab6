"""A lane that reads what workers prepared: any cuts, repetitions and overlaps leave no trace, and a gap stops it."""

from __future__ import annotations

import random
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from consumers.formats.prepared import Covers, encode_message
from consumers.memory import CrashPoint, World
from curatord.errors import StateError
from daemon.prepared.preparer import Preparer, open_preparer
from tests.simulation.test_simulation import NUM_ROWS, config_of, undisturbed
from tests.simulation.world import ByChance, Retention, new_world, outcome, run, run_with_standbys


@cache
def preparer(selecting: bool) -> Preparer:
    """Opened once for all simulations."""
    return open_preparer(config_of(selecting))


@cache
def prepared(seed: int, selecting: bool) -> Any:
    """All rows of a world, prepared."""
    with tempfile.TemporaryDirectory() as folder:
        return preparer(selecting).prepare(new_world(seed, NUM_ROWS, Path(folder)).documents)


def send_as_workers(world: World, seed: int, *, selecting: bool = False) -> list[tuple[int, int]]:
    """Let workers prepare what is left to be read, who die in the middle and begin again further back; their covers."""
    batch, rng = prepared(seed % 4, selecting), random.Random(seed)
    covered = rng.randrange(world.num_read + 1)
    covers: list[tuple[int, int]] = []
    while covered < len(world.documents):
        first = covered
        if covers and rng.random() < 0.25:
            first = rng.randint(max(covers[0][0], covered - 200), covered)  # another worker, or this one again
        end = min(len(world.documents), first + rng.randrange(1, 130))
        covers.append((first, end))
        covered = max(covered, end)
    # A worker that was frozen wakes up, and sends once more what it had.
    covers = [pair for cover in covers for pair in ([cover] if rng.random() < 0.9 else [cover, cover])]
    world.prepared_with = preparer(selecting).identity
    world.prepared = [
        encode_message(batch.slice(first, end - first), Covers(batch.column("input")[0].as_py(), first, end))
        for first, end in covers
    ]
    return covers


def test_messages_cut_anywhere_and_sent_again_leave_no_trace(tmp_path: Path, prepared_seed: int) -> None:
    rng = random.Random(prepared_seed)
    selecting = prepared_seed % 2 == 1
    world = new_world(prepared_seed % 4, NUM_ROWS, tmp_path)
    covers = send_as_workers(world, prepared_seed, selecting=selecting)
    retention = Retention(world, covers, prepared_seed) if prepared_seed % 4 != 1 else None
    config = config_of(selecting, poll_documents=rng.randrange(1, 200), epoch_documents=rng.randrange(20, 300))
    crashes = {epoch: rng.choice(list(CrashPoint)) for epoch in range(1, 60) if rng.random() < 0.2}

    committing = ByChance(prepared_seed) if prepared_seed % 4 else None
    if prepared_seed % 5 == 4:
        run_with_standbys(world, config, tmp_path, crashes, committing=committing, retention=retention)
    else:
        wipes = rng.choice([0.0, 0.5, 1.0])
        run(world, config, tmp_path, crashes=crashes, wipes=wipes, committing=committing, retention=retention)

    assert outcome(world) == undisturbed(prepared_seed % 4, selecting)


def test_a_gap_stops_the_lane_and_nothing_behind_it_is_read_until_it_is_filled(tmp_path: Path) -> None:
    world = new_world(0, NUM_ROWS, tmp_path)
    covers = send_as_workers(world, 0)
    messages = list(world.prepared)
    at = next(n for n, (first, end) in enumerate(covers) if n > 5 and end > max(end for _, end in covers[:n]) + 40)
    world.prepared = messages[:at] + messages[at + 1 :]
    config = config_of(False, poll_documents=20, epoch_documents=20)

    with pytest.raises(StateError, match="positions are missing"):
        run(world, config, tmp_path)
    assert world.num_read <= max(end for _, end in covers[:at])

    world.prepared = messages
    run(world, config, tmp_path)
    assert outcome(world) == undisturbed(0, False)
