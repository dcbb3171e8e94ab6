"""Verdicts: what was decided about every document, in segments of columns, one segment a run of documents.

A segment is the one place where a document's facts stand: its id, where it came from, the keys by which duplicates
are found, each stage's decision with its value and threshold. The indices in memory are rebuilt from segments, and
`explain` reads them. Columns instead of one row a document: a commit writes a few large values, not thousands of
small ones, and they compress well.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from state.epoch import Epoch
from state.facts import NUMBER, Facts, FactSource, Family, packed
from state.outcomes import AnyReason, Outcome, Stage

NO_MATCH = -1

Scalar = TypeVar("Scalar", bound=np.generic)


class Segment(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Columns of B consecutive documents. Bytes are little-endian arrays; `*_index` points into the list before it."""

    first: int  # doc_no of the first
    ids: list[str]
    id_keys: bytes  # u64 [B, 2]
    text_keys: bytes  # u64 [B, 2]
    url_keys: bytes  # u64 [B, 2], zero without URL
    ordinals: bytes  # i64 [B]
    inputs: list[str]
    input_index: bytes  # u32 [B]
    positions: bytes  # i64 [B]
    sources: list[str]
    source_index: bytes  # u32 [B]
    outcomes: list[tuple[str, str]]  # (stage, reason); ("", "") is accepted
    outcome_index: bytes  # u16 [B]: stages and reasons are a closed set
    values: bytes  # f32 [B]: what the deciding stage measured
    thresholds: bytes  # f32 [B]: and what it was held against
    matches: bytes  # i64 [B]: doc_no of the earlier document, -1 without
    num_bytes: bytes  # i64 [B]
    num_tokens: bytes  # i64 [B]; 0 before tokenization
    qualities: bytes  # f32 [B]; NaN where not measured, here and below
    languages: list[str]
    language_index: bytes  # u32 [B]
    rules: list[str]  # names of what was measured: the rules, and behind them the models that score
    rule_values: bytes  # f32 [B, R]
    has_signature: bytes  # bool [B]: it stands in the near-duplicate index
    signatures: bytes  # as they stand in the index, one after another for those that have one
    edits: dict[int, str] = {}  # what was masked, by row, as `state.edits` writes it

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, name: str, kind: type[Scalar]) -> NDArray[Scalar]:
        """One byte column as an array [B]."""
        return np.frombuffer(getattr(self, name), kind)

    def keys(self, name: str) -> NDArray[np.uint64]:
        """One of the key columns, [B, 2]."""
        return np.frombuffer(getattr(self, name), np.uint64).reshape(-1, 2)

    def measured(self, names: Sequence[str]) -> NDArray[np.float32]:
        """Values that were measured under these names, [B, len(names)]; NaN where there is none."""
        values_BR = np.frombuffer(self.rule_values, np.float32).reshape(len(self), -1)
        measured = np.full((len(self), len(names)), np.nan, np.float32)
        for place, name in enumerate(names):
            if name in self.rules:
                measured[:, place] = values_BR[:, self.rules.index(name)]
        return measured

    def doc_nos(self) -> NDArray[np.int64]:
        """Numbers of the documents, [B]."""
        return np.arange(self.first, self.first + len(self))

    @property
    def last_ordinal(self) -> int:
        """Ordinal of the last document."""
        return int(self.column("ordinals", np.int64)[-1])

    def having(self, test: Callable[[str, str], bool]) -> NDArray[np.bool_]:
        """Documents whose (stage, reason) passes the test, [B]."""
        passing = np.array([test(stage, reason) for stage, reason in self.outcomes], np.bool_)
        mask_B: NDArray[np.bool_] = passing[self.column("outcome_index", np.uint16).astype(np.int64)]
        return mask_B


class Verdicts:
    """The segment of one run while its stages decide: columns that each stage fills in for its documents."""

    def __init__(self, first: int, num_documents: int, rules: Sequence[str]) -> None:
        self.first = first
        self._outcomes: dict[Outcome, int] = {("", ""): 0}
        self._outcome_B = np.zeros(num_documents, np.uint16)
        self._values_B = np.full(num_documents, np.nan, np.float32)
        self._thresholds_B = np.full(num_documents, np.nan, np.float32)
        self._matches_B = np.full(num_documents, NO_MATCH, np.int64)
        self._num_tokens_B = np.zeros(num_documents, np.int64)
        self._qualities_B = np.full(num_documents, np.nan, np.float32)
        self._languages = [""] * num_documents
        self._rules = list(rules)
        self._rule_values_BR = np.full((num_documents, len(rules)), np.nan, np.float32)
        self._has_signature_B = np.zeros(num_documents, np.bool_)
        self._signatures = b""

    def reject(
        self,
        doc_nos_B: NDArray[np.int64],
        stage: Stage,
        reasons: Sequence[AnyReason],
        *,
        values: NDArray[np.float32] | float = np.nan,
        thresholds: NDArray[np.float32] | float = np.nan,
        matches: NDArray[np.int64] | int = NO_MATCH,
    ) -> None:
        """These documents end here. `reasons` has one entry a document."""
        rows = doc_nos_B - self.first
        self._outcome_B[rows] = [self._outcomes.setdefault((stage, r), len(self._outcomes)) for r in reasons]
        self._values_B[rows] = values
        self._thresholds_B[rows] = thresholds
        self._matches_B[rows] = matches

    def measure(
        self,
        doc_nos_B: NDArray[np.int64],
        qualities_B: NDArray[np.float32],
        languages_B: Sequence[str],
        rule_values_BR: NDArray[np.float32],
    ) -> None:
        """Note the measures of the quality stage, which come before those of other stages."""
        rows = doc_nos_B - self.first
        self._qualities_B[rows] = qualities_B
        self._rule_values_BR[rows, : rule_values_BR.shape[1]] = rule_values_BR
        for row, language in zip(rows.tolist(), languages_B, strict=True):
            self._languages[row] = language

    def note(self, doc_nos_B: NDArray[np.int64], name: str, values_B: NDArray[np.float32]) -> None:
        """Note what another stage measured."""
        self._rule_values_BR[doc_nos_B - self.first, self._rules.index(name)] = values_B

    def measured(
        self, doc_nos_B: NDArray[np.int64], names: Sequence[str]
    ) -> tuple[NDArray[np.float32], tuple[str, ...], NDArray[np.float32]]:
        """Qualities, languages, and what was measured under these names, [B, len(names)]."""
        rows = doc_nos_B - self.first
        languages = tuple(map(self._languages.__getitem__, rows.tolist()))
        columns = [self._rules.index(name) for name in names] if names else []
        values_BN = self._rule_values_BR[rows][:, columns] if names else self._rule_values_BR[rows, :0]
        return self._qualities_B[rows], languages, values_BN

    def sign(self, doc_nos_B: NDArray[np.int64], signatures_BP: NDArray[np.uint8]) -> None:
        """These documents, in order, stand in the near-duplicate index with these signatures."""
        self._has_signature_B[doc_nos_B - self.first] = True
        self._signatures = signatures_BP.tobytes()

    def accept(self, doc_nos_B: NDArray[np.int64], num_tokens_B: NDArray[np.int64]) -> None:
        """These documents passed, with so many tokens."""
        self._num_tokens_B[doc_nos_B - self.first] = num_tokens_B

    def counts(self) -> dict[Outcome, NDArray[np.intp]]:
        """Rows of each outcome, accepted first."""
        return {outcome: np.flatnonzero(self._outcome_B == index) for outcome, index in self._outcomes.items()}

    def segment(
        self,
        *,
        ids: Sequence[str],
        id_keys_B2: NDArray[np.uint64],
        text_keys_B2: NDArray[np.uint64],
        url_keys_B2: NDArray[np.uint64],
        ordinals_B: NDArray[np.int64],
        inputs: Sequence[str],
        positions_B: NDArray[np.int64],
        sources: Sequence[str],
        num_bytes_B: NDArray[np.int64],
        edits: Sequence[str] = (),
    ) -> Segment:
        """The fact, once every stage has decided; the arguments say who the documents are."""
        input_table, input_index = index_column(inputs, np.uint32)
        source_table, source_index = index_column(sources, np.uint32)
        language_table, language_index = index_column(self._languages, np.uint32)
        return Segment(
            first=self.first,
            ids=list(ids),
            id_keys=id_keys_B2.tobytes(),
            text_keys=text_keys_B2.tobytes(),
            url_keys=url_keys_B2.tobytes(),
            ordinals=ordinals_B.tobytes(),
            inputs=input_table,
            input_index=input_index,
            positions=positions_B.tobytes(),
            sources=source_table,
            source_index=source_index,
            outcomes=list(self._outcomes),
            outcome_index=self._outcome_B.tobytes(),
            values=self._values_B.tobytes(),
            thresholds=self._thresholds_B.tobytes(),
            matches=self._matches_B.tobytes(),
            num_bytes=num_bytes_B.tobytes(),
            num_tokens=self._num_tokens_B.tobytes(),
            qualities=self._qualities_B.tobytes(),
            languages=language_table,
            language_index=language_index,
            rules=self._rules,
            rule_values=self._rule_values_BR.tobytes(),
            has_signature=self._has_signature_B.tobytes(),
            signatures=self._signatures,
            edits={row: edit for row, edit in enumerate(edits) if edit},
        )


def index_column(values: Sequence[str], kind: type[np.generic]) -> tuple[list[str], bytes]:
    """Distinct values in the order in which they appear, and the index of each row's."""
    table: dict[str, int] = {}
    index = np.fromiter((table.setdefault(value, len(table)) for value in values), kind, count=len(values))
    return list(table), index.tobytes()


# By the number of the first document.
DOCUMENTS = Facts(
    Family("documents", "up to some hundred documents that were read together: ids, hashes, decisions"),
    NUMBER,
    packed(Segment),
)


class Segments:
    """Segments by document number, those of the open epoch included."""

    def __init__(self, committed: FactSource) -> None:
        self._committed = committed
        self._recent: Segment | None = None  # lookups come in runs of neighbours

    def find(self, doc_no: int, epoch: Epoch) -> tuple[Segment, int]:
        """The segment of a document and its row there."""
        if self._recent is None or not self._recent.first <= doc_no < self._recent.first + len(self._recent):
            self._recent = self._read(doc_no, epoch)
        return self._recent, doc_no - self._recent.first

    def _read(self, doc_no: int, epoch: Epoch) -> Segment:
        row, family = DOCUMENTS.row(doc_no), DOCUMENTS.family.name
        for rows in epoch.unwritten(family):
            firsts = list(rows)  # ascending, as documents come
            if firsts and firsts[0] <= row:
                value = rows[firsts[bisect_right(firsts, row) - 1]]
                break
        else:
            found = self._committed.at_or_before(family, row)
            value = None if found is None else found[1]
        assert value is not None
        return DOCUMENTS.value.decode(value)

    def text_key(self, doc_no: int, epoch: Epoch) -> bytes:
        """The key of a document's text."""
        segment, row = self.find(doc_no, epoch)
        return segment.text_keys[16 * row : 16 * (row + 1)]


def read_segments(committed: FactSource, first: int = 0) -> Iterator[Segment]:
    """The segments that begin with this document or later, oldest first."""
    return (segment for _, segment in DOCUMENTS.items(committed, first))


def segment_at(committed: FactSource, doc_no: int) -> Segment | None:
    """The last segment that begins with this document or earlier."""
    found = DOCUMENTS.at_or_before(committed, Epoch(number=0, identity=""), doc_no) if doc_no >= 0 else None
    return None if found is None else found[1]


def first_segment_after(committed: FactSource, ticked: int, at_most: int) -> int:
    """Where the segments begin that may have ordinals of `ticked` or more, `at_most` if that comes first."""
    while (segment := segment_at(committed, at_most - 1)) is not None and segment.last_ordinal >= ticked:
        at_most = segment.first
    return at_most


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One document's line, with names in place of indices."""

    doc_no: int
    doc_id: str
    input: str
    position: int
    source: str
    ordinal: int
    stage: str  # "" if accepted
    reason: str
    value: float
    threshold: float
    match: int
    num_bytes: int
    num_tokens: int
    quality: float
    language: str
    rules: dict[str, float]
    edits: str  # what was masked in it, as `state.edits` writes it


def verdict_of(segment: Segment, row: int) -> Verdict:
    """One row of a segment."""
    stage, reason = segment.outcomes[int(segment.column("outcome_index", np.uint16)[row])]
    values_BR = np.frombuffer(segment.rule_values, np.float32).reshape(len(segment), -1)
    return Verdict(
        doc_no=segment.first + row,
        doc_id=segment.ids[row],
        input=segment.inputs[int(segment.column("input_index", np.uint32)[row])],
        position=int(segment.column("positions", np.int64)[row]),
        source=segment.sources[int(segment.column("source_index", np.uint32)[row])],
        ordinal=int(segment.column("ordinals", np.int64)[row]),
        stage=stage,
        reason=reason,
        value=float(segment.column("values", np.float32)[row]),
        threshold=float(segment.column("thresholds", np.float32)[row]),
        match=int(segment.column("matches", np.int64)[row]),
        num_bytes=int(segment.column("num_bytes", np.int64)[row]),
        num_tokens=int(segment.column("num_tokens", np.int64)[row]),
        quality=float(segment.column("qualities", np.float32)[row]),
        language=segment.languages[int(segment.column("language_index", np.uint32)[row])],
        rules=dict(zip(segment.rules, values_BR[row].tolist(), strict=True)),
        edits=segment.edits.get(row, ""),
    )


def find_document(committed: FactSource, doc_no: int) -> Verdict | None:
    """The document with this number."""
    segment = segment_at(committed, doc_no)
    if segment is None or doc_no >= segment.first + len(segment):
        return None
    return verdict_of(segment, doc_no - segment.first)
