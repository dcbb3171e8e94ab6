"""Where a poll ends leaves no trace: rows that stand just before a new version, a tick, or a retraction."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from consumers.broker import RawDocument
from curation.dedup.hash_index import HashIndex
from curatord.records import Retraction
from state.ledger import LEDGER
from tests.simulation.world import NUM_WARM_ROWS, WORDS, Outcome, make_config, new_world, outcome, run

TICK = 1024  # the first that the warm world has not passed


def document(name: str, version: int = 0, timestamp_us: int = 0) -> bytes:
    """A text of its own for every name and version, no near-duplicate of another."""
    words = " ".join(f"{word}{name}v{version}" for word in WORDS[:40])
    return msgspec.json.encode({"id": name, "text": words, "timestamp": timestamp_us})


def outcomes(folder: Path, values: list[bytes | Retraction], polls: tuple[int, ...]) -> list[Outcome]:
    """Outcomes of these rows after the warm world, by rows of a poll."""
    found = []
    for poll in polls:
        world = new_world(0, 0, folder / str(poll))
        new = [RawDocument("new", at, value) for at, value in enumerate(values)]
        world.documents = [*world.documents, *new]
        run(world, make_config(daemon={"poll_documents": poll, "epoch_documents": 100_000}), folder / str(poll))
        found.append(outcome(world))
    return found


@pytest.mark.parametrize("nothing_new", ["redelivered", "dead"])
def test_a_tick_takes_the_old_version_if_the_new_one_comes_after_its_end(tmp_path: Path, nothing_new: str) -> None:
    names = [f"d{row}" for row in range(NUM_WARM_ROWS, TICK - 15)]
    old = [document(name) for name in names]
    before: list[bytes | Retraction] = [Retraction(id="unknown", timestamp_us=1), *old[:20]]
    if nothing_new == "dead":
        before = [b"{"] * 21
    later = [document(f"e{row}") for row in range(60)]
    rows = [*old, *before, document(names[300], 1), *later]

    first, *others = outcomes(tmp_path, rows, (7, len(old) + 1, 1000))

    assert all(other == first for other in others)


def test_a_text_that_was_withheld_counts_when_a_newer_message_brings_it(tmp_path: Path) -> None:
    retraction = Retraction(id="k", timestamp_us=10**15)
    late, again = document("k", timestamp_us=10**15), document("k", timestamp_us=2 * 10**15)

    first, *others = outcomes(tmp_path, [retraction, late, late, again, late], (1, 1000))

    assert all(other == first for other in others)
    before = LEDGER.value.decode(outcome(new_world(0, 0, tmp_path / "before")).ledger).rows
    after = LEDGER.value.decode(first.ledger).rows
    assert {name: after[name] - before[name] for name in ("accepted", "rejected", "redelivered")} == {
        "accepted": 1,
        "rejected": 2,
        "redelivered": 1,
    }


def test_the_ids_of_a_poll_are_looked_up_once_however_many_runs_it_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions: list[bytes | Retraction] = [document("k", version) for version in range(200)]
    num_keys: list[int] = []
    find = HashIndex.find

    def counted(index: HashIndex, keys_B2: NDArray[np.uint64]) -> NDArray[np.int64]:
        num_keys.append(len(keys_B2))
        return find(index, keys_B2)

    monkeypatch.setattr(HashIndex, "find", counted)
    (only,) = outcomes(tmp_path, versions, (200,))

    assert LEDGER.value.decode(only.ledger).rejected_later["replaced"] >= 199
    assert sum(num_keys) < 10 * len(versions)


def test_versions_that_alternate_in_one_poll_replace_each_other_as_in_many(tmp_path: Path) -> None:
    rows: list[bytes | Retraction] = []
    for round_ in range(6):
        rows += [document("a", round_), document("b", round_ // 2), document(f"c{round_}"), document("b", round_ // 2)]
        rows.append(Retraction(id=("a", "b", "unknown")[round_ % 3], timestamp_us=1))

    first, *others = outcomes(tmp_path, rows, (1, 7, 1000))

    assert all(other == first for other in others)
