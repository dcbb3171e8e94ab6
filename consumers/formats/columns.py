"""JSON records to columns: the texts of many in one buffer, and what stands beside them, with no dict in between.

Only plain records are read here (`kernels.json_records`). `consumers.formats.codec` decodes all others, and would find
in these just the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumers.formats.codec import LARGE_BYTES, cut_name
from consumers.formats.fields import MAX_ID_BYTES, FieldNames
from consumers.formats.timestamps import parse_timestamp
from curatord.records import Document
from kernels.columns import PADDING, Texts, bounds_of
from kernels.json_records import ABSENT, INTEGER, SLACK_BYTES, STRING, read_records

_TEXT, _ID, _URL, _SOURCE, _LANGUAGE, _TIMESTAMP = range(6)  # places in `FieldNames.all`


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

    def replaced(self, documents: Mapping[int, Document]) -> Columns:
        """The same with these documents in their places."""
        ids, urls, sources = self.ids.copy(), self.urls.copy(), self.sources.copy()
        languages, timestamps_us = self.languages.copy(), self.timestamps_us.copy()
        for b, document in documents.items():
            ids[b], urls[b], sources[b] = document.id or "", document.url, document.source
            languages[b], timestamps_us[b] = document.language, document.timestamp_us
        return Columns(
            is_read_B=self.is_read_B,
            texts=self.texts.replaced({b: document.text for b, document in documents.items()}),
            ids=ids,
            urls=urls,
            sources=sources,
            languages=languages,
            timestamps_us=timestamps_us,
        )


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
    # A longer id is a problem to be told of, a number no name.
    is_read_B = (kinds_BF[:, _TEXT] == STRING) & (np.diff(spans_BF2[:, _ID])[:, 0] <= MAX_ID_BYTES)
    spans_BF2[~is_read_B] = 0
    is_number_BF = kinds_BF[:, _URL : _LANGUAGE + 1] == INTEGER
    spans_BF2[:, _URL : _LANGUAGE + 1][is_number_BF] = 0
    out = memoryview(out_N.data)
    out_N.flags.writeable = False  # as the buffer of `join_texts`: kernels are compiled for one kind
    return Columns(
        is_read_B=is_read_B,
        texts=Texts(out_N, spans_BF2[:, _TEXT, 0].copy(), spans_BF2[:, _TEXT, 1].copy()),
        ids=_strings(out, spans_BF2[:, _ID]),
        urls=_strings(out, spans_BF2[:, _URL]),
        sources=list(map(cut_name, _strings(out, spans_BF2[:, _SOURCE]))),
        languages=list(map(cut_name, _strings(out, spans_BF2[:, _LANGUAGE]))),
        timestamps_us=_timestamps(_strings(out, spans_BF2[:, _TIMESTAMP]), kinds_BF[:, _TIMESTAMP]),
    )


def _strings(out: memoryview, spans_B2: NDArray[np.int64]) -> list[str]:
    """The values of one field."""
    starts, ends = spans_B2[:, 0].tolist(), spans_B2[:, 1].tolist()
    if starts == ends:
        return [""] * len(starts)
    return [str(out[start:end], "utf-8") for start, end in zip(starts, ends, strict=True)]


def _timestamps(moments: list[str], kinds_B: NDArray[np.uint8]) -> list[int]:
    if (kinds_B == ABSENT).all():
        return [0] * len(moments)
    return [
        parse_timestamp(int(moment) if kind == INTEGER else moment) if moment else 0
        for moment, kind in zip(moments, kinds_B.tolist(), strict=True)
    ]
