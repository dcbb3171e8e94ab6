"""Passages that earlier documents have are without loss, for any cuts, workers, kills and retractions."""

from __future__ import annotations

import random
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import pytest

from consumers.broker import RawDocument
from consumers.formats.prepared import Covers, encode_message
from consumers.memory import CrashPoint, World
from curatord.no_loss import without_loss
from curatord.records import Retraction
from curatord.sequence import PackedSequence
from daemon.config import Config
from daemon.prepared.preparer import open_preparer
from tests.simulation.world import (
    NUM_WARM_ROWS,
    Outcome,
    make_config,
    new_world,
    outcome,
    run,
    run_with_standbys,
    tokenizer,
)

NUM_ROWS = 260


def words(seed: int, count: int) -> str:
    rng = random.Random(seed)
    return " ".join(f"{rng.choice('abcdefghijé')}{rng.randrange(100_000)}" for _ in range(count))


PASSAGES = [words(seed, 110) for seed in range(9)]


def rows() -> list[RawDocument]:
    """Documents that quote a few passages; new versions of some, retractions of others, redeliveries."""
    rng, values = random.Random(5), []
    for at in range(NUM_ROWS):
        kind = rng.random()
        if kind < 0.06:
            values.append(Retraction(id=f"p{rng.randrange(at + 1)}", timestamp_us=1))
            continue
        name = f"p{rng.randrange(at + 1)}" if kind < 0.2 else f"p{at}"
        quoted = [rng.choice(PASSAGES) for _ in range(rng.randrange(3))]
        text = "\n".join([words(1000 + at, rng.randrange(40, 300)), *quoted, words(5000 + at, 60)])
        values.append(msgspec.json.encode({"id": name, "text": text, "source": rng.choice(["web", "laws"])}))
    return [RawDocument("simulated", NUM_WARM_ROWS + at, value) for at, value in enumerate(values)]


def config_of(**daemon: int) -> Config:
    passages = {"enabled": True, "mask": True, "max_share": 0.6, "exempt_sources": ["laws"], "memory_mib": 1}
    return make_config(daemon=daemon, dedup={"passages": passages}, packing={"mode": "best_fit"})


def world_of(folder: Path) -> World:
    world = new_world(0, 0, folder)
    world.documents += rows()
    return world


@cache
def undisturbed() -> Outcome:
    with TemporaryDirectory() as folder:
        world = world_of(Path(folder))
        run(world, config_of(), Path(folder))
        return outcome(world)


def muted_texts(sequence: PackedSequence) -> list[str]:
    """The texts of the ranges without loss."""
    if sequence.no_loss_R2 is None:
        return []
    muted_T = without_loss(sequence.no_loss_R2, len(sequence.tokens_T))
    bounds = [0, *np.cumsum(sequence.segment_lengths_S).tolist()]
    found = []
    for first, end in pairwise(bounds):
        tokens_T = sequence.tokens_T[first:end][muted_T[first:end]]
        found += [tokenizer().decode(tokens_T)] if len(tokens_T) else []
    return found


def test_what_was_seen_is_muted_and_nothing_else(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    before = len(world.sequences)
    run(world, config_of(), tmp_path)

    known = " ".join(PASSAGES).split()
    muted = [text for sequence in world.sequences[before:] for text in muted_texts(sequence)]
    assert len(muted) > 20
    for text in muted:
        # A token at either end may hold the beginning of a neighbour.
        assert set(text.split()[1:-1]) <= set(known)
    assert undisturbed() == outcome(world)


@pytest.mark.parametrize("poll", [1, 7, 100])
def test_polls_commits_crashes_and_a_lost_disk_leave_no_trace(tmp_path: Path, poll: int) -> None:
    world = world_of(tmp_path)
    crashes = dict(zip(range(3, 40, 4), list(CrashPoint) * 9, strict=False))

    run(world, config_of(poll_documents=poll, epoch_documents=20), tmp_path, crashes=crashes, wipes=0.5)

    assert outcome(world) == undisturbed()


def test_a_standby_takes_over_with_the_same_passages(tmp_path: Path) -> None:
    world = world_of(tmp_path / "0")
    crashes = {4: CrashPoint.BEFORE_COMMIT, 8: CrashPoint.AFTER_COMMIT}

    run_with_standbys(world, config_of(poll_documents=30, epoch_documents=20), tmp_path, crashes)

    assert outcome(world) == undisturbed()


@pytest.mark.parametrize("size", [3, 64])
def test_prepared_elsewhere_they_are_the_same(tmp_path: Path, size: int) -> None:
    world = world_of(tmp_path)
    preparer = open_preparer(config_of())
    world.prepared_with = preparer.identity
    at = world.num_read
    while at < len(world.documents):
        part = world.documents[at : at + size]
        covers = Covers(part[0].source, part[0].position, part[-1].position + 1)
        world.prepared = [*world.prepared, encode_message(preparer.prepare(part), covers)]
        at += size
    assert "passages" in preparer.prepare([]).schema.names
    assert "passages" not in open_preparer(make_config()).prepare([]).schema.names

    run(world, config_of(poll_documents=50, epoch_documents=40), tmp_path)

    assert outcome(world) == undisturbed()
