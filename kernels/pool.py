"""Rows of related documents, filled from a pool divided into cells: the inner loop of sculpt packing.

Every piece that arrives takes a slot of the pool, in the cell whose centre is nearest to it. While the pool holds more
pieces than its limit, one of them is picked for the open row:

- an empty row takes the oldest piece, its seed;
- pieces that are due (they have waited long) go first as soon as they fit, the oldest first; one that has waited
  `max_wait` arrivals closes the row if it does not fit, and becomes the next seed;
- otherwise the cells are looked through, that of the seed first, then those with centres like it, until `WANTED` pieces
  that fit are found, of one cell the `MOST_OF_CELL` oldest at most. Of these goes the piece with the highest score,
      alpha * cos(e, v) + beta * length / room - continuation_penalty * continued + closing_bonus * closing,
  where v is the sum of the row's vectors and `room` what the row still takes. `closing` tells how well the piece
  would end the row: 1 if it fills it exactly, falling to 0 if it leaves 64 tokens; 0.8 if the pool has another piece
  that then fills it exactly. A piece with a cosine above `ceiling` goes behind all others. Of equals the oldest is
  taken;
- when nothing fits, the row closes.

Two uses of one document never meet in a row.

The product of a slot with v is kept while its cell is looked through pick after pick: then a pick adds its own products
only. A slot that was not looked at for a pick gets its product anew. Vectors are 8-bit integers and all sums exact
integers, so no order of summation, no restart and no machine changes a score; scores are compared, never accumulated.
So the products may be known or not: what is picked hangs on the pieces, the row and the centres alone.

Cost of a pick: the products of a hundred or two vectors of D bytes with one, about 6 us at D = 384. A piece that
enters costs K products. State: D + 70 bytes a slot.

DataSculpt's greedy (Lu et al., 2024, arXiv 2409.00997) sorts the whole corpus into clusters, each by length, and fills
the emptiest row of a cluster. A stream has no whole; and when no document may be cut, the tightest fit wastes least.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.byte_vectors import BIAS, SIDE_BY_SIDE, add_products
from kernels.pool_slots import enter, leave, order_cells, row_product

# Pieces that fit, after which no further cell is looked through.
WANTED = 25
# Pieces that fit of one cell; its youngest are left for later rows.
MOST_OF_CELL = 160
# Candidates that leave less room than this are about to close their row.
CLOSING_TOKENS = 64
# What an exact fit counts that another piece of the pool would have to complete.
COMPLETED = np.float32(0.8)
# What a piece above the ceiling loses: more than all that a score weighs, by default.
TOO_ALIKE = np.float32(4.0)

# The open row's scalars.
ROOM = 0  # tokens the row still takes
PIECES = 1
SQUARED_NORM = 2  # of the sum of the row's vectors
NEWEST = 3  # arrival number of the piece that entered last
LONGEST_WAIT = 4  # arrivals between a piece's entry and its pick
JOINS = 5  # pieces that joined a row, of all rows
SEED_CELL = 6  # cell of the row's first piece
IS_ORDERED = 7  # whether the cells are in the order of their likeness to it
NUM_COUNTS = 8

NO_SCORE = np.float32(-np.inf)


class Row(NamedTuple):
    """The open row, and what a pick looks at."""

    vector_D: NDArray[np.int32]  # sum of its pieces' vectors
    last_D: NDArray[np.int8]  # the vector of the last one
    seed_D: NDArray[np.int8]  # that of the first
    counts: NDArray[np.int64]
    doc_nos_L: NDArray[np.int64]  # of its pieces; a row of L one-token documents is the worst case
    fitting_S: NDArray[np.int32]
    stale_S: NDArray[np.int32]  # those of them whose products lack the last piece


class Weights(NamedTuple):
    """Weights that decide a pick."""

    context_length: int
    alpha: float
    beta: float
    continuation_penalty: float
    closing_bonus: float
    ceiling: float  # cosine with the row above which a piece goes behind all others
    due_wait: int  # arrivals after which a piece goes first where it fits
    max_wait: int  # arrivals after which a row closes for it


@njit(cache=True, nogil=True, boundscheck=False)
def join(slots, chains, row, s):
    """Put the piece in slot `s` at the end of the row."""
    counts = row.counts
    product = np.int64(0)
    for d in range(len(row.vector_D)):
        byte = np.int32(slots.biased_SD[s, d]) - BIAS
        product += np.int64(byte) * np.int64(row.vector_D[d])
        row.last_D[d] = byte
        row.vector_D[d] += byte
    if counts[PIECES] == 0:
        row.seed_D[:] = row.last_D
        counts[SEED_CELL], counts[IS_ORDERED] = slots.cells_S[s], 0
    row.doc_nos_L[counts[PIECES]] = slots.doc_nos_S[s]
    counts[PIECES] += 1
    counts[JOINS] += 1
    counts[ROOM] -= slots.lengths_S[s]
    counts[SQUARED_NORM] += 2 * product + slots.squares_S[s]
    counts[LONGEST_WAIT] = max(counts[LONGEST_WAIT], counts[NEWEST] - slots.arrivals_S[s])
    leave(slots, chains, s)


@njit(cache=True, nogil=True, boundscheck=False)
def clear(row, context_length):
    """Begin an empty row."""
    row.vector_D[:] = 0
    row.counts[ROOM] = context_length
    row.counts[PIECES] = 0
    row.counts[SQUARED_NORM] = 0


@njit(cache=True, nogil=True, boundscheck=False)
def is_in_row(row, doc_no):
    """Whether the row has a piece of this document."""
    found = False
    for i in range(row.counts[PIECES]):
        found |= row.doc_nos_L[i] == doc_no
    return found


@njit(cache=True, nogil=True, boundscheck=False)
def oldest_due(slots, chains, row, due_wait):
    """Slot of the oldest piece that has waited at least `due_wait` arrivals and fits; -1 if none."""
    last_due, room = row.counts[NEWEST] - due_wait, row.counts[ROOM]
    s = chains.ends[0]
    while s >= 0 and slots.arrivals_S[s] <= last_due:
        if slots.lengths_S[s] <= room and not is_in_row(row, slots.doc_nos_S[s]):
            return s
        s = chains.newer_S[s]
    return -1


@njit(cache=True, nogil=True, boundscheck=False)
def list_fitting(slots, chains, cells, row):
    """List the pieces that fit, cell by cell; how many."""
    counts, num_fitting = row.counts, 0
    room = counts[ROOM]
    for looked in range(len(cells.order_K)):
        if looked == 1 and not counts[IS_ORDERED]:
            order_cells(cells, row.seed_D)
            counts[IS_ORDERED] = 1
        cell = cells.order_K[looked] if looked else counts[SEED_CELL]
        end = num_fitting + MOST_OF_CELL
        s = chains.cell_ends_K2[cell, 0]
        while s >= 0 and num_fitting < end:
            row.fitting_S[num_fitting] = s
            num_fitting += slots.lengths_S[s] <= room
            s = chains.newer_in_cell_S[s]
        if num_fitting >= WANTED:
            break
    return num_fitting


@njit(cache=True, nogil=True, boundscheck=False)
def bring_up_to_date(slots, row, num_fitting):
    """The products of the slots that fit, and whether the row has their documents."""
    counts = row.counts
    joins, pieces = counts[JOINS], counts[PIECES]
    last_doc_no = row.doc_nos_L[pieces - 1]
    total = np.int32(0)
    for d in range(len(row.last_D)):
        total += row.last_D[d]
    num_stale = 0
    for i in range(num_fitting):
        s = row.fitting_S[i]
        known = slots.known_S[s]
        if known == joins:
            continue
        if pieces == 1:
            slots.dots_S[s], slots.barred_S[s] = 0, 0
        if pieces == 1 or known == joins - 1:
            row.stale_S[num_stale] = s
            num_stale += 1
            slots.barred_S[s] |= slots.doc_nos_S[s] == last_doc_no
        else:
            slots.dots_S[s] = row_product(slots.biased_SD, s, row.vector_D)
            slots.barred_S[s] = is_in_row(row, slots.doc_nos_S[s])
        slots.known_S[s] = joins
    row.stale_S[num_stale : num_stale + SIDE_BY_SIDE] = len(slots.lengths_S) - 1
    for i in range(0, num_stale, SIDE_BY_SIDE):
        add_products(slots.biased_SD, len(row.last_D), row.stale_S, i, row.last_D, BIAS * total, slots.dots_S)


# Division as in NumPy: the check for a divisor of 0 would let only one slot at a time be scored.
@njit(cache=True, nogil=True, boundscheck=False, error_model="numpy")
def best_scored(slots, chains, cells, row, weights):
    """Slot with the highest score among those that are looked at; -1 if none of them fits."""
    num_fitting, room = list_fitting(slots, chains, cells, row), row.counts[ROOM]
    bring_up_to_date(slots, row, num_fitting)
    row_norm = np.sqrt(np.float32(max(row.counts[SQUARED_NORM], 1)))
    alpha, beta = np.float32(weights.alpha), np.float32(weights.beta) / np.float32(room)
    penalty, bonus = np.float32(weights.continuation_penalty), np.float32(weights.closing_bonus)
    ceiling = np.float32(weights.ceiling)
    best, highest = -1, NO_SCORE
    for i in range(num_fitting):
        s = row.fitting_S[i]
        if slots.barred_S[s]:
            continue
        length = slots.lengths_S[s]
        cosine = np.float32(slots.dots_S[s]) / (row_norm * slots.norms_S[s])
        score = alpha * cosine + beta * np.float32(length)
        score -= penalty * np.float32(slots.continued_S[s])
        left = room - length
        closing = np.float32(max(CLOSING_TOKENS - left, 0)) / np.float32(CLOSING_TOKENS)
        is_completed = left > 0 and slots.same_length_L[left] > (left == length)
        score += bonus * max(closing, COMPLETED if is_completed else np.float32(0))
        score -= TOO_ALIKE if cosine > ceiling else np.float32(0)
        if score > highest or (score == highest and slots.numbers_S[s] < slots.numbers_S[best]):
            best, highest = s, score
    return best


@njit(cache=True, nogil=True, boundscheck=False)
def choose(slots, chains, cells, row, weights):
    """Slot that the open row takes next; -1 if the row must close first."""
    first = chains.ends[0]
    if row.counts[PIECES] == 0:
        return first
    wait = row.counts[NEWEST] - slots.arrivals_S[first]
    if wait >= weights.due_wait:
        due = oldest_due(slots, chains, row, weights.due_wait)
        if due >= 0 and (due == first or wait < weights.max_wait):
            return due
        if wait >= weights.max_wait:
            return -1
    return best_scored(slots, chains, cells, row, weights)


@njit(cache=True, nogil=True, boundscheck=False)
def fill_rows(slots, chains, cells, row, arrivals, weights, limit, events):
    """Let the arrivals into the pool one by one, and after each pick while the pool holds more than `limit` pieces.

    `events` receives piece numbers in the order of their picks and, where a row closes, -1 - n: the n-th of the
    arrivals had just entered. Returns the number of events. Without arrivals it picks down to the limit. `slots` must
    have a place for the pieces in the pool and for one more than the limit.
    """
    counts = row.counts
    num_arrivals = len(arrivals.lengths_N)
    num_events = 0
    for n in range(max(num_arrivals, 1)):
        if n < num_arrivals:
            enter(slots, chains, cells, arrivals, n)
            counts[NEWEST] = arrivals.arrivals_N[n]
        while slots.num_used[0] > limit:
            s = choose(slots, chains, cells, row, weights)
            if s >= 0:
                events[num_events] = slots.numbers_S[s]
                num_events += 1
                join(slots, chains, row, s)
            if s < 0 or counts[ROOM] == 0:
                events[num_events] = -1 - n
                num_events += 1
                clear(row, weights.context_length)
    return num_events
