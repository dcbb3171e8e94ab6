"""Candidates for personal data as text, and the lengths of account numbers of some countries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.columns import join_texts
from kernels.pii import Candidate, find_candidates


def lengths_of_accounts() -> NDArray[np.int64]:
    """Characters of an IBAN by the letters of its country, (26, 26)."""
    lengths_CC = np.zeros((26, 26), np.int64)
    for country, length in (("DE", 22), ("GB", 22), ("NO", 15), ("MT", 31)):
        lengths_CC[ord(country[0]) - 65, ord(country[1]) - 65] = length
    return lengths_CC


def found(texts: list[str], lengths: NDArray[np.int64], ids: tuple[int, ...] = ()) -> list[tuple[int, Candidate, str]]:
    """Document, kind and text of each candidate."""
    joined = join_texts(texts)
    return [
        (document, Candidate(kind), joined.buffer_N[start:end].tobytes().decode())
        for document, kind, start, end in find_candidates(joined, lengths, ids).tolist()
    ]
