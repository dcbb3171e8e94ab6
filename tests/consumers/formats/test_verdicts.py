"""Verdict records: what the facts say of every document, for readers that know nothing but Arrow."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from consumers.broker import RawDocument
from consumers.formats import verdicts
from consumers.formats.verdicts import MAX_RECORD_BYTES, verdict_records
from state.epoch import Epoch
from state.ledger import LEDGER
from state.segments import DOCUMENTS, Verdicts, read_segments, verdict_of
from state.store import Store, state_folder
from tests.simulation.world import make_config, new_world, outcome, run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The state after everything happened that can happen to a document."""
    folder = tmp_path_factory.mktemp("verdicts")
    world = new_world(3, 600, folder)
    long = msgspec.json.encode({"id": "é" * 512, "text": "a text with a long name", "source": "s" * 10_000})
    world.documents = [*world.documents, RawDocument("long", 0, long)]
    run(world, make_config(quality={"preset": "gopher"}), folder)
    opened = Store(state_folder(folder))
    yield opened, LEDGER.value.decode(outcome(world).ledger)
    opened.close()


def epoch_of(store: Store) -> Epoch:
    """Everything that was ever decided, as one epoch."""
    epoch = Epoch(number=1, identity="")
    for family in ("documents", "retracted"):
        for key, value in store.items(family):
            epoch.put(family, key, value)
    return epoch


def rows_of(records: list[bytes]) -> list[dict[str, Any]]:
    return [row for record in records for row in pa.ipc.open_stream(record).read_all().to_pylist()]


def test_every_document_has_the_verdict_that_its_facts_tell(store: Any) -> None:
    opened, ledger = store
    rows = rows_of(verdict_records(epoch_of(opened), opened))
    facts = [verdict_of(segment, row) for segment in read_segments(opened) for row in range(len(segment))]
    ids = {fact.doc_no: fact.doc_id for fact in facts}
    assert len([row for row in rows if row["outcome"] != "taken_back"]) == len(facts) > 900
    for row, fact in zip(rows, facts, strict=False):
        assert (row["doc_id"], row["input"], row["position"]) == (fact.doc_id, fact.input, fact.position)
        assert (row["stage"], row["reason"], row["num_tokens"]) == (fact.stage, fact.reason, fact.num_tokens)
        assert row["outcome"] == ("rejected" if fact.stage else "accepted")
        assert row["source"] == fact.source
        assert row["match_id"] == ids.get(fact.match)
        assert (row["value"] is None) == (fact.value != fact.value)
        if row["similarity"] is not None:
            assert row["stage"] in ("near_dedup", "exact_dedup")
            assert row["similarity"] == (fact.value if fact.stage == "near_dedup" else 1)
    outcomes = Counter(row["outcome"] for row in rows)
    assert outcomes["accepted"] == ledger.rows["accepted"]
    assert outcomes["rejected"] == ledger.rows["rejected"]
    assert outcomes["taken_back"] == len(list(opened.items("retracted"))) > 10
    assert {"near_dedup", "exact_dedup", "quality"} <= {row["stage"] for row in rows}
    assert all(row["match_id"] for row in rows if row["stage"].endswith("_dedup"))


def test_records_are_bounded_and_in_order(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, _ = store
    whole = verdict_records(epoch_of(opened), opened)
    monkeypatch.setattr(verdicts, "MAX_RECORD_BYTES", 8 << 10)
    parts = verdict_records(epoch_of(opened), opened)
    assert len(parts) > len(whole)
    assert max(map(len, parts)) <= 8 << 10
    assert rows_of(parts) == rows_of(whole)


def test_ids_of_the_greatest_length_stay_below_the_limit() -> None:
    rows = [
        dict.fromkeys(verdicts.SCHEMA.names)
        | dict.fromkeys(("doc_id", "match_id", "source", "language", "input", "reason"), "😀" * 256)
        for _ in range(2000)
    ]
    for row in rows:
        row["source"] = str(id(row)) * 20
    records: list[bytes] = []
    verdicts._encode(pa.RecordBatch.from_pylist(rows, schema=verdicts.SCHEMA), records)
    assert len(records) > 1
    assert max(map(len, records)) <= MAX_RECORD_BYTES
    assert sum(len(rows_of([record])) for record in records) == 2000


def test_an_epoch_without_documents_has_no_record(store: Any) -> None:
    assert verdict_records(Epoch(number=1, identity=""), store[0]) == []


def test_a_message_may_declare_more_languages_than_16_bits_count(store: Any) -> None:
    opened, _ = store
    num = (1 << 16) + 2
    doc_nos_B, nothing_B = np.arange(num), np.zeros(num, np.int64)
    languages = [f"x{doc_no}" for doc_no in range(num)]
    decided = Verdicts(0, num, [])
    decided.measure(doc_nos_B, np.ones(num, np.float32), languages, np.empty((num, 0), np.float32))
    segment = decided.segment(
        ids=languages,
        id_keys_B2=np.zeros((num, 2), np.uint64),
        text_keys_B2=np.zeros((num, 2), np.uint64),
        url_keys_B2=np.zeros((num, 2), np.uint64),
        ordinals_B=doc_nos_B,
        inputs=["i"] * num,
        positions_B=np.arange(num),
        sources=[""] * num,
        num_bytes_B=nothing_B,
    )
    epoch = Epoch(number=1, identity="")
    DOCUMENTS.put(epoch, 0, segment)

    rows = rows_of(verdict_records(epoch, opened))

    assert [row["language"] for row in rows] == languages
    assert verdict_of(segment, num - 1).language == languages[-1]
