"""Arrivals, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consumers.broker import RawDocument
from consumers.formats.documents import Arrivals, decode_rows
from consumers.formats.input_config import DEFAULT_INPUT
from curatord.errors import Undecodable
from curatord.records import DeadLetter, Document, Retraction


@dataclass(frozen=True)
class Arrived:
    """One row; its document is named as the state names it."""

    ordinal: int
    row: RawDocument
    value: Document | Retraction | DeadLetter

    @property
    def doc_id(self) -> str:
        assert isinstance(self.value, Document)
        assert self.value.id is not None
        return self.value.id


def each(arrivals: Arrivals) -> list[Arrived]:
    """All rows in their order."""
    values: dict[int, Document | Retraction | DeadLetter] = dict(arrivals.others)
    documents = arrivals.documents
    for b, place in enumerate(arrivals.places_B.tolist()):
        values[place] = Document(
            id=documents.ids[b],
            text=documents.texts[b],
            url=documents.urls[b],
            source=documents.sources[b],
            language=documents.languages[b],
            timestamp_us=int(documents.written_us_B[b]),
        )
    return [Arrived(arrivals.first_ordinal + at, row, values[at]) for at, row in enumerate(arrivals.rows)]


def arrivals_of(
    values: Sequence[bytes | Document | Retraction | Undecodable], first_ordinal: int = 0, sent_us: int = 0
) -> Arrivals:
    """The rows of one poll."""
    rows = [
        RawDocument("input", ordinal, value, timestamp_us=sent_us)
        for ordinal, value in enumerate(values, first_ordinal)
    ]
    return decode_rows(rows, first_ordinal, DEFAULT_INPUT, 1 << 10)
