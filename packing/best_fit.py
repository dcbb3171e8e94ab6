"""Best fit: rows with the least padding, blind to the subjects of documents.

Best-fit packing (Ding et al., ICML 2024, arXiv 2404.10830) sorts all documents by length, longest first, and puts each
into the fullest row that takes it. On a stream that is done for a thousand at a time, and rows that are not full are
carried over, so that the short documents of later rounds fill them. A row is carried as long as none of its pieces
would wait more than `max_wait` arrivals for it to close: without that bound an unlucky row stays open for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kernels.best_fit import best_fit
from kernels.columns import Ragged, bounds_of
from kernels.pool_slots import Arrivals
from packing.pool import ClosedRows


@dataclass(slots=True)
class _OpenRow:
    numbers: list[int]
    room: int  # tokens it still takes
    oldest: int  # arrival number of its oldest piece


class BestFit:
    """Pieces that wait for their round, and the rows that are carried over."""

    def __init__(self, *, context_length: int, limit: int, max_wait: int) -> None:
        self.longest_wait = 0  # arrivals between a piece's entry and the closing of its row
        self._context_length = context_length
        self._limit = limit
        self._max_wait = max_wait
        self._rows: list[_OpenRow] = []
        self._waiting_3N = np.zeros((3, 0), np.int64)  # length, number, arrival
        self._newest = 0

    def load(self, *, rows: list[Arrivals], waiting: Arrivals, newest: int) -> None:
        """Begin again with the open rows and the pieces given; `newest` is the number of the last arrival so far."""
        self._rows = [
            _OpenRow(row.numbers_N.tolist(), self._context_length - int(row.lengths_N.sum()), int(row.arrivals_N.min()))
            for row in rows
        ]
        self._waiting_3N = _columns(waiting)
        self._newest = newest

    def open_rows(self) -> list[list[int]]:
        """The pieces of each open row, in the order in which they were put in."""
        return [list(row.numbers) for row in self._rows]

    def fill(self, arrivals: Arrivals) -> ClosedRows:
        """Let pieces in; a round for every `limit` of them. The rows that closed."""
        arrivals_3N, first = _columns(arrivals), 0
        after: list[int] = []
        closed: list[list[int]] = []
        while first < arrivals_3N.shape[1]:
            # The pool may be smaller than it was, and more than a round wait.
            end = first + max(1, self._limit - self._waiting_3N.shape[1])
            self._waiting_3N = np.concatenate((self._waiting_3N, arrivals_3N[:, first:end]), axis=1)
            first = min(end, arrivals_3N.shape[1])
            self._newest = int(self._waiting_3N[2, -1])
            if self._waiting_3N.shape[1] >= self._limit:
                closed += self._round()
                after += [first - 1] * (len(closed) - len(after))
        return ClosedRows(np.array(after, np.int64), _ragged(closed))

    def drain(self) -> Ragged[np.int64]:
        """A last round, after which every row closes."""
        closed = self._round() + self.open_rows()
        self._rows = []
        return _ragged(closed)

    def _round(self) -> list[list[int]]:
        # Rows by their first piece: an order that a restart can find again.
        rows = sorted(self._rows, key=lambda row: row.numbers[0])
        lengths_N, numbers_N, arrivals_N = self._waiting_3N[:, np.lexsort((self._waiting_3N[1], -self._waiting_3N[0]))]
        self._waiting_3N = np.zeros((3, 0), np.int64)
        rooms_R = np.array([row.room for row in rows], np.int64)
        rows_N, num_rows = best_fit(lengths_N, rooms_R, self._context_length)
        rows += [_OpenRow([], self._context_length, self._newest) for _ in range(num_rows - len(rows))]
        # The pieces of a row stand together, in the order in which they came to it.
        order_N = np.argsort(rows_N, kind="stable")
        firsts = np.flatnonzero(np.diff(rows_N[order_N], prepend=-1))
        for first, end in pairwise([*firsts.tolist(), len(order_N)]):
            own = order_N[first:end]
            row = rows[rows_N[own[0]]]
            row.numbers += numbers_N[own].tolist()
            row.room -= int(lengths_N[own].sum())
            row.oldest = min(row.oldest, int(arrivals_N[own].min()))
        closed = []
        self._rows = []
        for row in rows:
            if row.room == 0 or self._newest + self._limit - row.oldest > self._max_wait:
                closed.append(row.numbers)
                self.longest_wait = max(self.longest_wait, self._newest - row.oldest)
            else:
                self._rows.append(row)
        return closed


def _columns(arrivals: Arrivals) -> NDArray[np.int64]:
    return np.stack((arrivals.lengths_N, arrivals.numbers_N, arrivals.arrivals_N))


def _ragged(rows: list[list[int]]) -> Ragged[np.int64]:
    numbers_N = np.array([number for row in rows for number in row], np.int64)
    return Ragged(numbers_N, bounds_of([len(row) for row in rows]))
