"""Pool: rows of related documents, picked from the last thousands (DataSculpt, online).

Offline, related documents are found by sorting the corpus into clusters first. On a stream a pool of documents waits
instead, divided into cells by the centres of the clusters, and each row gathers what belongs together out of the cells
that are nearest to it; the kernel's docstring has the rule of choice. Open rows per cluster, the other way to do it,
strand the tokens of rare clusters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.byte_vectors import BIAS, BLOCK_ELEMENTS, SIDE_BY_SIDE, round_to_bytes
from kernels.columns import Ragged, bounds_of
from kernels.pool import (
    IS_ORDERED,
    LONGEST_WAIT,
    NEWEST,
    NUM_COUNTS,
    PIECES,
    ROOM,
    SEED_CELL,
    Row,
    Weights,
    fill_rows,
)
from kernels.pool_slots import Arrivals, Cells, Chains, Slots, divide, leave, order_cells
from ops.memory import lookup_table
from packing.pieces import Pieces, lengths

# Steps to a standard deviation of a component, for a random direction: a byte then holds four on either side.
STEPS_PER_SIGMA = 32


def quantize(embeddings_BD: NDArray[np.float32]) -> NDArray[np.int8]:
    """Unit vectors as bytes in -127...127, their dimension padded with zeros to a multiple of 128.

    A component of a random unit vector has a standard deviation of D ** -0.5, which becomes 32 steps; a vector's
    product with itself becomes about 1024 D.

    >>> quantize(np.array([[0.6, -0.8]], np.float32))[0, :3].tolist()
    [27, -36, 0]
    """
    num_vectors, dimension = embeddings_BD.shape
    bytes_BD = np.zeros((num_vectors, -(-dimension // BLOCK_ELEMENTS) * BLOCK_ELEMENTS), np.int8)
    round_to_bytes(embeddings_BD, np.float32(STEPS_PER_SIGMA * dimension**0.5), bytes_BD)
    return bytes_BD


class ClosedRows(NamedTuple):
    """Rows that closed: when the n-th of the arrivals of the call had entered, and the numbers of their pieces."""

    after_R: NDArray[np.int64]
    numbers: Ragged[np.int64]


def in_order(full: ClosedRows, closed: ClosedRows) -> Ragged[np.int64]:
    """The rows in the order of closing: full pieces before their own document's tail enters."""
    if not len(full.numbers):
        return closed.numbers
    rows = [*full.numbers, *closed.numbers]
    is_closed_R = np.repeat((0, 1), (len(full.numbers), len(closed.numbers)))
    order_R = np.lexsort((is_closed_R, np.concatenate((full.after_R, closed.after_R))))
    rows = [rows[row] for row in order_R.tolist()]
    return Ragged(np.concatenate(rows), bounds_of([len(row) for row in rows]))


def arrivals_of(numbers_N: NDArray[np.int64], pieces_N: Pieces, vectors_ND: NDArray[np.int8]) -> Arrivals:
    """Pieces as they enter."""
    return Arrivals(
        vectors_ND=vectors_ND,
        lengths_N=lengths(pieces_N),
        numbers_N=numbers_N,
        arrivals_N=np.ascontiguousarray(pieces_N["arrival"]),
        doc_nos_N=np.ascontiguousarray(pieces_N["doc_no"]),
        continued_N=(pieces_N["start"] > 0).astype(np.uint8),
    )


def no_arrivals(padded_dimension: int) -> Arrivals:
    """Nothing enters."""
    none = np.zeros(0, np.int64)
    return Arrivals(np.zeros((0, padded_dimension), np.int8), none, none, none, none, np.zeros(0, np.uint8))


class Pool:
    """Pieces that wait, and the one row that is open."""

    def __init__(
        self, *, weights: Weights, limit: int, padded_dimension: int, centres_KD: NDArray[np.int8] | None = None
    ) -> None:
        self.longest_wait = 0  # arrivals, of the pieces that were picked
        self._weights = weights
        self._limit = limit
        self._padded_dimension = padded_dimension
        self._cells = _cells(np.zeros((1, padded_dimension), np.int8) if centres_KD is None else centres_KD)
        self.load(rows=[], waiting=no_arrivals(padded_dimension), newest=0)

    def load(self, *, rows: list[Arrivals], waiting: Arrivals, newest: int) -> None:
        """Begin again with the open rows given (at most one), each in the order of its picks, and the pieces that wait.

        `newest` is the number of the last arrival so far.
        """
        length, dimension = self._weights.context_length, self._padded_dimension
        num_slots = max(self._limit, len(waiting.lengths_N)) + 2  # the last one stays empty
        self._slots = _slots(num_slots, dimension, length)
        self._chains = _chains(num_slots, len(self._cells.biased_KD))
        self._row = Row(
            vector_D=np.zeros(dimension, np.int32),
            last_D=np.zeros(dimension, np.int8),
            seed_D=np.zeros(dimension, np.int8),
            counts=np.zeros(NUM_COUNTS, np.int64),
            doc_nos_L=np.zeros(length, np.int64),
            fitting_S=np.zeros(num_slots + 1, np.int32),
            stale_S=np.zeros(num_slots + SIDE_BY_SIDE, np.int32),
        )
        self._row.counts[ROOM] = length
        self._picked = np.zeros(0, np.int64)
        for row in rows:
            self._pick(row, limit=0)
        self._pick(waiting, limit=num_slots)
        self._row.counts[NEWEST] = newest
        self._row.counts[LONGEST_WAIT] = 0

    def divide(self, centres_KD: NDArray[np.int8]) -> None:
        """Divide the pool anew, by the centres of other cells."""
        self._cells = _cells(centres_KD)
        num_slots = len(self._slots.lengths_S)
        self._chains = self._chains._replace(cell_ends_K2=_chains(num_slots, len(self._cells.biased_KD)).cell_ends_K2)
        divide(self._slots, self._chains, self._cells)
        if self._row.counts[PIECES]:
            order_cells(self._cells, self._row.seed_D)
            self._row.counts[SEED_CELL], self._row.counts[IS_ORDERED] = self._cells.order_K[0], 1

    def remove(self, numbers_N: NDArray[np.int64]) -> None:
        """Take out pieces that wait."""
        used_U = np.setdiff1d(np.arange(len(self._slots.free_S)), self._free())
        for slot in used_U[np.isin(self._slots.numbers_S[used_U], numbers_N)].tolist():
            leave(self._slots, self._chains, slot)

    def _free(self) -> NDArray[np.int32]:
        return self._slots.free_S[: len(self._slots.free_S) - int(self._slots.num_used[0])]

    def open_rows(self) -> list[list[int]]:
        """The pieces of the open row, in the order of their picks; no row if it is empty."""
        return [self._picked.tolist()] if len(self._picked) else []

    def fill(self, arrivals: Arrivals) -> ClosedRows:
        """Let pieces in and pick; the rows that closed."""
        closed = self._pick(arrivals, limit=self._limit)
        self.longest_wait = max(self.longest_wait, int(self._row.counts[LONGEST_WAIT]))
        return closed

    def drain(self) -> Ragged[np.int64]:
        """Pick until nothing is left and close the open row."""
        rows = self._pick(no_arrivals(self._padded_dimension), limit=0).numbers
        if len(self._picked):
            rows = Ragged(
                np.concatenate((rows.values_T, self._picked)),
                np.append(rows.bounds_B1, len(rows.values_T) + len(self._picked)),
            )
        self.load(rows=[], waiting=no_arrivals(self._padded_dimension), newest=int(self._row.counts[NEWEST]))
        return rows

    def _pick(self, arrivals: Arrivals, *, limit: int) -> ClosedRows:
        # Every pick may close a row, and so may the first one before it picks.
        num_picks = int(self._slots.num_used[0]) + len(arrivals.lengths_N)
        events = np.empty(2 * num_picks + 2, np.int64)
        num_events = fill_rows(
            self._slots, self._chains, self._cells, self._row, arrivals, self._weights, limit, events
        )
        events = np.concatenate((self._picked, events[:num_events]))
        ends_R = np.flatnonzero(events < 0)
        bounds_R1 = np.concatenate((np.zeros(1, np.int64), ends_R - np.arange(len(ends_R))))
        numbers_N = events[events >= 0]
        self._picked = numbers_N[bounds_R1[-1] :]
        return ClosedRows(-1 - events[ends_R], Ragged(numbers_N[: bounds_R1[-1]], bounds_R1))


def _slots(num_slots: int, dimension: int, context_length: int) -> Slots:
    return Slots(
        biased_SD=lookup_table((num_slots, dimension), np.uint8),
        squares_S=np.zeros(num_slots, np.int64),
        norms_S=np.ones(num_slots, np.float32),
        lengths_S=np.zeros(num_slots, np.int64),
        numbers_S=np.zeros(num_slots, np.int64),
        arrivals_S=np.zeros(num_slots, np.int64),
        doc_nos_S=np.zeros(num_slots, np.int64),
        continued_S=np.zeros(num_slots, np.uint8),
        dots_S=np.zeros(num_slots, np.int64),
        barred_S=np.zeros(num_slots, np.uint8),
        known_S=np.zeros(num_slots, np.int64),
        cells_S=np.zeros(num_slots, np.int32),
        free_S=np.arange(num_slots - 1, dtype=np.int32)[::-1].copy(),
        num_used=np.zeros(1, np.int64),
        same_length_L=np.zeros(context_length + 1, np.int32),
    )


def _chains(num_slots: int, num_cells: int) -> Chains:
    none = [np.full(num_slots, -1, np.int32) for _ in range(4)]
    return Chains(none[0], none[1], np.full(2, -1, np.int32), none[2], none[3], np.full((num_cells, 2), -1, np.int32))


def _cells(centres_KD: NDArray[np.int8]) -> Cells:
    num_cells, dimension = centres_KD.shape
    biased_KD = np.full((num_cells + 1, dimension), BIAS, np.uint8)
    biased_KD[:num_cells] = (centres_KD.astype(np.int16) + BIAS).astype(np.uint8)
    all_K = np.minimum(np.arange(num_cells + SIDE_BY_SIDE), num_cells).astype(np.int32)
    return Cells(biased_KD, all_K, np.zeros(num_cells + 1, np.int64), np.zeros(num_cells, np.int32))
