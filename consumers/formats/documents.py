"""Rows of the input to documents, as columns: every row is a document, a retraction or a dead letter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from consumers.broker import PreparedRow, RawDocument
from consumers.formats.codec import decode_document
from consumers.formats.columns import Columns, TableRow, read_columns, with_rows
from consumers.formats.dead_letters import dead_letter
from consumers.formats.fields import MAX_ID_BYTES
from consumers.formats.input_config import InputConfig
from consumers.formats.pages import Page, ReadPage, read_no_page
from curatord.errors import Undecodable
from curatord.records import DeadLetter, Document, Retraction
from kernels.columns import Texts

V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """B documents in the order in which they were read, and where each came from."""

    ids: tuple[str, ...]  # its own, or its message's key, or its place: never its content
    texts: Texts
    urls: tuple[str, ...]  # "" where unknown, here and below
    sources: tuple[str, ...]
    languages: tuple[str, ...]
    written_us_B: NDArray[np.int64]  # its own time; 0 if unknown, here and below
    inputs: tuple[str, ...]
    positions_B: NDArray[np.int64]  # in the input
    sent_us_B: NDArray[np.int64]  # the time of its message
    numbers_BG: NDArray[np.float32]  # weight and scores of the input, where it says so; NaN where it has none
    edits: tuple[str, ...] = ()  # what was masked in each, as `state.edits` writes it; () where nothing was in any

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows_B: NDArray[np.int64]) -> Documents:
        """The documents in these rows, over the same buffer."""
        rows = rows_B.tolist()
        return Documents(
            ids=taken(self.ids, rows),
            texts=self.texts.take(rows_B),
            urls=taken(self.urls, rows),
            sources=taken(self.sources, rows),
            languages=taken(self.languages, rows),
            written_us_B=self.written_us_B[rows_B],
            inputs=taken(self.inputs, rows),
            positions_B=self.positions_B[rows_B],
            sent_us_B=self.sent_us_B[rows_B],
            numbers_BG=self.numbers_BG[rows_B],
            edits=taken(self.edits, rows) if self.edits else (),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """The rows of a poll, decoded. The ordinal of a row is its place among everything that was ever read."""

    rows: Sequence[RawDocument]
    first_ordinal: int
    documents: Documents
    places_B: NDArray[np.int64]  # of the documents among the rows
    others: Mapping[int, Retraction | DeadLetter]  # by place
    id_problems: Mapping[int, str]  # by place: why the id of a document could not be used

    def __len__(self) -> int:
        return len(self.rows)

    def num_bytes(self, place: int) -> int:
        """Bytes of a row as it was read, for what is no document."""
        row = self.rows[place]
        if isinstance(row.value, PreparedRow):
            return row.value.num_bytes
        if isinstance(row.value, Page):
            return len(row.value.content)
        return len(row.value if isinstance(row.value, bytes) else row.original)


def taken(values: Sequence[V], rows: Sequence[int]) -> tuple[V, ...]:
    """Some of the values of a column."""
    return tuple([values[row] for row in rows])


def decode_rows(
    rows: Sequence[RawDocument],
    first_ordinal: int,
    config: InputConfig,
    max_dead_letter_bytes: int,
    read_page: ReadPage = read_no_page,
) -> Arrivals:
    """All rows, in order. Never raises on content."""
    records = [row.value if isinstance(row.value, bytes) else b"" for row in rows]
    columns = read_columns(records, config.fields, max_document_bytes=config.max_document_bytes)
    table_rows = {place: row.value for place, row in enumerate(rows) if isinstance(row.value, TableRow)}
    if table_rows:
        columns = with_rows(columns, table_rows)
    others: dict[int, Retraction | DeadLetter] = {}
    decoded: dict[int, Document] = {}
    for place in np.flatnonzero(~columns.is_read_B).tolist():
        row = rows[place]
        value = _decode(row, config)
        if isinstance(value, Page):
            row = row if isinstance(row.value, bytes) else msgspec.structs.replace(row, original=value.content)
            value = _read(value, read_page)
        if isinstance(value, Document):
            decoded[place] = value
        elif isinstance(value, Undecodable):
            others[place] = dead_letter(value, row, max_dead_letter_bytes)
        else:
            others[place] = value
    if decoded:
        columns = columns.replaced(decoded)
    documents = Documents(
        ids=_ids(rows, columns, config),
        texts=columns.texts,
        urls=tuple(columns.urls),
        sources=tuple(columns.sources),
        languages=tuple(columns.languages),
        written_us_B=np.array(columns.timestamps_us, np.int64),
        inputs=tuple([row.source for row in rows]),
        positions_B=np.array([row.position for row in rows], np.int64),
        sent_us_B=np.array([row.timestamp_us for row in rows], np.int64),
        numbers_BG=columns.numbers_BG,
    )
    places_B = np.arange(len(rows))
    if others:
        places_B = np.delete(places_B, list(others))
        documents = documents.take(places_B)
    return Arrivals(
        rows=rows,
        first_ordinal=first_ordinal,
        documents=documents,
        places_B=places_B,
        others=others,
        id_problems={place: document.id_problem for place, document in decoded.items() if document.id_problem},
    )


def _read(page: Page, read_page: ReadPage) -> Document | Undecodable:
    try:
        return read_page(page)
    except Undecodable as error:
        return error


def _ids(rows: Sequence[RawDocument], columns: Columns, config: InputConfig) -> tuple[str, ...]:
    """The id of each document, within its scope."""
    ids = columns.ids
    if config.id_scope != "global":
        scopes = columns.sources if config.id_scope == "source" else [row.source for row in rows]
        ids = [scoped_id(scope, name) if name else "" for scope, name in zip(scopes, ids, strict=True)]
    return tuple([name or row.key or _place_of(row) for name, row in zip(ids, rows, strict=True)])


def _place_of(row: RawDocument) -> str:
    place = f"{row.source}:{row.position}"
    return place if row.index is None else f"{place}:{row.index}"


def scoped_id(scope: str, doc_id: str) -> str:
    """An id that is unique where `doc_id` is so within its scope; the scope is a digest where both are too long.

    >>> scoped_id("wiki", "7")
    'wiki#7'
    """
    if len(scope.encode()) + 1 + len(doc_id.encode()) > MAX_ID_BYTES:
        scope = xxhash.xxh3_128_hexdigest(scope.encode())
        if len(scope) + 1 + len(doc_id.encode()) > MAX_ID_BYTES:
            doc_id = xxhash.xxh3_128_hexdigest(doc_id.encode())
    return f"{scope}#{doc_id}"


def _decode(row: RawDocument, config: InputConfig) -> Document | Retraction | Undecodable:
    """One row, exactly."""
    if isinstance(row.value, (PreparedRow, TableRow)):
        raise TypeError("columns are decoded already")
    if not isinstance(row.value, bytes):
        return row.value
    try:
        return decode_document(
            row.value, config.fields, max_document_bytes=config.max_document_bytes, encoding=config.encoding
        )
    except Undecodable as error:
        return error
