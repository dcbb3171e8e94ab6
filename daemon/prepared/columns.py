"""Prepared columns: everything about documents that hangs on each of them alone, and how it lies in Arrow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from consumers.broker import PreparedRow, RawDocument
from consumers.formats.documents import Arrivals, Documents
from consumers.formats.prepared import DEAD_LETTER, DOCUMENT, RETRACTION
from curation.decontamination.questions import Contamination
from curation.dedup.exact import Keys
from curation.dedup.passages import Fingerprints
from curation.quality.judge import Measures, Quality
from curatord.errors import StateError
from curatord.records import DeadLetter, Retraction
from kernels.columns import Ragged, Texts, bounds_of
from kernels.passages import FINGERPRINT
from packing.places import Places
from packing.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The numbers of B documents, in their order."""

    keys: Keys
    measures: Measures
    signatures_BU: NDArray[np.uint8]
    has_words_B: NDArray[np.bool_]
    tokens: Ragged[Any]
    places: Places | None = None  # where they lie, if they came with messages that last
    fingerprints: Fingerprints | None = None  # of passages, where they are looked for
    contamination: Contamination | None = None  # where there are evaluation sets

    def take(self, rows_B: NDArray[np.int64]) -> Prepared:
        """Those of some documents."""
        return Prepared(
            keys=self.keys.take(rows_B),
            measures=self.measures.take(rows_B),
            signatures_BU=self.signatures_BU[rows_B],
            has_words_B=self.has_words_B[rows_B],
            tokens=self.tokens.take(rows_B),
            places=self.places and self.places.take(rows_B),
            fingerprints=self.fingerprints and self.fingerprints.take(rows_B),
            contamination=self.contamination and self.contamination.take(rows_B),
        )


@dataclass(frozen=True, slots=True)
class UnreadTexts(Texts):
    """Texts that stayed where they were prepared: their lengths, and a way to each for the few that are looked at.

    No kernel takes them, for there is no buffer.
    """

    read: Callable[[int], str]
    places_B: NDArray[np.int64]  # of the texts, as `read` counts them

    def __getitem__(self, b: int) -> str:
        return self.read(int(self.places_B[b]))

    def take(self, rows: Any) -> UnreadTexts:
        """Some of them."""
        return UnreadTexts(self.buffer_N, self.starts_B[rows], self.ends_B[rows], self.read, self.places_B[rows])

    def beginning(self, b: int, num_characters: int) -> str:
        """The first characters of one."""
        return self[b][:num_characters]


def stretches(rows: Sequence[RawDocument]) -> list[Sequence[RawDocument]]:
    """Rows in parts, each of which is one stretch of a prepared batch, or of rows that are not prepared."""
    if not any(isinstance(row.value, PreparedRow) for row in rows):
        return [rows] if rows else []
    places = enumerate(rows)
    return [[row for _, row in part] for _, part in groupby(places, lambda entry: _stretch(*entry))]


def _stretch(place: int, row: RawDocument) -> tuple[int, int]:
    """The same for rows that follow each other in one batch."""
    return (id(row.value.batch), place - row.value.row) if isinstance(row.value, PreparedRow) else (0, 0)


class Reader:
    """Batches to columns."""

    def __init__(self, quality: Quality, tokenizer: Tokenizer) -> None:
        self._quality = quality
        self._tokenizer = tokenizer

    def read(self, rows: Sequence[RawDocument], first_ordinal: int) -> tuple[Arrivals, Prepared]:
        """One stretch. Raises `StateError` for a batch that contradicts the schema's description."""
        first = rows[0].value
        assert isinstance(first, PreparedRow)
        table = _Table(first.batch.slice(first.row, len(rows)))
        kinds_B = table.numbers("kind", np.int8)
        places_B = np.flatnonzero(kinds_B == DOCUMENT)
        others = {place: table.other(place, rows[place]) for place in np.flatnonzero(kinds_B != DOCUMENT).tolist()}
        prepared = self._prepared(table, places_B, first)
        arrivals = Arrivals(
            rows=rows,
            first_ordinal=first_ordinal,
            documents=self._documents(table, places_B, prepared.tokens, rows),
            places_B=places_B,
            others=others,
            id_problems={place: why for place, why in enumerate(table.strings("id_problem")) if why},
        )
        return arrivals, prepared

    def _prepared(self, table: _Table, places_B: NDArray[np.int64], first: PreparedRow) -> Prepared:
        languages_B = table.strings("language", places_B)
        num_rules, num_models = len(self._quality.thresholds_R), len(self._quality.model_names)
        values_BR = table.fixed("rule_values", places_B, num_rules + num_models, np.float32)
        failed_BR = np.unpackbits(table.fixed("failed_rules", places_B, -(-num_rules // 8)), axis=1, bitorder="little")
        return Prepared(
            keys=Keys(
                texts_B2=table.fixed("text_key", places_B, 16).view(np.uint64),
                urls_B2=table.fixed("url_key", places_B, 16).view(np.uint64),
            ),
            measures=Measures(
                values_BR=values_BR[:, :num_rules],
                failed_BR=failed_BR[:, :num_rules].astype(np.bool_),
                applies_BR=self._quality.applies(languages_B),
                scores_B=table.numbers("quality", np.float32)[places_B],
                languages_B=languages_B,
                language_scores_B=table.numbers("language_score", np.float32)[places_B],
                model_scores_BM=values_BR[:, num_rules:],
            ),
            signatures_BU=table.fixed("signature", places_B, table.width("signature")),
            has_words_B=table.flags("has_words")[places_B],
            tokens=self._tokens(table, places_B),
            places=_places(first, places_B),
            fingerprints=_fingerprints(table, places_B) if table.has("passages") else None,
            contamination=_contamination(table, places_B) if table.has("question") else None,
        )

    def read_placed(self, batch: Any, rows_R: NDArray[np.int64]) -> tuple[list[str], Ragged[Any]]:
        """Ids and tokens of documents in these rows of a batch that was read before. Raises `StateError`."""
        table = _Table(batch)
        places_B = np.flatnonzero(table.numbers("kind", np.int8) == DOCUMENT)
        if not np.isin(rows_R, places_B).all():
            raise table.damaged("kind", "not that of documents where some were")
        documents_R = np.searchsorted(places_B, rows_R)
        return list(table.strings("id", rows_R)), self._tokens(table, places_B).take(documents_R)

    def _tokens(self, table: _Table, places_B: NDArray[np.int64]) -> Ragged[Any]:
        lower_T, num_bytes_B = table.ragged("tokens")
        lengths_B = num_bytes_B[places_B] // 2
        tokens_T: NDArray[Any] = lower_T.view("<u2")
        if self._tokenizer.dtype is np.uint32:
            upper_T, _ = table.ragged("tokens_upper")
            if len(upper_T) != len(tokens_T):
                raise table.damaged("tokens_upper", "of another length than `tokens`")
            halves_T2 = np.empty((len(tokens_T), 2), "<u2")
            halves_T2[:, 0], halves_T2[:, 1] = tokens_T, upper_T
            tokens_T = halves_T2.view(np.uint32)[:, 0]
        if int(tokens_T.max(initial=0)) >= self._tokenizer.vocabulary_size or int(lengths_B.sum()) != len(tokens_T):
            raise table.damaged("tokens", "no ids of the tokenizer")
        return Ragged(tokens_T, bounds_of(lengths_B))

    def _documents(
        self, table: _Table, places_B: NDArray[np.int64], tokens: Ragged[Any], rows: Sequence[RawDocument]
    ) -> Documents:
        texts = table.column("text")

        def read(document: int) -> str:
            text: str | None = texts[int(places_B[document])].as_py()
            return self._tokenizer.decode(tokens[document]) if text is None else text

        num_bytes_B = table.numbers("num_bytes", np.int64)[places_B]
        no_buffer = cast("NDArray[np.uint8]", None)
        places = places_B.tolist()
        return Documents(
            ids=table.strings("id", places_B),
            texts=UnreadTexts(no_buffer, np.zeros_like(num_bytes_B), num_bytes_B, read, np.arange(len(places_B))),
            urls=table.strings("url", places_B),
            sources=table.strings("source", places_B),
            languages=("",) * len(places),
            written_us_B=table.numbers("written_us", np.int64)[places_B],
            inputs=tuple([rows[place].source for place in places]),
            positions_B=table.numbers("position", np.int64)[places_B],
            sent_us_B=table.numbers("sent_us", np.int64)[places_B],
            numbers_BG=np.zeros((len(places), 0), np.float32),  # they are among the measures
            edits=table.edits(places_B),
        )


def _contamination(table: _Table, places_B: NDArray[np.int64]) -> Contamination:
    return Contamination(
        questions_B=table.numbers("question", np.int32)[places_B],
        shares_B=table.numbers("question_share", np.float32)[places_B],
    )


def _fingerprints(table: _Table, places_B: NDArray[np.int64]) -> Fingerprints:
    raw_N, num_bytes_B = table.ragged("passages")
    if (num_bytes_B % FINGERPRINT.itemsize).any():
        raise table.damaged("passages", f"not whole fingerprints of {FINGERPRINT.itemsize} bytes")
    of_B = Ragged(raw_N.view(FINGERPRINT), bounds_of(num_bytes_B[places_B] // FINGERPRINT.itemsize))
    return Fingerprints(of_B=of_B, num_words_B=table.numbers("num_words", np.int32)[places_B])


def _places(first: PreparedRow, places_B: NDArray[np.int64]) -> Places | None:
    at = first.message
    return None if at is None else Places.in_message(at.source, at.offset, first.row + places_B)


class _Table:
    """A batch, column by column. Rows that are no documents have nothing in the columns of documents."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def has(self, name: str) -> bool:
        return name in self._batch.schema.names

    def column(self, name: str) -> Any:
        return self._batch.column(name)

    def damaged(self, name: str, why: str) -> StateError:
        return StateError(f"the column {name!r} of a prepared batch is {why}: see docs/prepared.md")

    def numbers(self, name: str, kind: type[np.generic]) -> NDArray[Any]:
        column = self.column(name)
        if column.null_count:
            column = column.fill_null(0)
        values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
        return values.astype(kind, copy=False)

    def flags(self, name: str) -> NDArray[np.bool_]:
        return np.asarray(self.column(name).fill_null(False).to_numpy(zero_copy_only=False), np.bool_)

    def strings(self, name: str, places_B: NDArray[np.int64] | None = None) -> tuple[str, ...]:
        """ "" for none."""
        column = self.column(name)
        if places_B is not None and len(places_B) < len(column):
            column = column.take(_indices(places_B))
        if column.null_count == len(column):
            return ("",) * len(column)
        if column.null_count:
            column = column.fill_null("")
        return tuple(column.to_pylist())

    def edits(self, places_B: NDArray[np.int64]) -> tuple[str, ...]:
        """Edits of the documents; () where nothing was masked."""
        edits = self.strings("edits", places_B) if self.has("edits") else ()
        return edits if any(edits) else ()

    def ragged(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The bytes of all rows, one behind the other, and how many each row has."""
        column = self.column(name)
        if column.null_count:
            column = column.fill_null(b"")
        _, offsets, data = column.buffers()
        bounds_B1 = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
        values_N = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
        return values_N[bounds_B1[0] : bounds_B1[-1]], np.diff(bounds_B1).astype(np.int64)

    def width(self, name: str) -> int:
        """Bytes of the longest value."""
        return int(self.ragged(name)[1].max(initial=0))

    def fixed(
        self, name: str, places_B: NDArray[np.int64], width: int, kind: type[np.generic] = np.uint8
    ) -> NDArray[Any]:
        """The values of the documents, `width` numbers each."""
        if kind is np.uint8:
            values_N, lengths_B = self.ragged(name)
        else:
            column = self.column(name)
            values_N = column.flatten().to_numpy()
            lengths_B = column.value_lengths().fill_null(0).to_numpy().astype(np.int64)
        if len(values_N) != width * len(places_B) or (lengths_B[places_B] != width).any():
            raise self.damaged(name, f"not {width} values for every document")
        return values_N.reshape(len(places_B), width).astype(kind, copy=False)

    def other(self, place: int, row: RawDocument) -> Retraction | DeadLetter:
        """A row that is no document."""
        value = self._batch.slice(place, 1).to_pylist()[0]
        if value["kind"] == RETRACTION:
            return Retraction(id=value["id"] or "", timestamp_us=value["written_us"] or 0)
        if value["kind"] != DEAD_LETTER:
            raise self.damaged("kind", f"{value['kind']!r} somewhere")
        return DeadLetter(
            reason=value["reason"] or "",
            message=value["message"] or "",
            source=row.source,
            position=row.position,
            index=row.index,
            original=value["original"] or b"",
            truncated=bool(value["is_truncated"]),
            key=value["key"] or "",
            timestamp_us=row.timestamp_us,
            traceparent=row.traceparent,
            attempts=row.attempts,
        )


def _indices(places_B: NDArray[np.int64]) -> Any:
    import pyarrow as pa

    return pa.array(places_B)
