"""Verdicts for others to read: the decision of every document of an epoch, as Arrow tables of bounded size.

Columns and their meaning: docs/verdicts.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consumers.formats.arrays import numbers, strings
from state.common_facts import RETRACTED
from state.epoch import Epoch, VerdictRow
from state.facts import Facts, packed
from state.outcomes import Reason, Stage
from state.segments import DOCUMENTS, NO_MATCH
from state.store import Store

MAX_RECORD_BYTES = 512 << 10
VERSION = b"2"

_NAME = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("input", _NAME),
        ("position", pa.int64()),
        ("source", _NAME),
        ("outcome", _NAME),
        ("stage", _NAME),
        ("reason", _NAME),
        ("value", pa.float32()),
        ("threshold", pa.float32()),
        ("match_id", pa.string()),
        ("similarity", pa.float32()),
        ("num_bytes", pa.int64()),
        ("num_tokens", pa.int64()),
        ("quality", pa.float32()),
        ("language", _NAME),
    ],
    metadata={b"curatord.verdicts": VERSION},
)
FILE_SCHEMA = SCHEMA.append(pa.field("text", pa.large_string()))


class _Ids(msgspec.Struct, frozen=True, array_like=True):
    """The beginning of a `Segment`; the rest is passed over."""

    first: int
    ids: list[str]


_DOCUMENT_IDS = Facts(DOCUMENTS.family, DOCUMENTS.key, packed(_Ids))


def verdict_records(epoch: Epoch, store: Store) -> list[bytes]:
    """Decisions of an epoch, oldest document first: Arrow IPC streams of at most `MAX_RECORD_BYTES`."""
    records: list[bytes] = []
    for batch in (*_decided(epoch, store), *_taken_back(epoch, store)):
        _encode(batch, records)
    return records


def _decided(epoch: Epoch, store: Store) -> Iterator[pa.RecordBatch]:
    """One table of all documents that were decided."""
    segments = [segment for _, segment in DOCUMENTS.changed(epoch.changes()) if segment is not None]
    if not segments:
        return
    matches_B = np.concatenate([segment.column("matches", np.int64) for segment in segments])
    names = _names(matches_B[matches_B != NO_MATCH].tolist(), epoch, store)
    stage_of = [[stage for stage, _ in segment.outcomes] for segment in segments]
    reason_of = [[reason for _, reason in segment.outcomes] for segment in segments]
    outcome_of = [["rejected" if stage else "accepted" for stage in stages] for stages in stage_of]
    outcome_indices = [segment.column("outcome_index", np.uint16) for segment in segments]
    values_B = np.concatenate([segment.column("values", np.float32) for segment in segments])
    stages = _named(stage_of, outcome_indices)
    reasons = _named(reason_of, outcome_indices)
    yield pa.record_batch(
        [
            strings([doc_id for segment in segments for doc_id in segment.ids]),
            _named([s.inputs for s in segments], [s.column("input_index", np.uint32) for s in segments]),
            numbers(np.concatenate([s.column("positions", np.int64) for s in segments])),
            _named([s.sources for s in segments], [s.column("source_index", np.uint32) for s in segments]),
            _named(outcome_of, outcome_indices),
            stages,
            reasons,
            _known(values_B),
            _known(np.concatenate([s.column("thresholds", np.float32) for s in segments])),
            strings([names.get(match) for match in matches_B.tolist()]),
            _known(_similarities(stages, reasons, values_B)),
            numbers(np.concatenate([s.column("num_bytes", np.int64) for s in segments])),
            numbers(np.concatenate([s.column("num_tokens", np.int64) for s in segments])),
            _known(np.concatenate([s.column("qualities", np.float32) for s in segments])),
            _named([s.languages for s in segments], [s.column("language_index", np.uint32) for s in segments]),
        ],
        schema=SCHEMA,
    )


def verdict_table(rows: Sequence[VerdictRow], epoch: Epoch, store: Store) -> pa.Table:
    """Rows as a file has them: the columns of the topic, and the text of what was dropped."""
    names = _names([row.match for row in rows if row.match != NO_MATCH], epoch, store)

    def named(name: str) -> Any:
        return strings([getattr(row, name) for row in rows]).dictionary_encode()

    def counted(name: str) -> Any:
        return numbers(np.array([getattr(row, name) for row in rows], np.int64))

    def measured(name: str) -> NDArray[np.float32]:
        return np.array([getattr(row, name) for row in rows], np.float32)

    stages, reasons = named("stage"), named("reason")
    columns = {
        "doc_id": strings([row.doc_id for row in rows]),
        "stage": stages,
        "reason": reasons,
        "match_id": strings([names.get(row.match) for row in rows]),
        "similarity": _known(_similarities(stages, reasons, measured("value"))),
        "text": strings([row.text for row in rows], large=True),
        **{name: named(name) for name in ("input", "source", "outcome", "language")},
        **{name: counted(name) for name in ("position", "num_bytes", "num_tokens")},
        **{name: _known(measured(name)) for name in ("value", "threshold", "quality")},
    }
    return pa.table([columns[name] for name in FILE_SCHEMA.names], schema=FILE_SCHEMA)


def _similarities(stages: Any, reasons: Any, values_B: NDArray[np.float32]) -> NDArray[np.float32]:
    """How alike a duplicate is to the document that it matches: 1 for the same text, NaN for no duplicate."""
    near_B = np.array([stage == Stage.NEAR_DEDUP for stage in stages.to_pylist()], np.bool_)
    same_B = np.array([reason == Reason.SAME_TEXT for reason in reasons.to_pylist()], np.bool_)
    return np.where(near_B, values_B, np.where(same_B, np.float32(1), np.float32(np.nan))).astype(np.float32)


def _taken_back(epoch: Epoch, store: Store) -> Iterator[pa.RecordBatch]:
    """One table of the documents of now and before that were retracted, or replaced by a new version."""
    rows = []
    for doc_no, reason in RETRACTED.changed(epoch.changes()):
        found = DOCUMENTS.at_or_before(store, epoch, doc_no)
        if found is None or reason is None:
            continue
        segment = found[1]
        row = doc_no - segment.first
        rows.append(
            {
                "doc_id": segment.ids[row],
                "input": segment.inputs[int(segment.column("input_index", np.uint32)[row])],
                "position": int(segment.column("positions", np.int64)[row]),
                "source": segment.sources[int(segment.column("source_index", np.uint32)[row])],
                "outcome": "taken_back",
                "stage": Stage.DOCUMENTS,
                "reason": reason,
                "num_bytes": int(segment.column("num_bytes", np.int64)[row]),
                "num_tokens": int(segment.column("num_tokens", np.int64)[row]),
            }
        )
    if rows:
        yield pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def _names(doc_nos: Sequence[int], epoch: Epoch, store: Store) -> dict[int, str]:
    """Ids by number. In order, so that each segment is opened once, and of those only the ids are decoded."""
    names: dict[int, str] = {}
    opened = _Ids(0, [])
    for doc_no in sorted(set(doc_nos)):
        if not opened.first <= doc_no < opened.first + len(opened.ids):
            found = _DOCUMENT_IDS.at_or_before(store, epoch, doc_no)
            assert found is not None
            opened = found[1]
        names[doc_no] = opened.ids[doc_no - opened.first]
    return names


def _named(tables: Sequence[Sequence[str]], indices: Sequence[NDArray[Any]]) -> Any:
    """A column of names, from each segment's table of names and its rows' places there."""
    places: dict[str, int] = {}
    merged = []
    for table, index_B in zip(tables, indices, strict=True):
        own = [places.setdefault(name, len(places)) for name in table]
        merged.append(np.array(own, np.int32)[index_B])
    return pa.DictionaryArray.from_arrays(numbers(np.concatenate(merged)), strings(list(places)))


def _known(values_B: NDArray[np.float32]) -> Any:
    """A column in which NaN is nothing."""
    return numbers(values_B, ~np.isnan(values_B))


def _encode(batch: pa.RecordBatch, records: list[bytes]) -> None:
    """The table as records; halved until it fits. One row always does: ids and names are bounded."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as stream:
        stream.write_batch(_compact(batch))
    value = sink.getvalue()
    if value.size <= MAX_RECORD_BYTES or len(batch) == 1:
        records.append(value.to_pybytes())
        return
    middle = len(batch) // 2
    _encode(batch.slice(0, middle), records)
    _encode(batch.slice(middle), records)


def _compact(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows, with no name in a dictionary that none of them has."""
    columns: Iterable[Any] = (
        column.dictionary_decode().dictionary_encode() if pa.types.is_dictionary(column.type) else column
        for column in batch.columns
    )
    return pa.record_batch(list(columns), schema=SCHEMA)
