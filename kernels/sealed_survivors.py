"""Survivors on disk: rows of document number, symbols, and a checksum each of this row and of the row's sketch.

They are sorted by number. Every row that is read is held against its checksum (`kernels.checksums`), 10 ns beside a
read of memory at random: one that differs is noted, and counts for nothing.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from kernels.checksums import half_sum
from kernels.lsh_table import leaf

NUMBER, SYMBOLS, SUM, SKETCH_SUM = range(4)


@leaf
def _row_sum(survivors_S4, row):
    return half_sum(survivors_S4.ctypes.data + 16 * row, 1, row)


@leaf
def _sketch_sum(sketches_SQ, row, number):
    num_bytes = sketches_SQ.shape[1]
    return half_sum(sketches_SQ.ctypes.data + num_bytes * row, num_bytes // 8, number)


@njit(cache=True, nogil=True, boundscheck=False)
def fill_sums(sketches_SQ, survivors_S4, first_row):
    """Write the checksums of rows that become those from `first_row` on."""
    for row in range(len(survivors_S4)):
        survivors_S4[row, SUM] = half_sum(survivors_S4.ctypes.data + 16 * row, 1, first_row + row)
        survivors_S4[row, SKETCH_SUM] = _sketch_sum(sketches_SQ, row, survivors_S4[row, NUMBER])


@leaf
def number_of(survivors_S4, row, damaged_1):
    """The document number of a row."""
    if survivors_S4[row, SUM] != _row_sum(survivors_S4, row):
        damaged_1[0] = row
    return np.int64(survivors_S4[row, NUMBER])


@leaf
def is_sketch_whole(cold, row):
    """Whether a row and its sketch are as they were written."""
    number = number_of(cold.survivors_S4, row, cold.damaged_1)
    if cold.survivors_S4[row, SKETCH_SUM] != _sketch_sum(cold.sketches_SQ, row, number):
        cold.damaged_1[0] = row
    return cold.damaged_1[0] != row


@leaf
def first_row_not_before(survivors_S4, oldest, damaged_1):
    """The first survivor on disk with a document number of at least `oldest`."""
    low, high = 0, len(survivors_S4)
    while low < high:
        middle = (low + high) // 2
        if number_of(survivors_S4, middle, damaged_1) < oldest:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True, boundscheck=False)
def mark_gone(survivors_S4, doc_nos_B, gone_P, damaged_1):
    """Set the bits of the survivors on disk that have these document numbers; how many were not set."""
    num_marked = 0
    for i in range(len(doc_nos_B)):
        row = first_row_not_before(survivors_S4, doc_nos_B[i], damaged_1)
        if row < len(survivors_S4) and number_of(survivors_S4, row, damaged_1) == doc_nos_B[i]:
            bit = np.uint8(1 << (row & 7))
            num_marked += gone_P[row >> 3] & bit == 0
            gone_P[row >> 3] |= bit
    return num_marked
