"""Sorted rows of words, too many for memory, and a directory that tells where a row stands, or that it is not there.

Rows of 64-bit words are sorted by all their words. The upper bits of the first word, its *value*, are cut in two. The
first part names a *cell*; there are so many that each has 8 to 16 rows, and an array has the number of the first row of
each. The second part of every row, the *rest*, is kept, packed to its bits. So a value is looked for in the rests of a
cell: two cache lines, which may be asked for ahead. Of a value of 32 bits nothing is lost: the directory is a set as
small as a Bloom filter, without its errors. Of longer values REST_BITS beyond the cell are kept, and one in some
hundred that are not there is looked for in the rows.

Rows may stand on *shelves*: those of one shelf are sorted, and shelves follow each other. The number of a row's shelf
is part of its value, above the bits of its word, though not written in it.

A run of rows is a row of an array: addresses, which one kernel can follow into any number of files. Rows are read when
the block that they are in was found whole (`kernels.checksums`); a damaged one has no rows, and its run says so.

Cost: 20 to 40 ns a value that is looked for, 5 to 10 ns a row that is merged. Memory: 8 to 14 bits a row.

Like the code of P. Elias (Efficient storage and retrieval by content and address of static files, 1974), with whole
numbers in place of bits to count.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit, uint32, uint64

from kernels.addresses import load_32, load_64, prefetch_address
from kernels.checksums import BLOCK_BYTES, is_block_whole

ROWS_A_CELL: Final = 8  # at least, but for the smallest runs
REST_BITS: Final = 12  # of values that are not kept whole

# Columns of a run. From FILE on, WORDS of 64 bits are in blocks with checksums.
CELL_BITS, REST, CELLS, RESTS, ROWS, FILE, WORDS, SUMS, SEEN, NUM_COLUMNS = range(10)

leaf = njit(cache=True, nogil=True, boundscheck=False, _nrt=False)


def cell_bits(num_rows: int) -> int:
    """Bits of a value that name a cell."""
    return max(1, (num_rows // ROWS_A_CELL).bit_length() - 1)


@leaf
def _cell_address(runs_RC, run, word):
    return runs_RC[run, CELLS] + 4 * np.int64(uint64(word) >> uint64(64 - runs_RC[run, CELL_BITS]))


@leaf
def prefetch_cell(runs_RC, run, word):
    """The first of three steps: ask for the cell of a word."""
    prefetch_address(_cell_address(runs_RC, run, word))


@leaf
def prefetch_rests(runs_RC, run, word):
    """The second: ask for the rests in its cell."""
    first = np.int64(load_32(_cell_address(runs_RC, run, word)))
    prefetch_address(runs_RC[run, RESTS] + 8 * ((first * runs_RC[run, REST]) >> 6))


@leaf
def find_rows(runs_RC, run, word):
    """The third: rows [first, end) that have the value of a word."""
    address = _cell_address(runs_RC, run, word)
    begin, end = np.int64(load_32(address)), np.int64(load_32(address + 4))
    bits = runs_RC[run, REST]
    mask = (uint64(1) << uint64(bits)) - uint64(1)
    wanted = (uint64(word) >> uint64(64 - runs_RC[run, CELL_BITS] - bits)) & mask
    rests = runs_RC[run, RESTS]
    place = begin * bits
    num_lower = 0
    num_equal = 0
    for _ in range(begin, end):
        shift = place & 63
        at = rests + 8 * (place >> 6)
        rest = load_64(at) >> uint64(shift)
        if shift + bits > 64:
            rest |= load_64(at + 8) << uint64(64 - shift)
        rest &= mask
        if rest > wanted:
            break
        num_lower += rest < wanted
        num_equal += rest == wanted
        place += bits
    return begin + num_lower, begin + num_lower + num_equal


@leaf
def are_whole(runs_RC, run, address, num_bytes):
    """Whether bytes of a run are as they were written."""
    first = (address - runs_RC[run, FILE]) // BLOCK_BYTES
    last = (address + num_bytes - 1 - runs_RC[run, FILE]) // BLOCK_BYTES
    whole = True
    for block in range(first, last + 1):
        whole &= is_block_whole(runs_RC[run, FILE], block, runs_RC[run, WORDS], runs_RC[run, SUMS], runs_RC[run, SEEN])
    return whole


@leaf
def shelved(word, shelf, shelf_bits):
    """The value of a word on a shelf, in the upper bits."""
    if shelf_bits == 0:
        return uint64(word)
    return uint64(shelf) << uint64(64 - shelf_bits) | uint64(word) >> uint64(shelf_bits)


@njit(cache=True, nogil=True, boundscheck=False)
def fill_directory(rows_NW, bounds_H, shelf_bits, num_cell_bits, num_rest_bits, cells_C, rests_P):
    """Write the directory of sorted rows; `rests_P` is 0 before, and has a word more than the rests fill.

    bounds_H has the first row of each of the 2 ** shelf_bits shelves, and the end.
    """
    mask = (uint64(1) << uint64(num_rest_bits)) - uint64(1)
    num_begun = 0  # cells whose first row is known
    place = 0
    shelf = 0
    for row in range(len(rows_NW)):
        while row >= bounds_H[shelf + 1]:
            shelf += 1
        word = shelved(rows_NW[row, 0], shelf, shelf_bits)
        cell = np.int64(word >> uint64(64 - num_cell_bits))
        while num_begun <= cell:
            cells_C[num_begun] = uint32(row)
            num_begun += 1
        rest = (word >> uint64(64 - num_cell_bits - num_rest_bits)) & mask
        at, shift = place >> 6, place & 63
        rests_P[at] |= rest << uint64(shift)
        if shift + num_rest_bits > 64:
            rests_P[at + 1] |= rest >> uint64(64 - shift)
        place += num_rest_bits
    while num_begun < len(cells_C):
        cells_C[num_begun] = uint32(len(rows_NW))
        num_begun += 1


@leaf
def is_set(bits_P, number):
    """Whether the bit of a number is set; those beyond the end are not."""
    at = number >> 3
    return at < len(bits_P) and (bits_P[at] >> (number & 7)) & 1 != 0


@leaf
def _is_before(a_NW, i, b_NW, j):
    for word in range(a_NW.shape[1]):
        if a_NW[i, word] != b_NW[j, word]:
            return a_NW[i, word] < b_NW[j, word]
    return False


@njit(cache=True, nogil=True, boundscheck=False)
def merge(a_NW, b_NW, places_2, oldest, gone_P, merged_NW):
    """Go on merging two shelves from `places_2`, to the end or until `merged_NW` is full; how many rows it has.

    Rows are left out whose number, the lower half of their last word, is below `oldest`, or gone.
    """
    last = a_NW.shape[1] - 1
    i, j, kept = places_2[0], places_2[1], 0
    while kept < len(merged_NW) and (i < len(a_NW) or j < len(b_NW)):
        if last == 0 and i < len(a_NW) and j < len(b_NW):
            # Without a branch on which is next, for that cannot be foreseen.
            a, b = a_NW[i, 0], b_NW[j, 0]
            from_a = a < b
            merged_NW[kept, 0] = min(a, b)
        else:
            from_a = j == len(b_NW) or (i < len(a_NW) and _is_before(a_NW, i, b_NW, j))
            for word in range(last + 1):
                merged_NW[kept, word] = a_NW[i, word] if from_a else b_NW[j, word]
        i += from_a
        j += not from_a
        number = np.int64(merged_NW[kept, last] & uint64(0xFFFFFFFF))
        kept += number >= oldest and not is_set(gone_P, number)
    places_2[0], places_2[1] = i, j
    return kept


WITHHELD: Final = 32  # the bit of a number that is found by people only


@njit(cache=True, nogil=True, boundscheck=False)
def find_newest(runs_RC, keys_B2, wanted_B, gone_P, oldest_B, found_B):
    """found_B[i] = the highest number under keys_B2[i] in any run that is neither gone nor below oldest_B[i], or -1.

    Rows are [first half of the key, second half, number]; a later run has higher numbers.
    """
    num_runs = len(runs_RC)
    for ahead in range(len(keys_B2) + 2):
        if ahead < len(keys_B2):
            for run in range(num_runs):
                prefetch_cell(runs_RC, run, keys_B2[ahead, 0])
        if 0 < ahead <= len(keys_B2):
            for run in range(num_runs):
                prefetch_rests(runs_RC, run, keys_B2[ahead - 1, 0])
        i = ahead - 2
        if i < 0:
            continue
        found_B[i] = -1
        if not wanted_B[i]:
            continue
        for run in range(num_runs - 1, -1, -1):
            first, end = find_rows(runs_RC, run, keys_B2[i, 0])
            if end > first and not are_whole(runs_RC, run, runs_RC[run, ROWS] + 24 * first, 24 * (end - first)):
                continue
            for row in range(end - 1, first - 1, -1):
                at = runs_RC[run, ROWS] + 24 * row
                if load_64(at) != keys_B2[i, 0] or load_64(at + 8) != keys_B2[i, 1]:
                    continue
                number = np.int64(load_64(at + 16))
                if number >= oldest_B[i] and number < (1 << WITHHELD) and not is_set(gone_P, number):
                    found_B[i] = number
                    break
            if found_B[i] >= 0:
                break
