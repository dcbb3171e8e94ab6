"""Rows of related documents, filled from a pool: the inner loop of sculpt packing.

Every piece that arrives takes a slot of the pool. While the pool holds more pieces than its limit, one of them is
picked for the open row:

- an empty row takes the oldest piece, its seed;
- pieces that are due (they have waited long) go first as soon as they fit, the oldest first; one that has waited
  `max_wait` arrivals closes the row if it does not fit, and becomes the next seed;
- otherwise the piece with the highest score among those that fit,
      alpha * cos(e, v) + beta * length / room - continuation_penalty * continued + closing_bonus * closing,
  where v is the sum of the row's vectors and `room` what the row still takes. `closing` tells how well the piece
  would end the row: 1 if it fills it exactly, falling to 0 if it leaves 64 tokens; 0.8 if the pool has another piece
  that then fills it exactly. Of equals the oldest is taken;
- when nothing fits, the row closes.

Two uses of one document never meet in a row.

The product of every slot with v is kept up to date: a pick adds its own products to the slots that still fit (those
that do not fit now never will, in this row). Vectors are 8-bit integers and all sums exact integers, so no order of
summation, no restart and no machine changes a score; scores are compared, never accumulated.

Cost of a pick: one product of the pool's matrix with one vector, 384 KB read, and about 7 us at S = 1,000 slots and
D = 384, less when few pieces fit. State: S * D bytes.

DataSculpt's greedy (Lu et al., 2024, arXiv 2409.00997) sorts the whole corpus by length and fills the emptiest row. A
stream has no whole; and when no document may be cut, the tightest fit wastes least.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.byte_vectors import BIAS, SIDE_BY_SIDE, add_products

# Candidates that leave less room than this are about to close their row.
CLOSING_TOKENS = 64
# What an exact fit counts that another piece of the pool would have to complete.
COMPLETED = np.float32(0.8)

# The open row's scalars.
ROOM = 0  # tokens the row still takes
PIECES = 1
SQUARED_NORM = 2  # of the sum of the row's vectors
POOLED = 3  # slots in use: the first of each column
NEWEST = 4  # arrival number of the piece that entered last
LONGEST_WAIT = 5  # arrivals between a piece's entry and its pick
OLDEST = 6  # slot of the oldest piece of all; -1: not known
NUM_COUNTS = 7

NONE = np.int64(1) << 62
NO_SCORE = np.float32(-np.inf)


class Slots(NamedTuple):
    """The pool: S slots, of which the first `counts[POOLED]` are in use, in no order. D = padded dimension."""

    biased_SD: NDArray[np.uint8]  # vectors, with BIAS added to each element
    squares_S: NDArray[np.int64]  # squared norm of the vector
    norms_S: NDArray[np.float32]  # its root, at least 1
    lengths_S: NDArray[np.int64]  # tokens
    numbers_S: NDArray[np.int64]  # piece numbers: smaller is older
    arrivals_S: NDArray[np.int64]  # arrival numbers: dense, counted over all pieces that ever entered
    doc_nos_S: NDArray[np.int64]
    continued_S: NDArray[np.uint8]  # 1: the document's head is in an earlier row
    dots_S: NDArray[np.int64]  # product with the row's vector; valid while the slot fits the row
    barred_S: NDArray[np.uint8]  # 1: the row already has this document
    scores_S: NDArray[np.float32]  # of the last pick; -inf where the piece does not fit
    complements_S: NDArray[np.int32]  # pieces that fill the row exactly after it
    fitting_S: NDArray[np.int32]  # the slots that fit the row
    same_length_L: NDArray[np.int32]  # slots in use by length, 0 to the context length


class Row(NamedTuple):
    """The open row."""

    vector_D: NDArray[np.int32]  # sum of its pieces' vectors
    counts: NDArray[np.int64]
    doc_nos_L: NDArray[np.int64]  # of its pieces; a row of L one-token documents is the worst case


class Arrivals(NamedTuple):
    """Pieces that enter the pool, oldest first; columns as in `Slots`."""

    vectors_ND: NDArray[np.int8]
    lengths_N: NDArray[np.int64]
    numbers_N: NDArray[np.int64]
    arrivals_N: NDArray[np.int64]
    doc_nos_N: NDArray[np.int64]
    continued_N: NDArray[np.uint8]


class Weights(NamedTuple):
    """Weights that decide a pick."""

    context_length: int
    alpha: float
    beta: float
    continuation_penalty: float
    closing_bonus: float
    due_wait: int  # arrivals after which a piece goes first where it fits
    max_wait: int  # arrivals after which a row closes for it


@njit(cache=True, nogil=True, boundscheck=False)
def row_product(vectors_ND, index, vector_D):
    """Product of one piece's vector with a row's."""
    product = np.int64(0)
    for d in range(len(vector_D)):
        product += np.int64(vectors_ND[index, d]) * np.int64(vector_D[d])
    return product


@njit(cache=True, nogil=True, boundscheck=False)
def enter(slots, row, arrivals, n):
    """Give piece `n` of the arrivals the next slot."""
    counts = row.counts
    s = counts[POOLED]
    counts[POOLED] += 1
    counts[NEWEST] = arrivals.arrivals_N[n]
    squares = np.int32(0)
    for d in range(slots.biased_SD.shape[1]):
        byte = np.int32(arrivals.vectors_ND[n, d])
        slots.biased_SD[s, d] = byte + BIAS
        squares += byte * byte
    slots.squares_S[s] = squares
    slots.norms_S[s] = np.sqrt(np.float32(max(slots.squares_S[s], 1)))
    slots.lengths_S[s] = arrivals.lengths_N[n]
    slots.numbers_S[s] = arrivals.numbers_N[n]
    slots.arrivals_S[s] = arrivals.arrivals_N[n]
    slots.same_length_L[arrivals.lengths_N[n]] += 1
    slots.doc_nos_S[s] = arrivals.doc_nos_N[n]
    slots.continued_S[s] = arrivals.continued_N[n]
    slots.dots_S[s] = row_product(arrivals.vectors_ND, n, row.vector_D)
    slots.barred_S[s] = 0
    for i in range(counts[PIECES]):
        if row.doc_nos_L[i] == arrivals.doc_nos_N[n]:
            slots.barred_S[s] = 1
    if counts[OLDEST] >= 0 and slots.numbers_S[s] < slots.numbers_S[counts[OLDEST]]:
        counts[OLDEST] = s


@njit(cache=True, nogil=True, boundscheck=False)
def leave(slots, row, s):
    """Free slot `s`: the last one moves into it."""
    slots.same_length_L[slots.lengths_S[s]] -= 1
    row.counts[POOLED] -= 1
    last = row.counts[POOLED]
    if row.counts[OLDEST] == s:
        row.counts[OLDEST] = -1
    elif row.counts[OLDEST] == last:
        row.counts[OLDEST] = s
    if s != last:
        slots.biased_SD[s] = slots.biased_SD[last]
        slots.squares_S[s] = slots.squares_S[last]
        slots.norms_S[s] = slots.norms_S[last]
        slots.lengths_S[s] = slots.lengths_S[last]
        slots.numbers_S[s] = slots.numbers_S[last]
        slots.arrivals_S[s] = slots.arrivals_S[last]
        slots.doc_nos_S[s] = slots.doc_nos_S[last]
        slots.continued_S[s] = slots.continued_S[last]
        slots.dots_S[s] = slots.dots_S[last]
        slots.barred_S[s] = slots.barred_S[last]


@njit(cache=True, nogil=True, boundscheck=False)
def join(slots, row, s, signed_D):
    """Put the piece in slot `s` at the end of the row; products of the slots that still fit follow."""
    counts = row.counts
    row.doc_nos_L[counts[PIECES]] = slots.doc_nos_S[s]
    counts[PIECES] += 1
    counts[ROOM] -= slots.lengths_S[s]
    counts[SQUARED_NORM] += 2 * slots.dots_S[s] + slots.squares_S[s]
    counts[LONGEST_WAIT] = max(counts[LONGEST_WAIT], counts[NEWEST] - slots.arrivals_S[s])
    total = np.int32(0)
    for d in range(len(row.vector_D)):
        byte = np.int32(slots.biased_SD[s, d]) - BIAS
        signed_D[d] = byte
        row.vector_D[d] += byte
        total += byte
    doc_no, room = slots.doc_nos_S[s], counts[ROOM]
    leave(slots, row, s)
    num_slots = counts[POOLED]
    for t in range(num_slots):
        slots.barred_S[t] |= slots.doc_nos_S[t] == doc_no
    num_fitting = list_fitting(slots.lengths_S, num_slots, room, slots.fitting_S)
    for i in range(0, num_fitting, SIDE_BY_SIDE):
        add_products(slots.biased_SD, len(row.vector_D), slots.fitting_S, i, signed_D, BIAS * total, slots.dots_S)


@njit(cache=True, nogil=True, boundscheck=False)
def list_fitting(lengths_S, num_slots, room, fitting_S):
    """List the slots that fit, then the spare one up to a multiple of SIDE_BY_SIDE; how many fit."""
    num_fitting = 0
    for t in range(num_slots):
        fitting_S[num_fitting] = t
        num_fitting += lengths_S[t] <= room
    fitting_S[num_fitting : num_fitting + SIDE_BY_SIDE] = len(lengths_S) - 1
    return num_fitting


@njit(cache=True, nogil=True, boundscheck=False)
def clear(slots, row, context_length):
    """Begin an empty row."""
    row.vector_D[:] = 0
    row.counts[ROOM] = context_length
    row.counts[PIECES] = 0
    row.counts[SQUARED_NORM] = 0
    slots.dots_S[: row.counts[POOLED]] = 0
    slots.barred_S[: row.counts[POOLED]] = 0


@njit(cache=True, nogil=True, boundscheck=False)
def slot_of(slots, row, number):
    """Slot of the piece with this number, which is in the pool."""
    found = 0
    for s in range(row.counts[POOLED]):
        found = s if slots.numbers_S[s] == number else found
    return found


@njit(cache=True, nogil=True, boundscheck=False)
def oldest(slots, row):
    """Slot of the oldest piece of all."""
    if row.counts[OLDEST] < 0:
        lowest = NONE
        for s in range(row.counts[POOLED]):
            lowest = min(lowest, slots.numbers_S[s])
        row.counts[OLDEST] = slot_of(slots, row, lowest)
    return row.counts[OLDEST]


@njit(cache=True, nogil=True, boundscheck=False)
def oldest_due(slots, row, due_wait):
    """Slot of the oldest piece that has waited at least `due_wait` arrivals and fits; -1 if none."""
    last_due, room = row.counts[NEWEST] - due_wait, row.counts[ROOM]
    lowest = NONE
    for s in range(row.counts[POOLED]):
        is_due = (slots.arrivals_S[s] <= last_due) & (slots.lengths_S[s] <= room) & (slots.barred_S[s] == 0)
        lowest = min(lowest, slots.numbers_S[s] if is_due else NONE)
    return slot_of(slots, row, lowest) if lowest != NONE else -1


@njit(cache=True, nogil=True, boundscheck=False)
def count_complements(num_slots, lengths_S, same_length_L, room, complements_S):
    """Number of pieces that fill the row exactly after each slot, the slot itself among them."""
    for s in range(num_slots):
        complements_S[s] = same_length_L[max(room - lengths_S[s], 0)]


# Division as in NumPy: the check for a divisor of 0 would let only one slot at a time be scored.
@njit(cache=True, nogil=True, boundscheck=False, error_model="numpy")
def score_slots(slots, num_slots, room, row_norm, weights):
    """Score of every slot; -inf where it does not fit."""
    alpha, beta = np.float32(weights.alpha), np.float32(weights.beta) / np.float32(room)
    penalty, bonus = np.float32(weights.continuation_penalty), np.float32(weights.closing_bonus)
    for s in range(num_slots):
        length = slots.lengths_S[s]
        score = alpha * (np.float32(slots.dots_S[s]) / (row_norm * slots.norms_S[s])) + beta * np.float32(length)
        score -= penalty * np.float32(slots.continued_S[s])
        left = room - length
        closing = np.float32(max(CLOSING_TOKENS - left, 0)) / np.float32(CLOSING_TOKENS)
        is_completed = (left > 0) & (slots.complements_S[s] > (left == length))
        completed = COMPLETED if is_completed else np.float32(0)
        score += bonus * (closing if closing > completed else completed)
        slots.scores_S[s] = score if (left >= 0) & (slots.barred_S[s] == 0) else NO_SCORE


@njit(cache=True, nogil=True, boundscheck=False)
def order_of(score_bits):
    """Bits of a float32 as an integer that is ordered as the numbers are: integers are compared many at once."""
    return np.int32(score_bits ^ np.int32((score_bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@njit(cache=True, nogil=True, boundscheck=False)
def best_scored(slots, row, weights):
    """Slot with the highest score among those that fit; -1 if none."""
    num_slots, room = row.counts[POOLED], row.counts[ROOM]
    row_norm = np.sqrt(np.float32(max(row.counts[SQUARED_NORM], 1)))
    count_complements(num_slots, slots.lengths_S, slots.same_length_L, room, slots.complements_S)
    score_slots(slots, num_slots, room, row_norm, weights)
    bits_S = slots.scores_S.view(np.int32)
    highest = np.int32(-(2**31))
    for s in range(num_slots):
        highest = max(highest, order_of(bits_S[s]))
    best = -1
    for s in range(num_slots):
        if order_of(bits_S[s]) == highest and (best < 0 or slots.numbers_S[s] < slots.numbers_S[best]):
            best = s
    return best if slots.scores_S[best] != NO_SCORE else -1


@njit(cache=True, nogil=True, boundscheck=False)
def choose(slots, row, weights):
    """Slot that the open row takes next; -1 if the row must close first."""
    first = oldest(slots, row)
    if row.counts[PIECES] == 0:
        return first
    wait = row.counts[NEWEST] - slots.arrivals_S[first]
    if wait >= weights.due_wait:
        due = oldest_due(slots, row, weights.due_wait)
        if due >= 0 and (due == first or wait < weights.max_wait):
            return due
        if wait >= weights.max_wait:
            return -1
    return best_scored(slots, row, weights)


@njit(cache=True, nogil=True, boundscheck=False)
def fill_rows(slots, row, arrivals, weights, limit, events):
    """Let the arrivals into the pool one by one, and after each pick while the pool holds more than `limit` pieces.

    `events` receives piece numbers in the order of their picks and, where a row closes, -1 - n: the n-th of the
    arrivals had just entered. Returns the number of events. Without arrivals it picks down to the limit. `slots` must
    have a place for the pieces in the pool and for one more than the limit.
    """
    counts = row.counts
    signed_D = np.empty(len(row.vector_D), np.int8)
    num_arrivals = len(arrivals.lengths_N)
    num_events = 0
    for n in range(max(num_arrivals, 1)):
        if n < num_arrivals:
            enter(slots, row, arrivals, n)
        while counts[POOLED] > limit:
            s = choose(slots, row, weights)
            if s >= 0:
                events[num_events] = slots.numbers_S[s]
                num_events += 1
                join(slots, row, s, signed_D)
            if s < 0 or counts[ROOM] == 0:
                events[num_events] = -1 - n
                num_events += 1
                clear(slots, row, weights.context_length)
    return num_events
