"""Rows of the input to documents: every row becomes an `Arrival`, unreadable ones a dead letter."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import xxhash

from consumers.broker import RawDocument
from consumers.formats.codec import decode_document
from consumers.formats.dead_letters import dead_letter
from consumers.formats.fields import MAX_ID_BYTES
from consumers.formats.input_config import InputConfig
from curatord.errors import Undecodable
from curatord.records import DeadLetter, Document, Retraction


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """One row of the input, decoded. Its ordinal is its place among everything that was ever read."""

    ordinal: int
    input: str
    position: int
    value: Document | Retraction | DeadLetter
    num_bytes: int  # of the row as it was read, for what is no document
    key: str = ""
    index: int | None = None
    timestamp_us: int = 0  # when the message was made; 0 if unknown

    @property
    def doc_id(self) -> str:
        """The document's own id, or its message's key, or its place: never its content."""
        assert isinstance(self.value, Document)
        if self.value.id is not None:
            return self.value.id
        place = f"{self.input}:{self.position}"
        return self.key or (place if self.index is None else f"{place}:{self.index}")


def decode_rows(
    rows: Sequence[RawDocument], first_ordinal: int, config: InputConfig, max_dead_letter_bytes: int
) -> list[Arrival]:
    """All rows, in order. Never raises on content."""
    arrivals = []
    for ordinal, row in enumerate(rows, first_ordinal):
        original = row.value if isinstance(row.value, bytes) else row.original
        value = _decode(row, config)
        arrived: Document | Retraction | DeadLetter
        if isinstance(value, Undecodable):
            arrived = dead_letter(value, row, max_dead_letter_bytes)
        else:
            arrived = value
            if config.id_scope != "global" and isinstance(value, Document) and value.id is not None:
                scope = value.source if config.id_scope == "source" else row.source
                arrived = msgspec.structs.replace(value, id=scoped_id(scope, value.id))
        arrivals.append(
            Arrival(ordinal, row.source, row.position, arrived, len(original), row.key, row.index, row.timestamp_us)
        )
    return arrivals


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
    if not isinstance(row.value, bytes):
        return row.value
    try:
        return decode_document(
            row.value, config.fields, max_document_bytes=config.max_document_bytes, encoding=config.encoding
        )
    except Undecodable as error:
        return error
