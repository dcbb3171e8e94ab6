"""JSON records to columns: the texts of many in one buffer, and what stands beside them, with no dict in between.

Only plain records are read here (`kernels.json_records`). `consumers.formats.codec` decodes all others, and would find
in these just the same. Rows of tables that are columns already (`consumers.formats.plain_tables`) join them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from consumers.formats.codec import LARGE_BYTES, cut_name
from consumers.formats.fields import MAX_ID_BYTES, MAX_NUMBER, FieldNames
from consumers.formats.timestamps import parse_timestamp
from curatord.records import Document
from kernels.columns import PADDING, Texts, bounds_of
from kernels.json_records import ABSENT, INTEGER, NUMBER, SLACK_BYTES, STRING, read_records

_TEXT, _ID, _URL, _SOURCE, _LANGUAGE, _TIMESTAMP, _NUMBERS = range(7)  # places in `FieldNames.all`


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """B records. One that was not read has nothing in any column."""

    is_read_B: NDArray[np.bool_]
    texts: Texts
    ids: list[str]  # "" without one, here and below
    urls: list[str]
    sources: list[str]
    languages: list[str]
    timestamps_us: list[int]  # 0 without
    numbers_BG: NDArray[np.float32]  # by the names of `FieldNames.numbers`; NaN without

    def take(self, rows: list[int]) -> Columns:
        """Some of the records, over the same buffer."""
        names = (self.ids, self.urls, self.sources, self.languages)
        ids, urls, sources, languages = ([values[row] for row in rows] for values in names)
        return Columns(
            is_read_B=self.is_read_B[rows],
            texts=self.texts.take(rows),
            ids=ids,
            urls=urls,
            sources=sources,
            languages=languages,
            timestamps_us=[self.timestamps_us[row] for row in rows],
            numbers_BG=self.numbers_BG[rows],
        )

    def replaced(self, documents: Mapping[int, Document]) -> Columns:
        """The same with these documents in their places."""
        ids, urls, sources = self.ids.copy(), self.urls.copy(), self.sources.copy()
        languages, timestamps_us = self.languages.copy(), self.timestamps_us.copy()
        numbers_BG = self.numbers_BG.copy()
        for b, document in documents.items():
            ids[b], urls[b], sources[b] = document.id or "", document.url, document.source
            languages[b], timestamps_us[b] = document.language, document.timestamp_us
            numbers_BG[b] = document.numbers or np.nan
        return Columns(
            is_read_B=self.is_read_B.copy(),
            texts=self.texts.replaced({b: document.text for b, document in documents.items()}),
            ids=ids,
            urls=urls,
            sources=sources,
            languages=languages,
            timestamps_us=timestamps_us,
            numbers_BG=numbers_BG,
        )


class TableRow(msgspec.Struct, frozen=True, gc=False):
    """A row of a table: its place among columns, which the rows of a part of the table share."""

    columns: Columns
    row: int
    num_bytes: int  # of the text

    def document(self) -> Document:
        """The row as a record of its own."""
        columns, row = self.columns, self.row
        return Document(
            id=columns.ids[row] or None,
            text=columns.texts[row],
            url=columns.urls[row],
            source=columns.sources[row],
            language=columns.languages[row],
            timestamp_us=columns.timestamps_us[row],
            numbers=tuple(columns.numbers_BG[row].tolist()),
        )

    def __reduce__(self) -> Any:
        """To another process goes the record: not all that share its columns."""
        return self.document().__reduce__()


def with_rows(columns: Columns, table_rows: Mapping[int, TableRow]) -> Columns:
    """The same with rows of tables in these places. The texts are copied unless all are of one part of one table."""
    parts = list({id(row.columns): row.columns for row in table_rows.values()}.values())
    if len(parts) == 1 and len(table_rows) == len(columns.ids):
        return parts[0].take([row.row for row in table_rows.values()])
    starts_B, ends_B = columns.texts.starts_B.copy(), columns.texts.ends_B.copy()
    buffers = [columns.texts.buffer_N[: ends_B.max(initial=0)]]
    num_bytes = len(buffers[0])
    for part in parts:
        places = [place for place, row in table_rows.items() if row.columns is part]
        texts = part.texts.take([table_rows[place].row for place in places])
        first, last = int(texts.starts_B.min()), int(texts.ends_B.max())
        starts_B[places], ends_B[places] = texts.starts_B - first + num_bytes, texts.ends_B - first + num_bytes
        buffers.append(part.texts.buffer_N[first:last])
        num_bytes += last - first
    buffer_N = np.concatenate([*buffers, np.frombuffer(PADDING, np.uint8)])
    buffer_N.flags.writeable = False  # as that of `join_texts`: kernels are compiled for one kind
    joined = columns.replaced({})
    joined.is_read_B[list(table_rows)] = True
    for place, row in table_rows.items():
        part, at = row.columns, row.row
        joined.ids[place], joined.urls[place], joined.sources[place] = part.ids[at], part.urls[at], part.sources[at]
        joined.languages[place], joined.timestamps_us[place] = part.languages[at], part.timestamps_us[at]
        joined.numbers_BG[place] = part.numbers_BG[at]
    return replace(joined, texts=Texts(buffer_N, starts_B, ends_B))


def read_columns(records: Sequence[bytes], fields: FieldNames, *, max_document_bytes: int) -> Columns:
    """Read the records that are plain."""
    names = [name.encode() for name in fields.all]
    limit = min(max_document_bytes, LARGE_BYTES)
    if any(b"." in name for name in names):  # dots may lead into objects
        limit = 0
    records = [record if len(record) <= limit else b"" for record in records]
    buffer_N = np.frombuffer(b"".join([*records, PADDING]), np.uint8)
    out_N = np.empty(len(buffer_N) + SLACK_BYTES, np.uint8)
    spans_BF2 = np.empty((len(records), len(names), 2), np.int64)
    kinds_BF = np.empty((len(records), len(names)), np.uint8)
    read_records(
        buffer_N,
        bounds_of(list(map(len, records))),
        np.frombuffer(b"".join(names), np.uint8),
        bounds_of(list(map(len, names))),
        out_N,
        spans_BF2,
        kinds_BF,
    )
    out = memoryview(out_N.data)
    # A longer id is a problem to be told of, a number no name.
    is_read_B = (kinds_BF[:, _TEXT] == STRING) & (np.diff(spans_BF2[:, _ID])[:, 0] <= MAX_ID_BYTES)
    is_read_B &= (kinds_BF[:, :_NUMBERS] != NUMBER).all(axis=1)
    numbers_BG, are_plain_B = _numbers(
        out, spans_BF2[:, _NUMBERS:], kinds_BF[:, _NUMBERS:], has_weight=bool(fields.weight)
    )
    is_read_B &= are_plain_B
    spans_BF2[~is_read_B], numbers_BG[~is_read_B] = 0, np.nan
    is_number_BF = kinds_BF[:, _URL : _LANGUAGE + 1] == INTEGER
    spans_BF2[:, _URL : _LANGUAGE + 1][is_number_BF] = 0
    out_N.flags.writeable = False  # as the buffer of `join_texts`: kernels are compiled for one kind
    return Columns(
        is_read_B=is_read_B,
        texts=Texts(out_N, spans_BF2[:, _TEXT, 0].copy(), spans_BF2[:, _TEXT, 1].copy()),
        ids=_strings(out, spans_BF2[:, _ID]),
        urls=_strings(out, spans_BF2[:, _URL]),
        sources=list(map(cut_name, _strings(out, spans_BF2[:, _SOURCE]))),
        languages=list(map(cut_name, _strings(out, spans_BF2[:, _LANGUAGE]))),
        timestamps_us=_timestamps(_strings(out, spans_BF2[:, _TIMESTAMP]), kinds_BF[:, _TIMESTAMP]),
        numbers_BG=numbers_BG,
    )


def _strings(out: memoryview, spans_B2: NDArray[np.int64]) -> list[str]:
    """The values of one field."""
    starts, ends = spans_B2[:, 0].tolist(), spans_B2[:, 1].tolist()
    if starts == ends:
        return [""] * len(starts)
    return [str(out[start:end], "utf-8") for start, end in zip(starts, ends, strict=True)]


def _numbers(
    out: memoryview, spans_BG2: NDArray[np.int64], kinds_BG: NDArray[np.uint8], *, has_weight: bool
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The values of the fields of numbers, [B, G], and which records have nothing else there: the first a weight."""
    numbers_BG = np.full(kinds_BG.shape, np.nan, np.float32)
    for place in range(kinds_BG.shape[1]):
        spans_B2 = np.where((kinds_BG[:, place] == STRING)[:, None], 0, spans_BG2[:, place])
        numbers_BG[:, place] = kept_numbers([float(digits or "nan") for digits in _strings(out, spans_B2)])
    are_plain_B = ((kinds_BG == ABSENT) | np.isfinite(numbers_BG)).all(axis=1)
    if has_weight:
        are_plain_B &= ~(numbers_BG[:, 0] < 0)
    return numbers_BG, are_plain_B


def kept_numbers(values_B: ArrayLike) -> NDArray[np.float64]:
    """Values as they are kept: NaN for those beyond `MAX_NUMBER`."""
    return np.where(np.abs(values_B) <= MAX_NUMBER, values_B, np.nan)


def _timestamps(moments: list[str], kinds_B: NDArray[np.uint8]) -> list[int]:
    if (kinds_B == ABSENT).all():
        return [0] * len(moments)
    return [
        parse_timestamp(int(moment) if kind == INTEGER else moment) if moment else 0
        for moment, kind in zip(moments, kinds_B.tolist(), strict=True)
    ]
