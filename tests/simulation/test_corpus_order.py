"""The order of a corpus through the pipeline: every document once, in an order that no batch or crash moves."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from consumers.memory import CrashPoint
from curation.selection import corpus_order
from daemon.config import Config
from state.ledger import LEDGER
from tests.simulation.world import Outcome, make_config, new_world, outcome, run

NUM_ROWS = 500


def _config(schedule: str, **daemon: object) -> Config:
    return make_config(mixture={"schedule": schedule}, daemon=daemon)


def _outcome(folder: Path, config: Config, **faults: object) -> Outcome:
    world = new_world(1, NUM_ROWS, folder)
    run(world, config, folder, **faults)
    return outcome(world)


def test_batches_crashes_and_lost_disks_leave_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_order, "STRETCH", 64)
    expected = _outcome(tmp_path / "undisturbed", _config("g2s"))
    rng = random.Random(0)
    crashes = {epoch: rng.choice(list(CrashPoint)) for epoch in range(3, 60, 2)}
    small = _config("g2s", poll_documents=37, epoch_documents=70)

    assert _outcome(tmp_path / "small", small) == expected
    assert _outcome(tmp_path / "crashes", small, crashes=crashes) == expected
    assert _outcome(tmp_path / "wiped", small, crashes=crashes, wipes=True) == expected
    # The same documents go out, as often, in another order.
    passed = _outcome(tmp_path / "passed", make_config())
    assert passed.sequences != expected.sequences
    emitted = [LEDGER.value.decode(found.ledger).tokens_emitted_first for found in (passed, expected)]
    assert emitted[0] == emitted[1] > 0


def test_nothing_goes_out_before_the_input_has_ended(tmp_path: Path) -> None:
    world = new_world(1, NUM_ROWS, tmp_path)
    before = len(world.sequences)
    run(world, _config("s2g"), tmp_path, flush=False)
    kept_open = len(world.sequences)
    run(world, _config("s2g"), tmp_path)

    assert kept_open - before <= 8  # of documents that were in the pool
    assert len(world.sequences) > kept_open + 20
    other = _outcome(tmp_path / "at once", _config("s2g"))
    assert outcome(world) == other


def test_documents_that_wait_go_out_when_the_schedule_is_gone(tmp_path: Path) -> None:
    world = new_world(1, NUM_ROWS, tmp_path)
    run(world, _config("g2s"), tmp_path, flush=False)
    run(world, make_config(), tmp_path)

    assert LEDGER.value.decode(outcome(world).ledger).tokens_emitted_first == (
        LEDGER.value.decode(_outcome(tmp_path / "other", make_config()).ledger).tokens_emitted_first
    )
