"""Retractions that meet a document's message later: the times of the messages decide which of the two counts."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from consumers.broker import RawDocument
from consumers.memory import World
from curatord.records import Retraction
from state.ledger import LEDGER
from tests.simulation.world import make_config, new_world, outcome, run


def test_a_retraction_from_the_open_shard_of_held_out_documents_survives_a_restart(tmp_path: Path) -> None:
    texts = [msgspec.json.encode({"id": f"h{n}", "text": f"a text of its own {n}"}) for n in range(3)]
    rows: list[RawDocument] = [RawDocument("s", n, text) for n, text in enumerate(texts)]
    rows.insert(1, RawDocument("s", 9, Retraction(id="h0", timestamp_us=1)))
    config = make_config(output={"holdout": 0.9999})

    numbers = []
    for stops in ([4], [2, 4]):
        world, folder = World(), tmp_path / str(stops)
        for stop in stops:
            world.documents = rows[:stop]
            run(world, config, folder, flush=stop == 4)
        numbers.append([(holdout.number, holdout.doc_id) for holdout in world.holdouts])

    assert numbers == [[(1, "h1"), (2, "h2")]] * 2


@pytest.mark.parametrize(
    ("document_ms", "expected"),
    [(999, 0), (1000, 1), (1001, 1)],
    ids=["late from before the retraction", "in the same millisecond, read after it", "published again"],
)
@pytest.mark.parametrize("known", [False, True])
def test_a_document_counts_again_exactly_if_its_message_is_not_older_than_the_retraction(
    tmp_path: Path, document_ms: int, expected: int, known: bool
) -> None:
    world = new_world(0, 0, tmp_path)
    accepted = LEDGER.value.decode(outcome(world).ledger).rows["accepted"]
    first, again = (
        msgspec.json.encode({"id": "k", "text": f"a text of its own {word}", "timestamp": 10**15})
        for word in ("then", "now")
    )
    rows = [
        RawDocument("late", 0, first, timestamp_us=500_000),
        RawDocument("late", 1, Retraction(id="k", timestamp_us=1_000_000), timestamp_us=1_000_000),
        RawDocument("late", 2, again, timestamp_us=document_ms * 1000),
    ]
    world.documents = [*world.documents, *(rows if known else rows[1:])]

    run(world, make_config(), tmp_path)

    assert LEDGER.value.decode(outcome(world).ledger).rows["accepted"] - accepted == known + expected
