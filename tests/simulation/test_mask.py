"""Masking under crashes: the same outcome for any polls, and retractions by the ids that producers know."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from consumers.broker import RawDocument
from consumers.memory import CrashPoint
from curation.acquisition.mask import KEY_VARIABLE
from curatord.records import Retraction
from state.ledger import LEDGER
from tests.planted import broken, contents, pieces_in, planted
from tests.simulation.world import WORDS, Outcome, make_config, new_world, outcome, run, tokenizer


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "0123456789abcdef0123456789abcdef")


def rows() -> list[RawDocument]:
    draw = random.Random(5)
    values: list[bytes | Retraction] = []
    for number in range(250):
        record = planted(number, draw.choices(WORDS, k=60))
        values.append(msgspec.json.encode(record))
        if number % 11 == 3:
            values += [broken(number), Retraction(id=record["id"], timestamp_us=1)]
        if number % 13 == 5:
            values += [msgspec.json.encode(record), msgspec.json.encode({**record, "text": record["text"] + " new"})]
    return [RawDocument("new", at, value) for at, value in enumerate(values)]


def masked(folder: Path, poll: int, crashes: dict[int, CrashPoint] | None = None) -> tuple[Outcome, bytes]:
    world = new_world(0, 0, folder)
    world.documents = [*world.documents, *rows()]
    config = make_config(mask={"enabled": True}, daemon={"poll_documents": poll, "epoch_documents": 60})
    run(world, config, folder, crashes=crashes)
    seen = [tokenizer().decode(sequence.tokens_T) for sequence in world.sequences]
    seen += [repr(world.holdouts), repr(world.dead_letters), repr([sequence.doc_ids for sequence in world.sequences])]
    facts = b"".join(
        bytes(part) for record in world.journal for _, key, value in record.changes for part in (key, value or b"")
    )
    return outcome(world), "".join(seen).encode() + facts + b"".join(what for _, what in contents(folder))


def test_polls_and_crashes_leave_no_trace_and_nothing_raw_is_anywhere(tmp_path: Path) -> None:
    first, everything = masked(tmp_path / "a", 1000)
    crashes = dict.fromkeys(range(1, 12, 3), next(iter(CrashPoint)))

    assert masked(tmp_path / "b", 3)[0] == first
    assert masked(tmp_path / "c", 17, crashes)[0] == first
    assert pieces_in(everything) == []
    ledger = LEDGER.value.decode(first.ledger)
    assert ledger.masked["email"] > 250
    assert ledger.masked["secret"] > 20


def test_a_retraction_takes_the_document_back_that_came_under_the_masked_id(tmp_path: Path) -> None:
    ledger = LEDGER.value.decode(masked(tmp_path, 100)[0].ledger)

    assert ledger.rows["retraction"] >= 23
    assert ledger.rejected_later["retracted"] >= 15
    assert ledger.rejected_later["replaced"] >= 10
