"""Best fit: rows with the least padding, blind to the subjects of documents.

Best-fit packing (Ding et al., ICML 2024, arXiv 2404.10830) sorts all documents by length, longest first, and puts each
into the fullest row that takes it. On a stream that is done for a thousand at a time, and rows that are not full are
carried over, so that the short documents of later rounds fill them. A row is carried as long as none of its pieces
would wait more than `max_wait` arrivals for it to close: without that bound an unlucky row stays open for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.best_fit import best_fit
from kernels.pool import Arrivals


@dataclass(slots=True)
class _OpenRow:
    numbers: list[int]
    room: int  # tokens it still takes
    oldest: int  # arrival number of its oldest piece


class BestFit:
    """Pieces that wait for their round, and the rows that are carried over.

    Rows come out as (n, piece numbers): closed when the n-th of the arrivals of that call had entered.
    """

    def __init__(self, *, context_length: int, limit: int, max_wait: int) -> None:
        self.longest_wait = 0  # arrivals between a piece's entry and the closing of its row
        self._context_length = context_length
        self._limit = limit
        self._max_wait = max_wait
        self._rows: list[_OpenRow] = []
        self._waiting: list[tuple[int, int, int]] = []  # (length, number, arrival)
        self._newest = 0

    def load(self, *, rows: list[Arrivals], waiting: Arrivals, newest: int) -> None:
        """Begin again with the open rows and the pieces given; `newest` is the number of the last arrival so far."""
        self._rows = [
            _OpenRow(row.numbers_N.tolist(), self._context_length - int(row.lengths_N.sum()), int(row.arrivals_N.min()))
            for row in rows
        ]
        self._waiting = _tuples(waiting)
        self._newest = newest

    def open_rows(self) -> list[list[int]]:
        """The pieces of each open row, in the order in which they were put in."""
        return [list(row.numbers) for row in self._rows]

    def fill(self, arrivals: Arrivals) -> list[tuple[int, list[int]]]:
        """Let pieces in; a round for every `limit` of them. The rows that closed."""
        closed = []
        for n, piece in enumerate(_tuples(arrivals)):
            self._waiting.append(piece)
            self._newest = piece[2]
            if len(self._waiting) >= self._limit:
                closed += [(n, numbers) for numbers in self._round()]
        return closed

    def drain(self) -> list[list[int]]:
        """A last round, after which every row closes."""
        closed = self._round() + self.open_rows()
        self._rows = []
        return closed

    def _round(self) -> list[list[int]]:
        # Rows by their first piece: an order that a restart can find again.
        rows = sorted(self._rows, key=lambda row: row.numbers[0])
        pieces = sorted(self._waiting, key=lambda piece: (-piece[0], piece[1]))
        self._waiting = []
        lengths_N = np.array([length for length, _, _ in pieces], np.int64)
        rooms_R = np.array([row.room for row in rows], np.int64)
        rows_N, num_rows = best_fit(lengths_N, rooms_R, self._context_length)
        rows += [_OpenRow([], self._context_length, self._newest) for _ in range(num_rows - len(rows))]
        for (length, number, arrival), r in zip(pieces, rows_N.tolist(), strict=True):
            row = rows[r]
            row.numbers.append(number)
            row.room -= length
            row.oldest = min(row.oldest, arrival)
        closed = []
        self._rows = []
        for row in rows:
            if row.room == 0 or self._newest + self._limit - row.oldest > self._max_wait:
                closed.append(row.numbers)
                self.longest_wait = max(self.longest_wait, self._newest - row.oldest)
            else:
                self._rows.append(row)
        return closed


def _tuples(arrivals: Arrivals) -> list[tuple[int, int, int]]:
    return list(
        zip(arrivals.lengths_N.tolist(), arrivals.numbers_N.tolist(), arrivals.arrivals_N.tolist(), strict=True)
    )
