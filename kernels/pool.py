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

Cost of a pick: one product of the pool's matrix with one vector: 384 KB read and about 9 us at S = 1,000 slots and
D = 384, less when few pieces fit. State: S * D bytes.

DataSculpt's greedy (Lu et al., 2024, arXiv 2409.00997) sorts the whole corpus by length and fills the emptiest row. A
stream has no whole; and when no document may be cut, the tightest fit wastes least.
"""

# numba's intrinsics are called without their first parameter, the typing context.
# mypy: disable-error-code="call-arg"

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from kernels.simd import I8, I32, I64, element_pointer

# Vectors are padded with zeros to a multiple of this.
BLOCK_ELEMENTS = 128
# What makes a signed byte an unsigned one.
BIAS = 128
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
NUM_COUNTS = 6


class Slots(NamedTuple):
    """The pool: S slots, of which the first `counts[POOLED]` are in use, in no order. D = padded dimension."""

    vectors_SD: NDArray[np.int8]
    squares_S: NDArray[np.int64]  # squared norm of the vector
    norms_S: NDArray[np.float32]  # its root, at least 1
    totals_S: NDArray[np.int64]  # sum of the vector's elements
    lengths_S: NDArray[np.int64]  # tokens
    numbers_S: NDArray[np.int64]  # piece numbers: smaller is older
    arrivals_S: NDArray[np.int64]  # arrival numbers: dense, counted over all pieces that ever entered
    doc_nos_S: NDArray[np.int64]
    continued_S: NDArray[np.uint8]  # 1: the document's head is in an earlier row
    dots_S: NDArray[np.int64]  # product with the row's vector; valid while the slot fits the row
    barred_S: NDArray[np.uint8]  # 1: the row already has this document
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


@intrinsic
def dot_bytes(typing_context, signed, signed_index, unsigned, unsigned_index, num_blocks):
    """Product of BLOCK_ELEMENTS * `num_blocks` elements of an int8 and a uint8 array.

    Bytes of unlike sign, because processors multiply and add 64 pairs of those in one instruction (VNNI).
    """

    def codegen(context, builder, signature, args):
        bytes_type = ir.VectorType(I8, BLOCK_ELEMENTS)
        products_type = ir.VectorType(I32, BLOCK_ELEMENTS)

        def load(position, offset):
            index = builder.add(args[position + 1], offset)
            pointer = element_pointer(context, builder, signature.args[position], args[position], index)
            vector = builder.load(builder.bitcast(pointer, bytes_type.as_pointer()))
            vector.align = 1
            return vector

        reduce = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(I32, [products_type]), f"llvm.vector.reduce.add.v{BLOCK_ELEMENTS}i32"
        )
        total = cgutils.alloca_once_value(builder, ir.Constant(I32, 0))
        with cgutils.for_range(builder, args[4]) as loop:
            offset = builder.mul(loop.index, ir.Constant(I64, BLOCK_ELEMENTS))
            products = builder.mul(
                builder.sext(load(0, offset), products_type), builder.zext(load(2, offset), products_type)
            )
            builder.store(builder.add(builder.load(total), builder.call(reduce, [products])), total)
        return builder.sext(builder.load(total), I64)

    return types.int64(signed, types.int64, unsigned, types.int64, types.int64), codegen


@njit(cache=True, nogil=True, boundscheck=False)
def pair_products(vectors_ND, bounds_R1):
    """Sum of the products of all ordered pairs of vectors, by row: |sum|^2 less the squares.

    Row r has the vectors `bounds_R1[r]` to `bounds_R1[r + 1]`.
    """
    products_R = np.zeros(len(bounds_R1) - 1, np.int64)
    sum_D = np.empty(vectors_ND.shape[1], np.int32)
    for r in range(len(products_R)):
        sum_D[:] = 0
        for n in range(bounds_R1[r], bounds_R1[r + 1]):
            squares = np.int32(0)
            for d in range(len(sum_D)):
                byte = np.int32(vectors_ND[n, d])
                sum_D[d] += byte
                squares += byte * byte
            products_R[r] -= squares
        for d in range(len(sum_D)):
            products_R[r] += np.int64(sum_D[d]) * np.int64(sum_D[d])
    return products_R


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
    squares = total = np.int32(0)
    for d in range(slots.vectors_SD.shape[1]):
        byte = np.int32(arrivals.vectors_ND[n, d])
        slots.vectors_SD[s, d] = byte
        squares += byte * byte
        total += byte
    slots.squares_S[s] = squares
    slots.totals_S[s] = total
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


@njit(cache=True, nogil=True, boundscheck=False)
def leave(slots, row, s):
    """Free slot `s`: the last one moves into it."""
    slots.same_length_L[slots.lengths_S[s]] -= 1
    row.counts[POOLED] -= 1
    last = row.counts[POOLED]
    if s != last:
        slots.vectors_SD[s] = slots.vectors_SD[last]
        slots.squares_S[s] = slots.squares_S[last]
        slots.norms_S[s] = slots.norms_S[last]
        slots.totals_S[s] = slots.totals_S[last]
        slots.lengths_S[s] = slots.lengths_S[last]
        slots.numbers_S[s] = slots.numbers_S[last]
        slots.arrivals_S[s] = slots.arrivals_S[last]
        slots.doc_nos_S[s] = slots.doc_nos_S[last]
        slots.continued_S[s] = slots.continued_S[last]
        slots.dots_S[s] = slots.dots_S[last]
        slots.barred_S[s] = slots.barred_S[last]


@njit(cache=True, nogil=True, boundscheck=False)
def join(slots, row, s, biased_D):
    """Put the piece in slot `s` at the end of the row; products of the slots that still fit follow."""
    counts = row.counts
    row.doc_nos_L[counts[PIECES]] = slots.doc_nos_S[s]
    counts[PIECES] += 1
    counts[ROOM] -= slots.lengths_S[s]
    counts[SQUARED_NORM] += 2 * slots.dots_S[s] + slots.squares_S[s]
    counts[LONGEST_WAIT] = max(counts[LONGEST_WAIT], counts[NEWEST] - slots.arrivals_S[s])
    dimension = len(row.vector_D)
    for d in range(dimension):
        byte = slots.vectors_SD[s, d]
        biased_D[d] = byte + BIAS
        row.vector_D[d] += byte
    doc_no = slots.doc_nos_S[s]
    room = counts[ROOM]
    leave(slots, row, s)
    for t in range(counts[POOLED]):
        if slots.lengths_S[t] <= room:
            biased = dot_bytes(slots.vectors_SD, t * dimension, biased_D, 0, dimension // BLOCK_ELEMENTS)
            slots.dots_S[t] += biased - BIAS * slots.totals_S[t]
            if slots.doc_nos_S[t] == doc_no:
                slots.barred_S[t] = 1


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
def oldest(slots, row):
    """Slot of the oldest piece of all."""
    lowest = slots.numbers_S[0]
    for s in range(1, row.counts[POOLED]):
        lowest = min(lowest, slots.numbers_S[s])
    s = 0
    while slots.numbers_S[s] != lowest:
        s += 1
    return s


@njit(cache=True, nogil=True, boundscheck=False)
def oldest_due(slots, row, due_wait):
    """Slot of the oldest piece that has waited at least `due_wait` arrivals and fits; -1 if none."""
    best = -1
    for s in range(row.counts[POOLED]):
        if (
            row.counts[NEWEST] - slots.arrivals_S[s] >= due_wait
            and slots.lengths_S[s] <= row.counts[ROOM]
            and slots.barred_S[s] == 0
            and (best < 0 or slots.numbers_S[s] < slots.numbers_S[best])
        ):
            best = s
    return best


@njit(cache=True, nogil=True, boundscheck=False)
def best_scored(slots, row, weights):
    """Slot with the highest score among those that fit; -1 if none."""
    room = row.counts[ROOM]
    row_norm = np.sqrt(np.float32(max(row.counts[SQUARED_NORM], 1)))
    alpha = np.float32(weights.alpha)
    beta = np.float32(weights.beta) / np.float32(room)
    penalty = np.float32(weights.continuation_penalty)
    bonus = np.float32(weights.closing_bonus)
    best = -1
    best_score = np.float32(0)
    for s in range(row.counts[POOLED]):
        length = slots.lengths_S[s]
        if length > room or slots.barred_S[s] != 0:
            continue
        score = alpha * (np.float32(slots.dots_S[s]) / (row_norm * slots.norms_S[s])) + beta * np.float32(length)
        if slots.continued_S[s] != 0:
            score -= penalty
        left = room - length
        closing = np.float32(max(CLOSING_TOKENS - left, 0)) / np.float32(CLOSING_TOKENS)
        if left > 0 and slots.same_length_L[left] > (1 if left == length else 0):
            closing = max(closing, COMPLETED)
        score += bonus * closing
        if best < 0 or score > best_score or (score == best_score and slots.numbers_S[s] < slots.numbers_S[best]):
            best = s
            best_score = score
    return best


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
    biased_D = np.empty(len(row.vector_D), np.uint8)
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
                join(slots, row, s, biased_D)
            if s < 0 or counts[ROOM] == 0:
                events[num_events] = -1 - n
                num_events += 1
                clear(slots, row, weights.context_length)
    return num_events
