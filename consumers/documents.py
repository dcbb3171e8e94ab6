"""Rows of the input to documents: every row becomes an `Arrival`, unreadable ones a dead letter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consumers.broker import RawDocument
from consumers.codec import decode_document
from consumers.dead_letters import dead_letter
from consumers.inputs import InputConfig
from curatord.errors import Undecodable
from curatord.records import DeadLetter, Document, Retraction


@dataclass(frozen=True, slots=True)
class Arrival:
    """One row of the input, decoded. Its ordinal is its place among everything that was ever read."""

    ordinal: int
    input: str
    position: int
    value: Document | Retraction | DeadLetter
    num_bytes: int  # of the row as it was read, for what is no document

    @property
    def doc_id(self) -> str:
        """The document's own id, or its place: never its content."""
        assert isinstance(self.value, Document)
        return self.value.id if self.value.id is not None else f"{self.input}:{self.position}"


def decode_rows(
    rows: Sequence[RawDocument], first_ordinal: int, config: InputConfig, max_dead_letter_bytes: int
) -> list[Arrival]:
    """All rows, in order. Never raises on content."""
    arrivals = []
    for ordinal, row in enumerate(rows, first_ordinal):
        original = row.value if isinstance(row.value, bytes) else row.original
        value = _decode(row, config)
        if isinstance(value, Undecodable):
            letter = dead_letter(
                value, row.source, row.position, original, max_dead_letter_bytes, cut=bool(row.original)
            )
            arrivals.append(Arrival(ordinal, row.source, row.position, letter, len(original)))
        else:
            arrivals.append(Arrival(ordinal, row.source, row.position, value, len(original)))
    return arrivals


def _decode(row: RawDocument, config: InputConfig) -> Document | Retraction | Undecodable:
    if not isinstance(row.value, bytes):
        return row.value
    try:
        return decode_document(row.value, config.fields, max_document_bytes=config.max_document_bytes)
    except Undecodable as error:
        return error
