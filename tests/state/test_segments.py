"""Verdict segments: what the stages said of each document of a run is what its line says, after encoding too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from state.epoch import Epoch
from state.segments import (
    DOCUMENTS,
    NO_MATCH,
    Segment,
    Segments,
    Verdicts,
    find_document,
    index_column,
    read_segments,
    verdict_of,
)
from state.store import Store

RULES = ("short", "long")


def segment_of(first: int, num_documents: int, verdicts: Verdicts | None = None) -> Segment:
    """A run of documents `doc-<number>` with keys that begin with their number."""
    verdicts = verdicts or Verdicts(first, num_documents, RULES)
    numbers_B = np.arange(first, first + num_documents)
    keys_B2 = np.stack([numbers_B, numbers_B + 1000], axis=1).astype(np.uint64)
    return verdicts.segment(
        ids=[f"doc-{number}" for number in numbers_B],
        id_keys_B2=keys_B2,
        text_keys_B2=keys_B2 + np.uint64(1),
        url_keys_B2=np.zeros_like(keys_B2),
        ordinals_B=numbers_B * 2,
        inputs=["in" if number % 2 else "other" for number in numbers_B],
        positions_B=numbers_B * 3,
        sources=[f"source-{number % 3}" for number in numbers_B],
        num_bytes_B=numbers_B * 10,
    )


def test_each_stage_fills_in_its_own_documents() -> None:
    verdicts = Verdicts(100, 5, RULES)
    verdicts.reject(np.array([101]), "exact_dedup", ["same_text"], matches=np.array([7]))
    measured_B = np.array([100, 102, 103, 104])
    verdicts.measure(
        measured_B,
        np.array([1.0, 0.5, 0.25, 0.75], np.float32),
        ["en", "de", "", "en"],
        np.arange(8, dtype=np.float32).reshape(4, 2),
    )
    verdicts.reject(np.array([103]), "quality", ["short"], values=np.float32(3.0), thresholds=np.float32(5.0))
    verdicts.sign(np.array([100, 104]), np.array([[1, 2], [3, 4]], np.uint8))
    verdicts.accept(np.array([100, 102, 104]), np.array([11, 12, 13]))

    segment = DOCUMENTS.value.decode(DOCUMENTS.value.encode(segment_of(100, 5, verdicts)))
    lines = [verdict_of(segment, row) for row in range(5)]

    assert [(line.stage, line.reason, line.match) for line in lines] == [
        ("", "", NO_MATCH),
        ("exact_dedup", "same_text", 7),
        ("", "", NO_MATCH),
        ("quality", "short", NO_MATCH),
        ("", "", NO_MATCH),
    ]
    assert [line.num_tokens for line in lines] == [11, 0, 12, 0, 13]
    assert [line.language for line in lines] == ["en", "", "de", "", "en"]
    assert (lines[3].value, lines[3].threshold, lines[3].quality) == (3.0, 5.0, 0.25)
    assert lines[4].rules == {"short": 6.0, "long": 7.0}
    assert np.isnan(lines[1].quality)
    assert np.isnan(list(lines[1].rules.values())).all()
    assert segment.column("has_signature", np.bool_).tolist() == [True, False, False, False, True]
    assert segment.signatures == bytes([1, 2, 3, 4])
    assert {outcome: rows.tolist() for outcome, rows in verdicts.counts().items()} == {
        ("", ""): [0, 2, 4],
        ("exact_dedup", "same_text"): [1],
        ("quality", "short"): [3],
    }


def test_a_line_says_where_its_document_came_from() -> None:
    line = verdict_of(segment_of(100, 3), 1)

    assert (line.doc_no, line.doc_id, line.input, line.position) == (101, "doc-101", "in", 303)
    assert (line.source, line.ordinal, line.num_bytes) == ("source-2", 202, 1010)


@given(st.lists(st.sampled_from(["a", "b", "", "\ud800"]), max_size=20))
def test_a_column_of_names_comes_back_from_its_table(names: list[str]) -> None:
    table, index = index_column(names, np.uint32)

    assert [table[place] for place in np.frombuffer(index, np.uint32)] == names
    assert len(table) == len(set(names))


def test_documents_are_found_committed_or_in_the_open_epoch(tmp_path: Path) -> None:
    store = Store(tmp_path)
    segments = Segments(store)
    committed, opened = Epoch(number=1, identity=""), Epoch(number=2, identity="")
    for epoch, first, count in ((committed, 0, 4), (committed, 4, 1), (opened, 5, 3)):
        DOCUMENTS.put(epoch, first, segment_of(first, count))
    store.apply(committed.changes())

    found = {doc_no: segments.find(doc_no, opened) for doc_no in range(8)}

    assert {doc_no: segment.ids[row] for doc_no, (segment, row) in found.items()} == {
        doc_no: f"doc-{doc_no}" for doc_no in range(8)
    }
    assert segments.text_key(6, opened) == np.array([7, 1007], np.uint64).tobytes()
    assert [segment.first for segment in read_segments(store)] == [0, 4]
    document = find_document(store, 3)
    assert document is not None
    assert document.doc_id == "doc-3"
    assert find_document(store, 5) is None  # not committed
    store.close()


def test_documents_are_told_apart_by_their_outcome() -> None:
    verdicts = Verdicts(0, 3, RULES)
    verdicts.reject(np.array([0, 2]), "documents", ["retracted", "empty"])
    segment = segment_of(0, 3, verdicts)

    retracted_B = segment.having(lambda stage, reason: (stage, reason) == ("documents", "retracted"))

    assert retracted_B.tolist() == [True, False, False]
    assert segment.having(lambda stage, reason: not stage).tolist() == [False, True, False]
    assert segment.last_ordinal == 4
