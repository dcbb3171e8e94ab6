"""Emission: rows become sequences. Tokens are looked up, documents let go, and it is written down what went where."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from curatord.sequence import HEAD_PRESENT, TAIL_PRESENT, PackedSequence
from kernels.columns import bounds_of
from packing.held import HeldDocuments
from packing.no_loss import ranges_of
from packing.pieces import lengths
from packing.placements import Placements, place
from packing.rows import Rows
from state.epoch import Epoch
from state.ledger import Ledger


class Emission:
    """From rows to the epoch's outputs."""

    def __init__(
        self, held: HeldDocuments, ledger: Ledger, *, context_length: int, shard_rows: int, has_weights: bool = False
    ) -> None:
        """`has_weights`: whether every sequence tells weights and qualities, also one whose weights are all 1."""
        self._held = held
        self._ledger = ledger
        self._context_length = context_length
        self._has_weights = has_weights
        self._shard_rows = shard_rows  # a shard ends where a multiple of this many sequences does

    def emit(self, rows: Rows, epoch: Epoch) -> None:
        """Add the sequences of these rows, consecutive in `seq_no`, to the epoch; their pieces hold nothing more."""
        begins_R = np.diff(rows.seq_nos_R // self._shard_rows, prepend=-1) != 0
        for first, end in pairwise([*np.flatnonzero(begins_R).tolist(), len(rows)]):
            self._emit_shard(rows.part(first, end), epoch)

    def _emit_shard(self, rows: Rows, epoch: Epoch) -> None:
        """Rows that go out together, as one file and one fact."""
        pieces_S, lengths_S = rows.pieces_S, lengths(rows.pieces_S)
        epoch.sequences.append(self._sequences(rows, lengths_S))
        self._ledger.sequences += len(rows)
        self._place(rows, lengths_S, epoch)
        is_first_S = pieces_S["use"] == 0
        self._ledger.tokens_emitted_first += int(lengths_S[is_first_S].sum())
        self._ledger.tokens_emitted_again += int(lengths_S[~is_first_S].sum())
        self._held.emit(pieces_S["doc_no"][is_first_S], lengths_S[is_first_S])
        self._held.let_go(pieces_S["doc_no"])

    def _sequences(self, rows: Rows, lengths_S: NDArray[np.int64]) -> list[PackedSequence]:
        """A sequence a row; the columns of all stand in one array each."""
        pieces_S = rows.pieces_S
        parts = self._held.parts(pieces_S["doc_no"], pieces_S["start"], lengths_S)
        tokens_T = np.concatenate(parts) if parts else np.zeros(0, np.uint32)
        token_bounds = bounds_of(lengths_S)[rows.bounds_R1].tolist()
        doc_ids = self._held.ids(pieces_S["doc_no"])
        muted_T = self._held.muted(pieces_S["doc_no"], pieces_S["start"], lengths_S)
        if muted_T is not None:
            # No targets anyway: so a record of many segments has few ranges, and keeps its limit.
            muted_T[bounds_of(lengths_S)[:-1]] = False
        is_tail_S = pieces_S["end"] == pieces_S["num_tokens"]
        flags_S = (pieces_S["start"] == 0) * np.uint8(HEAD_PRESENT) | is_tail_S * np.uint8(TAIL_PRESENT)
        lengths_u32_S, starts_S = lengths_S.astype(np.uint32), pieces_S["start"].astype(np.uint32)
        clusters_S, policy_versions_S, propensities_S, weights_S, qualities_S = (
            pieces_S["numbers"][name].copy()
            for name in ("cluster", "policy_version", "propensity", "weight", "quality")
        )
        # Weights of documents that were weighed before a restart count with any configuration now.
        has_weights = self._has_weights or bool((weights_S != 1).any())
        sequences = []
        for seq_no, first, end, start, stop in zip(
            rows.seq_nos_R.tolist(), *_spans(rows.bounds_R1.tolist()), *_spans(token_bounds), strict=True
        ):
            sequences.append(
                PackedSequence(
                    seq_no=seq_no,
                    generation=rows.generation,
                    context_length=self._context_length,
                    tokens_T=tokens_T[start:stop],
                    segment_lengths_S=lengths_u32_S[first:end],
                    segment_offsets_S=starts_S[first:end],
                    segment_flags_S=flags_S[first:end],
                    doc_ids=tuple(doc_ids[first:end]),
                    clusters_S=clusters_S[first:end],
                    policy_versions_S=policy_versions_S[first:end],
                    propensities_S=propensities_S[first:end],
                    weights_S=weights_S[first:end] if has_weights else None,
                    qualities_S=qualities_S[first:end] if has_weights else None,
                    no_loss_R2=None
                    if muted_T is None or not muted_T[start:stop].any()
                    else ranges_of(muted_T[start:stop]),
                )
            )
        return sequences

    def _place(self, rows: Rows, lengths_S: NDArray[np.int64], epoch: Epoch) -> None:
        pieces_S, first = rows.pieces_S, int(rows.seq_nos_R[0])
        fact = Placements(
            generation=rows.generation,
            first_seq_no=first,
            num_segments=np.diff(rows.bounds_R1).astype(np.uint32).tobytes(),
            doc_nos=pieces_S["doc_no"].tobytes(),
            starts=pieces_S["start"].astype(np.uint32).tobytes(),
            lengths=lengths_S.astype(np.uint32).tobytes(),
            numbers=pieces_S["numbers"].tobytes(),
        )
        place(fact, epoch)


def _spans(bounds: list[int]) -> tuple[list[int], list[int]]:
    return bounds[:-1], bounds[1:]
