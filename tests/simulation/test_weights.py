"""The weight that a document brought along is that of each of its segments, also after faults and with workers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from consumers.broker import RawDocument
from consumers.memory import CrashPoint, World
from curatord.records import Retraction
from curatord.sequence import PackedSequence
from daemon.commands.explain import explain
from tests.simulation.world import WORDS, make_config, new_world, outcome, run

WEIGHED = {"input": {"fields": {"weight": "weight"}}}


def record(name: str, weight: object, words: int = 60) -> bytes:
    text = " ".join(f"{word}{name}" for word in WORDS[:words])
    return json.dumps({"id": name, "text": text, "weight": weight}).encode()


def weights_of(sequences: list[PackedSequence]) -> dict[str, set[float]]:
    """The weights of each document's segments."""
    found: dict[str, set[float]] = {}
    for sequence in sequences:
        assert sequence.weights_S is not None
        assert sequence.qualities_S is not None
        assert ((sequence.qualities_S >= 0) & (sequence.qualities_S <= 1)).all()
        for doc_id, weight in zip(sequence.doc_ids, sequence.weights_S.tolist(), strict=True):
            found.setdefault(doc_id, set()).add(weight)
    return found


def rows() -> list[bytes | Retraction]:
    """Documents with weights, without, with wrong ones, in a new version, and retracted."""
    values: list[bytes | Retraction] = [record(f"n{place}", place / 8) for place in range(300)]
    values += [record("long", 2.5, 600), record("none", None), record("bad", -1), record("worse", "1")]
    values += [record("n7", 4), Retraction(id="n8", timestamp_us=1), record("n9", 0, 61)]
    return values


def world_of(folder: Path) -> World:
    world = new_world(0, 0, folder)
    world.documents += [RawDocument("new", at, value) for at, value in enumerate(rows())]
    return world


@pytest.mark.parametrize("poll", [9, 1000])
def test_a_weight_comes_out_as_it_came_in(tmp_path: Path, poll: int) -> None:
    world = world_of(tmp_path)
    before = len(world.sequences)
    crashes = {3: CrashPoint.BEFORE_COMMIT, 5: CrashPoint.AFTER_COMMIT}
    run(
        world, make_config(**WEIGHED, daemon={"poll_documents": poll, "epoch_documents": 50}), tmp_path, crashes=crashes
    )

    found = weights_of(world.sequences[before:])

    expected = {f"n{place}": {place / 8} for place in range(300)} | {"long": {2.5}, "none": {1.0}}
    expected["n9"] = {0.0}  # of the new text; the text that came again with another weight, n7, is the one of before
    missing = {"n8", *outcome(world).holdouts}
    assert {name: found[name] for name in expected.keys() - missing} == {
        name: weights for name, weights in expected.items() if name not in missing
    }
    assert not found.keys() & {"bad", "worse", "n8"}
    # Documents of before had no weight.
    assert all(weights == {1.0} for name, weights in found.items() if name not in expected)
    assert [letter.reason for letter in world.dead_letters[-2:]] == ["bad_weight"] * 2


def test_without_a_field_of_weights_no_sequence_has_any(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    run(world, make_config(), tmp_path)
    assert all(sequence.weights_S is None and sequence.qualities_S is None for sequence in world.sequences)


def test_explain_tells_the_weight_and_what_made_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = world_of(tmp_path)
    # The tick after the first, which only teaches.
    world.documents += [RawDocument("more", at, record(f"m{at}", 3.0)) for at in range(600)]
    before = len(world.sequences)
    weights = {"by": ["commonness"], "memory_mib": 1, "after_tokens": 1000}
    run(world, make_config(**WEIGHED, weights=weights), tmp_path)
    found = weights_of(world.sequences[before:])
    name = next(name for name in (f"m{at}" for at in range(300, 600)) if name in found)
    explain(name, tmp_path, as_json=False)
    told = capsys.readouterr().out
    match = re.search(r"weight +(\S+): (\S+) that it brought along x (\S+) by commonness x 1 / (\S+),", told)
    assert match is not None, told
    weight, given, factor, mean = map(float, match.groups())
    assert {weight} == {float(f"{value:.3g}") for value in found[name]}
    assert given == 3.0
    assert weight == pytest.approx(given * factor / mean, rel=0.02)
    assert re.search(r"commonness +perplexity \S+, entropy \S+ bits a token", told)


def test_weights_that_were_given_before_a_restart_count_after_it(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    before = len(world.sequences)
    # Enough rows to end a tick, whose documents the packer holds.
    world.documents += [RawDocument("more", at, record(f"m{at}", 3.0)) for at in range(600)]
    run(world, make_config(**WEIGHED), tmp_path, flush=False)
    run(world, make_config(), tmp_path)
    weighed = [sequence for sequence in world.sequences[before:] if sequence.weights_S is not None]
    assert weighed
    found = weights_of(weighed)
    assert {3.0} in [weights for name, weights in found.items() if name.startswith("m")]
