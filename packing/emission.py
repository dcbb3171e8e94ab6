"""Emission: rows become sequences. Tokens are looked up, documents let go, and it is written down what went where."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import msgspec
import numpy as np
from numpy.typing import NDArray

from curatord.sequence import HEAD_PRESENT, TAIL_PRESENT, PackedSequence
from packing.held import HeldDocuments
from packing.rows import Piece, Row
from state.epoch import Epoch
from state.ledger import Ledger


class Placements(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Fact: where the pieces of consecutive sequences came from; S segments in the order of their sequences."""

    generation: int
    first_seq_no: int
    num_segments: bytes  # u32, one a sequence
    doc_nos: bytes  # i64 [S]
    starts: bytes  # u32 [S]: first token in the document
    lengths: bytes  # u32 [S]
    clusters: bytes  # i32 [S]
    policy_versions: bytes  # i32 [S]
    propensities: bytes  # f32 [S]


def placements_key(generation: int, first_seq_no: int) -> bytes:
    """Sorts by generation, then by sequence."""
    return generation.to_bytes(4, "big") + first_seq_no.to_bytes(8, "big")


def _column(pieces: Sequence[Piece], name: str, kind: type[np.generic]) -> NDArray[np.generic]:
    return np.array([getattr(piece, name) for piece in pieces], kind)


def _flags(piece: Piece) -> int:
    return (HEAD_PRESENT if piece.start == 0 else 0) | (TAIL_PRESENT if piece.end == piece.num_tokens else 0)


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
        sequences = [self._sequence(row) for row in rows]
        epoch.sequences.append(sequences)
        self._ledger.sequences += len(sequences)
        self._place(rows, epoch)
        for row in rows:
            for piece in row.pieces:
                if piece.use == 0:
                    self._ledger.tokens_emitted_first += len(piece)
                    self._held[piece.doc_no].unemitted -= len(piece)
                else:
                    self._ledger.tokens_emitted_again += len(piece)
                self._held.let_go(piece.doc_no)

    def _sequence(self, row: Row) -> PackedSequence:
        pieces = row.pieces
        documents = [self._held[piece.doc_no] for piece in pieces]
        tokens = [document.tokens[piece.start : piece.end] for document, piece in zip(documents, pieces, strict=True)]
        return PackedSequence(
            seq_no=row.seq_no,
            generation=row.generation,
            context_length=self._context_length,
            tokens_T=np.concatenate(tokens) if tokens else np.zeros(0, np.uint32),
            segment_lengths_S=np.array([len(piece) for piece in pieces], np.uint32),
            segment_offsets_S=np.array([piece.start for piece in pieces], np.uint32),
            segment_flags_S=np.array([_flags(piece) for piece in pieces], np.uint8),
            doc_ids=tuple(document.doc_id for document in documents),
            clusters_S=np.array([piece.cluster for piece in pieces], np.int32),
            policy_versions_S=np.array([piece.policy_version for piece in pieces], np.int32),
            propensities_S=np.array([piece.propensity for piece in pieces], np.float32),
        )

    def _place(self, rows: Sequence[Row], epoch: Epoch) -> None:
        pieces = [piece for row in rows for piece in row.pieces]
        fact = Placements(
            generation=rows[0].generation,
            first_seq_no=rows[0].seq_no,
            num_segments=np.array([len(row.pieces) for row in rows], np.uint32).tobytes(),
            doc_nos=_column(pieces, "doc_no", np.int64).tobytes(),
            starts=_column(pieces, "start", np.uint32).tobytes(),
            lengths=np.array([len(piece) for piece in pieces], np.uint32).tobytes(),
            clusters=_column(pieces, "cluster", np.int32).tobytes(),
            policy_versions=_column(pieces, "policy_version", np.int32).tobytes(),
            propensities=_column(pieces, "propensity", np.float32).tobytes(),
        )
        epoch.put("placements", placements_key(rows[0].generation, rows[0].seq_no), msgspec.msgpack.encode(fact))
