"""Commonness: how well the n-grams that the stream had before foretell a document (SoftDeDup).

SoftDeDup (He et al., 2024) takes the probability of a document by an n-gram model of the whole corpus for its
commonness. Here the model is what the stream had so far, in a sketch of fixed size (`kernels.ngram_sketch`): when a
quarter of its cells is in use, all counts are halved, so that it remembers what comes again and again.

N-grams are of tokens, not of words: what a tick sees of a document are its tokens, with workers and without.

Facts are pages of the sketch, and behind them the cells that grew, a row a tick; when these are more than
MAX_GROWN_BYTES, all pages are written anew and the rows go.

Shape legend: B documents, C cells, X cells that grew.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernels.gaps import pack_gaps, unpack_gaps
from kernels.ngram_sketch import grow, halve, measure_and_count
from ops.memory import lookup_table
from state.fact_table import RowChange
from state.facts import NUMBER, RAW, Facts, FactSource, Family, packed
from state.token_arrays import Tokens

FAMILY = Family("commonness", "a page of the counts of n-grams, or the cells that grew in a tick")
FULL_SHARE = 0.25
PAGE_BYTES = 1 << 16
MAX_GROWN_BYTES = 32 << 20  # behind the pages: what a restart reads and applies in a second


class _Totals(msgspec.Struct, frozen=True, array_like=True):
    """Fact: what belongs to all pages."""

    cells: int = 0  # of the sketch; 0 before there is one
    tokens: int = 0  # that were counted, halved with the counts
    next_row: int = 0  # of the cells that grew
    seen: int = 0  # tokens that ever were counted


_TOTALS: Facts[bytes, _Totals] = Facts(FAMILY, RAW, packed(_Totals), prefix=b"t")
_PAGES = Facts(FAMILY, NUMBER, RAW, prefix=b"p")
_GROWN = Facts(FAMILY, NUMBER, RAW, prefix=b"g")  # packed; b"" where all counts were halved


class Sketch:
    """The counts of n-grams, a table with a fact a page and a fact a tick."""

    family = FAMILY

    def __init__(self, num_bytes: int) -> None:
        self.counts_C: NDArray[np.uint8] = lookup_table((num_bytes,), np.uint8)
        self._totals_2 = np.zeros(2, np.int64)  # tokens that were counted, cells that are not 0
        self.num_seen = 0  # tokens that ever were counted
        self._next_row = 0
        self._new_rows: list[bytes] = []  # since the last commit
        self._num_grown_bytes = 0  # of all rows behind the pages
        self._stored: set[bytes] = set()  # rows of the store, but for the totals

    @property
    def num_tokens(self) -> int:
        """Tokens that were counted, halved with the counts."""
        return int(self._totals_2[0])

    def measure_and_count(self, tokens: Sequence[Tokens], seeds_B: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Mean nats a token of each document by the longest n-grams, and by single tokens, [B, 2]; then count it.

        A document is measured by those before it. NaN for one without tokens.
        """
        nats_B2 = np.empty((len(tokens), 2))
        if not len(tokens):
            return nats_B2
        tokens_T = np.concatenate(tokens).astype(np.uint32, copy=False)
        bounds_B1 = np.concatenate(([0], np.cumsum([len(array) for array in tokens])))
        grown_X = np.empty(6 * len(tokens_T) + 1, np.uint32)
        num_grown = measure_and_count(tokens_T, bounds_B1, seeds_B, self.counts_C, self._totals_2, nats_B2, grown_X)
        self.num_seen += len(tokens_T)
        sorted_X = np.sort(grown_X[:num_grown])
        packed_N = np.empty(5 * num_grown, np.uint8)
        if num_grown:
            self._note(packed_N[: pack_gaps(sorted_X, packed_N)].tobytes())
        if self._totals_2[1] > FULL_SHARE * len(self.counts_C):
            self._halve()
            self._note(b"")
        return nats_B2

    def _note(self, row: bytes) -> None:
        self._new_rows.append(row)
        self._num_grown_bytes += len(row)

    def _halve(self) -> None:
        self._totals_2[:] = self._totals_2[0] // 2, halve(self.counts_C)

    def take_changes(self) -> list[RowChange]:
        """The cells that grew since the last call, by tick; all pages, when such facts are larger than these."""
        if not self._new_rows:
            return []
        rows = {_GROWN.row(self._next_row + n): row for n, row in enumerate(self._new_rows)}
        gone = set[bytes]()
        self._next_row += len(rows)
        self._new_rows.clear()
        if self._num_grown_bytes > MAX_GROWN_BYTES:
            rows, gone = self._pages(), self._stored
            self._num_grown_bytes, self._stored = 0, set()
        self._stored |= rows.keys()
        totals = _Totals(len(self.counts_C), self.num_tokens, self._next_row, self.num_seen)
        changes: list[RowChange] = [(row, None) for row in sorted(gone - rows.keys())]
        return [*changes, *rows.items(), (_TOTALS.row(b""), _TOTALS.value.encode(totals))]

    def _pages(self) -> dict[bytes, bytes]:
        """The pages that are not all 0."""
        pages = enumerate(range(0, len(self.counts_C), PAGE_BYTES))
        found = ((number, self.counts_C[first : first + PAGE_BYTES]) for number, first in pages)
        return {_PAGES.row(number): page_N.tobytes() for number, page_N in found if page_N.any()}

    def load(self, committed: FactSource) -> None:
        """Become what is committed; counts in a sketch of another size are forgotten."""
        totals = _TOTALS.get(committed, b"") or _Totals()
        pages, grown = list(_PAGES.items(committed)), list(_GROWN.items(committed))
        self._stored = {*(_PAGES.row(number) for number, _ in pages), *(_GROWN.row(number) for number, _ in grown)}
        self._new_rows.clear()
        self.counts_C[:], self._totals_2[:], self._next_row, self.num_seen = 0, 0, totals.next_row, 0
        if totals.cells != len(self.counts_C):
            # So that the next commit writes pages, and removes all that is there.
            self._num_grown_bytes = MAX_GROWN_BYTES if self._stored else 0
            return
        for number, page in pages:
            first = number * PAGE_BYTES
            self.counts_C[first : first + len(page)] = np.frombuffer(page, np.uint8)
        for _, row in grown:
            self._grow(row)
        self._num_grown_bytes = sum(len(row) for _, row in grown)
        self.num_seen = totals.seen
        self._totals_2[:] = totals.tokens, np.count_nonzero(self.counts_C)

    def _grow(self, row: bytes) -> None:
        """Let the cells of a row grow, or halve all."""
        if not row:
            halve(self.counts_C)
            return
        packed_N = np.frombuffer(row, np.uint8)
        sorted_X = np.empty(len(packed_N), np.uint32)
        grow(self.counts_C, sorted_X[: unpack_gaps(packed_N, sorted_X)])
