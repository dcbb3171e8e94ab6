"""Spans of texts: those that stay where some overlap, and texts with pieces in their places. Linear in both.

Spans are rows (document, rank, start, end) of int64, places in the buffer, sorted by document, start and rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernels.characters import inlined_leaf, leaf
from kernels.columns import PADDING, Texts, bounds_of


@leaf
def _apart(spans_S4, stays_S):
    kept = -1
    for s in range(len(spans_S4)):
        stays_S[s] = True
        if kept >= 0 and spans_S4[kept, 0] == spans_S4[s, 0] and spans_S4[s, 2] < spans_S4[kept, 3]:
            if spans_S4[s, 1] >= spans_S4[kept, 1]:
                stays_S[s] = False
                continue
            stays_S[kept] = False
        kept = s


def without_overlaps(spans_S4: NDArray[np.int64]) -> NDArray[np.int64]:
    """The spans, sorted, and of two that overlap the one of the lower rank, else the earlier, else the longer."""
    if len(spans_S4) < 2:
        return spans_S4
    document_S, rank_S, start_S, end_S = spans_S4.T
    spans_S4 = spans_S4[np.lexsort((-end_S, rank_S, start_S, document_S))]
    stays_S = np.empty(len(spans_S4), np.bool_)
    _apart(spans_S4, stays_S)
    return spans_S4[stays_S]


@inlined_leaf
def _copy(source_N, first, end, target_M, at):
    for i in range(first, end):
        target_M[at + i - first] = source_N[i]
    return at + end - first


@leaf
def _splice(buffer_N, starts_B, ends_B, spans_S4, pieces_M, bounds_P1, piece_S, out_M, out_starts_B, out_ends_B):
    written, s = 0, 0
    for b in range(len(starts_B)):
        out_starts_B[b] = written
        at = starts_B[b]
        while s < len(spans_S4) and spans_S4[s, 0] == b:
            written = _copy(buffer_N, at, spans_S4[s, 2], out_M, written)
            written = _copy(pieces_M, bounds_P1[piece_S[s]], bounds_P1[piece_S[s] + 1], out_M, written)
            at = spans_S4[s, 3]
            s += 1
        written = _copy(buffer_N, at, ends_B[b], out_M, written)
        out_ends_B[b] = written


def with_pieces(
    texts: Texts, spans_S4: NDArray[np.int64], pieces: Sequence[bytes], piece_S: NDArray[np.int64]
) -> Texts:
    """The texts with piece `piece_S[s]` in place of span s. The spans are sorted and do not overlap."""
    pieces_M, bounds_P1 = np.frombuffer(b"".join((*pieces, PADDING)), np.uint8), bounds_of(list(map(len, pieces)))
    grown = int((np.diff(bounds_P1)[piece_S] - (spans_S4[:, 3] - spans_S4[:, 2])).sum())
    num_bytes = int(texts.num_bytes().sum()) + grown
    out_M = np.empty(num_bytes + len(PADDING), np.uint8)
    out_M[num_bytes:] = 0
    starts_B, ends_B = np.empty_like(texts.starts_B), np.empty_like(texts.ends_B)
    _splice(
        *(texts.buffer_N, texts.starts_B, texts.ends_B, spans_S4, pieces_M, bounds_P1, piece_S),
        *(out_M, starts_B, ends_B),
    )
    out_M.flags.writeable = False  # as the buffer of `join_texts`: kernels are compiled for one kind
    return Texts(out_M, starts_B, ends_B)
