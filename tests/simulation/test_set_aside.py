"""Documents that end the process: set aside in the third life, wherever it ends, and nothing else is changed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

import consumers.formats.documents
import daemon.stages.identify
from consumers.attempts import FATAL
from consumers.formats.undecodable import TOOK_PROCESS_DOWN
from consumers.memory import Crash, CrashPoint, World
from curation.dedup.near import NearDedup
from curation.quality.judge import Quality
from curatord.records import DeadLetter
from kernels.columns import Texts
from packing.tokenizer import Tokenizer
from tests.simulation.world import WORDS, Outcome, make_config, new_world, outcome, run

WORD = "deathcap"
NUM_ROWS = 300
KNOWN_ROWS = 520  # of the warm world


def die() -> None:
    """As kill -9 in the middle of the work: nothing on the way hears of it."""
    raise Crash(0, CrashPoint.BEFORE_COMMIT)


def holds_word(text: object) -> bool:
    return WORD.encode() in bytes(text.buffer_N) if isinstance(text, Texts) else WORD in str(text)


def dying(function: Callable[..., object]) -> Callable[..., object]:
    """The function, which kills if an argument holds the word."""

    def call(*arguments: object, **named: object) -> object:
        if any(map(holds_word, arguments)):
            die()
        return function(*arguments, **named)

    return call


# Where it dies: the module or class, and its function.
PLACES: dict[str, tuple[object, str]] = {
    "decode": (consumers.formats.documents, "read_columns"),
    "identify": (daemon.stages.identify, "fingerprint"),
    "quality": (Quality, "measure"),
    "near_dedup": (NearDedup, "sign"),
    "tokenize": (Tokenizer, "encode_batch"),
}


def killer(number: int) -> bytes:
    words = " ".join(f"{word}{number}" for word in WORDS[:30])
    return msgspec.json.encode({"id": f"killer-{number}", "text": f"{words} {WORD}"})


def with_values(world: World, values: dict[int, bytes]) -> World:
    """Other values at these rows, counted from the first that is not read yet."""
    rows = list(world.documents)
    for at, value in values.items():
        rows[KNOWN_ROWS + at] = msgspec.structs.replace(rows[KNOWN_ROWS + at], value=value)
    world.documents = rows
    return world


def without_reasons(found: Outcome, at: Sequence[int]) -> Outcome:
    """Everything but why rows are dead, and how long they are."""
    ledger = msgspec.json.decode(msgspec.json.encode(msgspec.msgpack.decode(found.ledger)))
    for name in ("dead", "bytes", "bytes_read"):
        del ledger[name]
    letters = tuple(
        ("" if position - KNOWN_ROWS in at else reason, position) for reason, position in found.dead_letters
    )
    return replace(found, ledger=msgspec.json.encode(ledger), dead_letters=letters)


def undisturbed(folder: Path, seed: int, at: Sequence[int]) -> Outcome:
    """Outcome of a world where these rows cannot be read."""
    world = with_values(new_world(seed, NUM_ROWS, folder), dict.fromkeys(at, b"{"))
    run(world, make_config(), folder)
    return without_reasons(outcome(world), at)


def letters_of(world: World) -> list[DeadLetter]:
    return [letter for letter in world.dead_letters if letter.reason == TOOK_PROCESS_DOWN]


@pytest.mark.parametrize("place", PLACES)
def test_a_document_that_kills_is_set_aside_in_the_third_life_wherever_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    rng = random.Random(place)
    at = sorted(rng.sample(range(NUM_ROWS), 1))
    expected = undisturbed(tmp_path / "undisturbed", 3, at)
    world = with_values(new_world(3, NUM_ROWS, tmp_path / "killed"), {row: killer(row) for row in at})
    owner, name = PLACES[place]
    monkeypatch.setattr(owner, name, dying(getattr(owner, name)))

    num_deaths = run(world, make_config(daemon={"poll_documents": 64, "epoch_documents": 150}), tmp_path / "killed")

    assert num_deaths == FATAL
    assert without_reasons(outcome(world), at) == expected
    (letter,) = letters_of(world)
    assert letter.position - KNOWN_ROWS == at[0]
    assert letter.original == killer(at[0])
    assert not letter.truncated
    assert "Crash" in letter.message


def test_deaths_at_random_places_leave_all_other_rows_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulation_seed: int
) -> None:
    if simulation_seed % 5:
        pytest.skip("a fifth of the seeds: each is a dozen lives")
    rng = random.Random(simulation_seed)
    at = sorted(rng.sample(range(NUM_ROWS), rng.randrange(1, 6)))
    expected = undisturbed(tmp_path / "undisturbed", simulation_seed % 4, at)
    world = with_values(new_world(simulation_seed % 4, NUM_ROWS, tmp_path / "killed"), {row: killer(row) for row in at})
    owner, name = PLACES[rng.choice(list(PLACES))]
    monkeypatch.setattr(owner, name, dying(getattr(owner, name)))
    config = make_config(
        daemon={"poll_documents": rng.choice([1, 7, 64, 256]), "epoch_documents": rng.randrange(9, 200)}
    )
    # Other deaths beside them, which are no row's fault.
    crashes = {epoch: rng.choice(list(CrashPoint)) for epoch in range(1, 40) if rng.random() < 0.2}

    num_deaths = run(world, config, tmp_path / "killed", crashes=crashes, wipes=simulation_seed % 2 == 1)

    assert without_reasons(outcome(world), at) == expected
    assert [letter.position - KNOWN_ROWS for letter in letters_of(world)] == at
    assert num_deaths <= FATAL * len(at) + len(crashes)


def test_rows_that_are_killed_by_chance_pass_their_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = undisturbed(tmp_path / "undisturbed", 2, ())
    world = new_world(2, NUM_ROWS, tmp_path / "killed")
    measure, process, kills = Quality.measure, os.getpid(), iter(range(3))

    def killed_by_chance(*arguments: object, **named: object) -> object:
        if os.getpid() == process and next(kills, None) is not None:
            die()
        return measure(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Quality, "measure", killed_by_chance)

    # Twice in the same poll, and once while its rows, which passed their trial, go through one by one.
    num_deaths = run(world, make_config(daemon={"poll_documents": 64, "epoch_documents": 64}), tmp_path / "killed")

    assert num_deaths == 3
    assert letters_of(world) == []
    assert without_reasons(outcome(world), ()) == expected
