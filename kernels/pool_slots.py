"""Slots of the pool: pieces that wait, in the order of their ages, divided into cells.

A cell has the pieces that are nearest to its centre. All pieces in use, and those of each cell, are chains through the
slots, so that a piece comes and goes without moving another. Cost: a product with each of the K centres for a piece
that enters, about 1 us at K = 100 and D = 384.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.byte_vectors import BIAS, SIDE_BY_SIDE, add_products

UNKNOWN = np.int64(-1)


class Slots(NamedTuple):
    """The pool: S slots, of which one is spare. D = padded dimension."""

    biased_SD: NDArray[np.uint8]  # vectors, with BIAS added to each element
    squares_S: NDArray[np.int64]  # squared norm of the vector
    norms_S: NDArray[np.float32]  # its root, at least 1
    lengths_S: NDArray[np.int64]  # tokens
    numbers_S: NDArray[np.int64]  # piece numbers: smaller is older
    arrivals_S: NDArray[np.int64]  # arrival numbers: dense, counted over all pieces that ever entered
    doc_nos_S: NDArray[np.int64]
    continued_S: NDArray[np.uint8]  # 1: the document's head is in an earlier row
    dots_S: NDArray[np.int64]  # product with the row's vector, after `known_S` joins
    barred_S: NDArray[np.uint8]  # 1: the row already has this document, after `known_S` joins
    known_S: NDArray[np.int64]
    cells_S: NDArray[np.int32]
    free_S: NDArray[np.int32]  # the first S - 1 - num_used[0] are free
    num_used: NDArray[np.int64]  # (1,)
    same_length_L: NDArray[np.int32]  # slots in use by length, 0 to the context length


class Chains(NamedTuple):
    """The slots in use in the order of their ages: all of them, and those of each cell. -1: none."""

    older_S: NDArray[np.int32]
    newer_S: NDArray[np.int32]
    ends: NDArray[np.int32]  # (2,): the oldest and the newest of all
    older_in_cell_S: NDArray[np.int32]
    newer_in_cell_S: NDArray[np.int32]
    cell_ends_K2: NDArray[np.int32]


class Cells(NamedTuple):
    """K cells, and a spare one up to a multiple of SIDE_BY_SIDE."""

    biased_KD: NDArray[np.uint8]  # centres, with BIAS added to each element
    all_K: NDArray[np.int32]  # 0...K - 1, then the spare one
    dots_K: NDArray[np.int64]  # product with the vector that came last to `compare`
    order_K: NDArray[np.int32]  # of the open row: that of its seed first, the others by their products with the seed


class Arrivals(NamedTuple):
    """Pieces that enter the pool, oldest first; columns as in `Slots`."""

    vectors_ND: NDArray[np.int8]
    lengths_N: NDArray[np.int64]
    numbers_N: NDArray[np.int64]
    arrivals_N: NDArray[np.int64]
    doc_nos_N: NDArray[np.int64]
    continued_N: NDArray[np.uint8]


@njit(cache=True, nogil=True, boundscheck=False)
def row_product(biased_SD, s, vector_D):
    """Product of one slot's vector with the row's."""
    product = np.int64(0)
    for d in range(len(vector_D)):
        product += np.int64(np.int32(biased_SD[s, d]) - BIAS) * np.int64(vector_D[d])
    return product


@njit(cache=True, nogil=True, boundscheck=False)
def append(ends, older_S, newer_S, s):
    """Put slot `s` at the young end of a chain."""
    older_S[s], newer_S[s] = ends[1], -1
    if ends[1] >= 0:
        newer_S[ends[1]] = s
    else:
        ends[0] = s
    ends[1] = s


@njit(cache=True, nogil=True, boundscheck=False)
def unlink(ends, older_S, newer_S, s):
    """Take slot `s` out of a chain."""
    older, newer = older_S[s], newer_S[s]
    if older >= 0:
        newer_S[older] = newer
    else:
        ends[0] = newer
    if newer >= 0:
        older_S[newer] = older
    else:
        ends[1] = older


@njit(cache=True, nogil=True, boundscheck=False)
def compare(cells, signed_D, total):
    """The products of the centres with a vector of this sum; the cell with the highest, the first of equals."""
    num_cells = len(cells.biased_KD) - 1
    cells.dots_K[:] = 0
    for k in range(0, num_cells, SIDE_BY_SIDE):
        add_products(cells.biased_KD, len(signed_D), cells.all_K, k, signed_D, BIAS * total, cells.dots_K)
    best = 0
    for k in range(num_cells):
        if cells.dots_K[k] > cells.dots_K[best]:
            best = k
    return best


@njit(cache=True, nogil=True, boundscheck=False)
def order_cells(cells, seed_D):
    """The cells in the order of their likeness to a row's seed, among equals the first."""
    total = np.int32(0)
    for d in range(len(seed_D)):
        total += seed_D[d]
    compare(cells, seed_D, total)
    num_cells = len(cells.biased_KD) - 1
    cells.order_K[:] = np.argsort(-cells.dots_K[:num_cells], kind="mergesort")


@njit(cache=True, nogil=True, boundscheck=False)
def divide(slots, chains, cells):
    """Put every slot into the cell that is nearest now."""
    signed_D = np.empty(slots.biased_SD.shape[1], np.int8)
    chains.cell_ends_K2[:] = -1
    s = chains.ends[0]
    while s >= 0:
        total = np.int32(0)
        for d in range(len(signed_D)):
            byte = np.int32(slots.biased_SD[s, d]) - BIAS
            signed_D[d] = byte
            total += byte
        cell = compare(cells, signed_D, total)
        slots.cells_S[s] = cell
        append(chains.cell_ends_K2[cell], chains.older_in_cell_S, chains.newer_in_cell_S, s)
        s = chains.newer_S[s]


@njit(cache=True, nogil=True, boundscheck=False)
def enter(slots, chains, cells, arrivals, n):
    """Give piece `n` of the arrivals a slot."""
    slots.num_used[0] += 1
    s = slots.free_S[len(slots.free_S) - slots.num_used[0]]
    squares = total = np.int32(0)
    for d in range(slots.biased_SD.shape[1]):
        byte = np.int32(arrivals.vectors_ND[n, d])
        slots.biased_SD[s, d] = byte + BIAS
        squares += byte * byte
        total += byte
    slots.squares_S[s] = squares
    slots.norms_S[s] = np.sqrt(np.float32(max(slots.squares_S[s], 1)))
    slots.lengths_S[s] = arrivals.lengths_N[n]
    slots.numbers_S[s] = arrivals.numbers_N[n]
    slots.arrivals_S[s] = arrivals.arrivals_N[n]
    slots.doc_nos_S[s] = arrivals.doc_nos_N[n]
    slots.continued_S[s] = arrivals.continued_N[n]
    slots.known_S[s] = UNKNOWN
    slots.same_length_L[arrivals.lengths_N[n]] += 1
    cell = compare(cells, arrivals.vectors_ND[n], total)
    slots.cells_S[s] = cell
    append(chains.ends, chains.older_S, chains.newer_S, s)
    append(chains.cell_ends_K2[cell], chains.older_in_cell_S, chains.newer_in_cell_S, s)


@njit(cache=True, nogil=True, boundscheck=False)
def leave(slots, chains, s):
    """Free slot `s`."""
    cell = slots.cells_S[s]
    unlink(chains.ends, chains.older_S, chains.newer_S, s)
    unlink(chains.cell_ends_K2[cell], chains.older_in_cell_S, chains.newer_in_cell_S, s)
    slots.same_length_L[slots.lengths_S[s]] -= 1
    slots.free_S[len(slots.free_S) - slots.num_used[0]] = s
    slots.num_used[0] -= 1
