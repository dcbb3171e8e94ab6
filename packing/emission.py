"""Emission: rows become sequences. Tokens are looked up, documents let go, and it is written down what went where."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from curatord.sequence import HEAD_PRESENT, TAIL_PRESENT, PackedSequence
from packing.held import HeldDocuments
from packing.rows import Row
from state.document_numbers import numbers_from
from state.epoch import Epoch
from state.facts import NUMBERS, Facts, Family, packed
from state.ledger import Ledger

Scalar = TypeVar("Scalar", bound=np.generic)


class Placements(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Fact: where the pieces of consecutive sequences came from; S segments in the order of their sequences."""

    generation: int
    first_seq_no: int
    num_segments: bytes  # u32, one a sequence
    doc_nos: bytes  # i64 [S]
    starts: bytes  # u32 [S]: first token in the document
    lengths: bytes  # u32 [S]
    numbers: bytes  # [S] records of `DOCUMENT`


# By generation, and the number of the first sequence.
PLACEMENTS = Facts(
    Family("placements", "where each piece of up to 1,024 sequences came from"), NUMBERS, packed(Placements)
)


class _Segments:
    """The S segments of some rows, as columns."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.pieces = [piece for row in rows for piece in row.pieces]
        self.num_segments = np.array([len(row.pieces) for row in rows], np.uint32)
        self.starts_S = self._column("start", np.uint32)
        self.ends_S = self._column("end", np.uint32)
        self.lengths_S = self.ends_S - self.starts_S
        is_tail_S = self.ends_S == self._column("num_tokens", np.uint32)
        self.flags_S = (self.starts_S == 0) * np.uint8(HEAD_PRESENT) | is_tail_S * np.uint8(TAIL_PRESENT)
        self.doc_nos_S = self._column("doc_no", np.int64)
        self.numbers_S = numbers_from(b"".join([piece.numbers for piece in self.pieces]))
        self.clusters_S = self.numbers_S["cluster"].copy()
        self.policy_versions_S = self.numbers_S["policy_version"].copy()
        self.propensities_S = self.numbers_S["propensity"].copy()

    def _column(self, name: str, kind: type[Scalar]) -> NDArray[Scalar]:
        return np.array(list(map(attrgetter(name), self.pieces)), kind)


class Emission:
    """From rows to the epoch's outputs."""

    def __init__(self, held: HeldDocuments, ledger: Ledger, *, context_length: int, shard_rows: int) -> None:
        self._held = held
        self._ledger = ledger
        self._context_length = context_length
        self._shard_rows = shard_rows  # a shard ends where a multiple of this many sequences does

    def emit(self, rows: Sequence[Row], epoch: Epoch) -> None:
        """Add the sequences of these rows, consecutive in `seq_no`, to the epoch; their pieces hold nothing more."""
        for _, shard in groupby(rows, key=lambda row: row.seq_no // self._shard_rows):
            self._emit_shard(list(shard), epoch)

    def _emit_shard(self, rows: Sequence[Row], epoch: Epoch) -> None:
        """Rows that go out together, as one file and one fact."""
        segments = _Segments(rows)
        ends = np.cumsum(segments.num_segments).tolist()
        sequences = [
            self._sequence(row, segments, slice(end - len(row.pieces), end))
            for row, end in zip(rows, ends, strict=True)
        ]
        epoch.sequences.append(sequences)
        self._ledger.sequences += len(sequences)
        self._place(rows[0], segments, epoch)
        for piece, length in zip(segments.pieces, segments.lengths_S.tolist(), strict=True):
            if piece.use == 0:
                self._ledger.tokens_emitted_first += length
                self._held[piece.doc_no].unemitted -= length
            else:
                self._ledger.tokens_emitted_again += length
            self._held.let_go(piece.doc_no)

    def _sequence(self, row: Row, segments: _Segments, own: slice) -> PackedSequence:
        documents = [self._held[piece.doc_no] for piece in row.pieces]
        tokens = [
            document.tokens[piece.start : piece.end] for document, piece in zip(documents, row.pieces, strict=True)
        ]
        return PackedSequence(
            seq_no=row.seq_no,
            generation=row.generation,
            context_length=self._context_length,
            tokens_T=np.concatenate(tokens) if tokens else np.zeros(0, np.uint32),
            segment_lengths_S=segments.lengths_S[own],
            segment_offsets_S=segments.starts_S[own],
            segment_flags_S=segments.flags_S[own],
            doc_ids=tuple([document.doc_id for document in documents]),
            clusters_S=segments.clusters_S[own],
            policy_versions_S=segments.policy_versions_S[own],
            propensities_S=segments.propensities_S[own],
        )

    def _place(self, first: Row, segments: _Segments, epoch: Epoch) -> None:
        fact = Placements(
            generation=first.generation,
            first_seq_no=first.seq_no,
            num_segments=segments.num_segments.tobytes(),
            doc_nos=segments.doc_nos_S.tobytes(),
            starts=segments.starts_S.tobytes(),
            lengths=segments.lengths_S.tobytes(),
            numbers=segments.numbers_S.tobytes(),
        )
        PLACEMENTS.put(epoch, (first.generation, first.seq_no), fact)
