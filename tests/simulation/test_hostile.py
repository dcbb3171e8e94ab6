"""Hostile input through the whole pipeline: everything ends in a decision, nothing ends the process."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec
import pytest
import zstandard

from consumers.broker import RawDocument
from consumers.memory import World
from state.ledger import LEDGER, Ledger
from tests.corpus import read_zst_jsonl
from tests.simulation.world import make_config, new_world, outcome, run


def hostile_rows(folder: Path) -> list[bytes]:
    """Every case as it is and, where it is text, as a document; the lines meant for a reader of JSON lines."""
    rows = []
    for case in read_zst_jsonl(folder / "cases.jsonl.zst"):
        rows.append(base64.b64decode(case["b64"]))
        if "text" in case:
            rows.append(msgspec.json.encode({"id": case["id"], "text": case["text"]}))
    with (folder / "raw_lines.bin.zst").open("rb") as file:
        rows += zstandard.ZstdDecompressor().stream_reader(file).read().split(b"\n")
    return rows


@pytest.mark.parametrize("preset", ["observe", "fineweb"])
def test_every_hostile_case_ends_in_exactly_one_decision(corpora: Path, tmp_path: Path, preset: str) -> None:
    world = new_world(0, 0, tmp_path)
    before = ledger_of(world).rows_read
    rows = hostile_rows(corpora / "hostile")
    world.documents = [*world.documents, *(RawDocument("hostile", at, row) for at, row in enumerate(rows))]

    run(world, make_config(quality={"preset": preset}), tmp_path)

    ledger = ledger_of(world)
    assert ledger.rows_read - before == len(rows)
    assert sum(ledger.rows.values()) == ledger.rows_read
    assert ledger.rows["dead"] == len(world.dead_letters)
    assert ledger.rows["dead"] > 200
    assert ledger.tokens_accepted == ledger.tokens_emitted_first + ledger.tokens_rejected_later


def ledger_of(world: World) -> Ledger:
    return LEDGER.value.decode(outcome(world).ledger)
