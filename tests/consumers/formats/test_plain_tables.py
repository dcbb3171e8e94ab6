"""Plain tables give the columns that their rows would have one by one; others are left to `tables`."""

from __future__ import annotations

import pickle
from dataclasses import asdict
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.broker import RawDocument
from consumers.formats.columns import TableRow
from consumers.formats.documents import Arrivals, decode_rows
from consumers.formats.fields import FieldNames
from consumers.formats.input_config import InputConfig
from consumers.formats.plain_tables import plain_columns
from consumers.formats.tables import documents_of
from curatord.errors import Undecodable
from curatord.records import Document
from kernels.simd import PADDING_BYTES

FIELDS = FieldNames(weight="weight", scores={"edu": "edu"})
LIMIT = 100
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def table_rows(batch: Any) -> list[TableRow]:
    columns = plain_columns(batch, FIELDS, LIMIT)
    assert columns is not None
    return [TableRow(columns, row, size) for row, size in enumerate(columns.texts.num_bytes().tolist())]


def without_numbers(document: Document | Undecodable) -> Document:
    assert isinstance(document, Document)
    return msgspec.structs.replace(document, numbers=())


@given(st.data())
def test_the_rows_of_a_plain_table_are_its_documents(data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 8))
    column = st.lists(st.none() | TEXTS, min_size=rows, max_size=rows)
    texts = data.draw(st.lists(TEXTS, min_size=rows, max_size=rows))
    columns = {"text": pa.array(texts, data.draw(st.sampled_from([pa.string(), pa.large_string()])))}
    for name in data.draw(st.sets(st.sampled_from(["url", "source", "language", "id"]))):
        columns[name] = pa.array(data.draw(column), pa.string())
    if "id" in columns and data.draw(st.booleans()):
        columns["id"] = pa.array([None, *range(rows)][:rows], pa.int32())
    if data.draw(st.booleans()):
        weights = st.none() | st.floats(0, 100, width=16)
        kind = data.draw(st.sampled_from([pa.float16(), pa.float32(), pa.float64()]))
        columns["weight"] = pa.array(
            [None if w is None else np.float16(w) for w in data.draw(st.lists(weights, min_size=rows, max_size=rows))]
        ).cast(kind)
        columns["edu"] = pa.array([None, *range(rows)][:rows], pa.int32())
    batch = pa.RecordBatch.from_pydict(columns)
    first = data.draw(st.integers(0, rows - 1))
    batch = batch.slice(first, data.draw(st.integers(1, rows - first)))

    found = table_rows(batch)

    documents = list(documents_of(batch, FIELDS, LIMIT))
    assert [without_numbers(row.document()) for row in found] == [without_numbers(document) for document in documents]
    expected = [document.numbers for document in documents if isinstance(document, Document)]
    assert np.array_equal(found[0].columns.numbers_BG, np.array(expected, np.float32), equal_nan=True)
    buffer_N = found[0].columns.texts.buffer_N
    assert not buffer_N[len(buffer_N) - PADDING_BYTES :].any()


@pytest.mark.parametrize(
    "columns",
    [
        {"text": ["a", None]},
        {"text": ["a", "b" * (LIMIT + 1)]},
        {"text": ["a", "b"], "id": ["x", "y" * 1025]},
        {"text": ["a", "b"], "id": [1.0, 2.5]},
        {"text": ["a", "b"], "url": [1, 2]},
        {"text": ["a", "b"], "timestamp": [1, 2]},
        {"text": ["a", "b"], "weight": [1.0, -1.0]},
        {"text": ["a", "b"], "weight": [1.0, float("nan")]},
        {"text": ["a", "b"], "weight": ["1", "2"]},
        {"text": [b"a", b"b"]},
        {"text": pa.array([b"a", b"\xff"]).view(pa.string())},
        {"text": pa.array(["a", "b"]).dictionary_encode()},
        {"text": pa.array(["a", "b"]), "url": pa.array([b"a", b"\xff"]).view(pa.string())},
        {"content": ["a", "b"]},
        {"text": pa.array([], pa.string())},
    ],
    ids=lambda columns: str(columns)[:40],
)
def test_a_table_with_anything_else_is_not_plain(columns: dict[str, Any]) -> None:
    assert plain_columns(pa.RecordBatch.from_pydict(columns), FIELDS, LIMIT) is None


def test_ids_that_are_not_asked_for_are_not_read() -> None:
    columns = plain_columns(pa.RecordBatch.from_pydict({"text": ["a"], "id": [2.5]}), FieldNames(id=""), LIMIT)
    assert columns is not None
    assert columns.ids == [""]


def shown(arrivals: Arrivals) -> dict[str, Any]:
    documents = asdict(arrivals.documents)
    documents["texts"] = list(arrivals.documents.texts)
    documents["numbers_BG"] = np.nan_to_num(documents["numbers_BG"], nan=-1)
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in documents.items()}


@given(st.lists(st.sampled_from("abjdu"), max_size=12))
def test_rows_of_tables_come_through_beside_all_others(kinds: str) -> None:
    parts = {
        kind: table_rows(
            pa.RecordBatch.from_pydict({"id": [f"{kind}{n}" for n in range(12)], "text": [kind * n for n in range(12)]})
        )
        for kind in "ab"
    }
    one_by_one = {
        "j": b'{"id": "j", "text": "json"}',
        "d": Document(id="d", text="one"),
        "u": Undecodable("no_text", "x"),
    }
    values: list[Any] = [parts[kind][n] if kind in parts else one_by_one[kind] for n, kind in enumerate(kinds)]
    rows = [RawDocument("file", n, value) for n, value in enumerate(values)]
    plain = [RawDocument("file", n, v.document() if isinstance(v, TableRow) else v) for n, v in enumerate(values)]

    found, expected = (decode_rows(some, 7, InputConfig(fields=FIELDS), LIMIT) for some in (rows, plain))

    assert shown(found) == shown(expected)
    assert found.places_B.tolist() == expected.places_B.tolist()
    assert found.others.keys() == expected.others.keys()


def test_rows_of_one_part_are_not_copied() -> None:
    part = table_rows(pa.RecordBatch.from_pydict({"text": ["one", "two", "three"]}))
    arrivals = decode_rows([RawDocument("file", n, part[n]) for n in (1, 2)], 0, InputConfig(fields=FIELDS), LIMIT)
    assert arrivals.documents.texts.buffer_N is part[0].columns.texts.buffer_N


def test_a_row_goes_to_another_process_by_itself() -> None:
    columns = {"text": ["one", "two"], "source": ["s", None], "weight": [0.5, None], "edu": [2, 3]}
    row, _ = table_rows(pa.RecordBatch.from_pydict(columns))
    assert pickle.loads(pickle.dumps(row)) == Document(id=None, text="one", source="s", numbers=(0.5, 2.0))
