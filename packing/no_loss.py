"""Tokens without loss: parts of a document's text that a trainer reads and does not learn, as ranges of its tokens.

A stage names bytes of the text; here they become tokens (`ranges_of_tokens`), wait with the document
(`packing.held`), and become ranges of the rows that the document goes out in.

Shape legend: R ranges [first, end) in ascending order, apart from each other; T tokens; S pieces of documents.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from curatord.no_loss import Ranges
from packing.sampled import HELD
from state.facts import NUMBER, Codec, Facts

NO_LOSS = Facts(
    HELD, NUMBER, Codec(np.ndarray.tobytes, lambda raw: np.frombuffer(raw, np.uint32).reshape(-1, 2)), prefix=b"n"
)


def ranges_of(muted_T: NDArray[np.bool_]) -> Ranges:
    """The ranges of the tokens that are set.

    >>> ranges_of(np.array([True, True, False, True])).tolist()
    [[0, 2], [3, 4]]
    """
    edges = np.flatnonzero(np.diff(muted_T, prepend=False, append=False))
    return edges.astype(np.uint32).reshape(-1, 2)


def ranges_of_tokens(ends_T: NDArray[np.int64], bytes_R2: NDArray[np.integer]) -> Ranges:
    """The tokens that have a byte in one of these ranges of a text; token t ends before byte `ends_T[t]`.

    Ranges of bytes come in any order, and may overlap. A token of no bytes is part of the character that the next one
    with bytes ends.

    >>> ranges_of_tokens(np.array([0, 3, 5, 9]), np.array([[4, 6]])).tolist()
    [[2, 4]]
    """
    starts_T = np.concatenate(([0], ends_T[:-1]))
    muted_T = np.zeros(len(ends_T), np.bool_)
    for first, end in bytes_R2.tolist():
        muted_T[np.searchsorted(ends_T, first, "right") : np.searchsorted(starts_T, end, "left")] = True
    owners_T = np.searchsorted(ends_T, starts_T, "right")
    return ranges_of(np.append(muted_T, False)[owners_T])


def muted_tokens(
    of_documents: Mapping[int, Ranges],
    doc_nos_S: NDArray[np.int64],
    starts_S: NDArray[np.int64],
    lengths_S: NDArray[np.int64],
) -> NDArray[np.bool_] | None:
    """Which tokens of pieces of documents that stand side by side are without loss, (T,); None if no document has any.

    Piece s has the tokens [start, start + length) of its document.
    """
    found = [(place, of_documents[doc_no]) for place, doc_no in enumerate(doc_nos_S.tolist()) if doc_no in of_documents]
    if not found:
        return None
    muted_T = np.zeros(int(lengths_S.sum()), np.bool_)
    places_S = np.cumsum(lengths_S) - lengths_S
    for place, ranges_R2 in found:
        first, length = int(starts_S[place]), int(lengths_S[place])
        part_T = muted_T[places_S[place] : places_S[place] + length]
        for begin, end in np.clip(ranges_R2.astype(np.int64) - first, 0, length).tolist():
            part_T[begin:end] = True
    return muted_T
