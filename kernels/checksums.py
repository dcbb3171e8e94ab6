"""Checksums of files that are read here and there: a sum of words, each with its upper half mixed into its lower one,
times an odd number of its place.

A word that changes always changes the sum of 64 bits, for each step can be undone; of several words that change, one
case in some 2^40 is missed. What the system lost and gives as zeros has another sum than it was written with.

A file is cut in *blocks* of 4 KiB. A byte a block remembers what was found, so a block is summed when it is first read:
0.2 us beside the 4 KiB that come from the disk for it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit, uint64

from kernels.addresses import load_8, load_64, store_8

BLOCK_WORDS: Final = 512
BLOCK_BYTES: Final = 8 * BLOCK_WORDS
SEED: Final = 0x243F6A8885A308D3
FACTOR: Final = 0x9E3779B97F4A7C15
UNSEEN, WHOLE, DAMAGED = range(3)

leaf = njit(cache=True, nogil=True, boundscheck=False, _nrt=False)


@leaf
def sum_words(address, num_words, start):
    """The sum of so many words from an address on, and `start`."""
    total = uint64(SEED) + uint64(start)
    for i in range(num_words):
        word = load_64(address + 8 * i)
        total += (word ^ (word >> uint64(32))) * ((uint64(i + 1) * uint64(FACTOR)) | uint64(1))
    return total


@leaf
def sum_of_block(address, block, num_words):
    """The sum of a block of a file of so many words."""
    first = block * BLOCK_WORDS
    return sum_words(address + 8 * first, min(BLOCK_WORDS, num_words - first), 0)


@njit(cache=True, nogil=True, boundscheck=False)
def sum_blocks(address, num_words, sums_K):
    """The sums of all blocks."""
    for block in range(len(sums_K)):
        sums_K[block] = sum_of_block(address, block, num_words)


@njit(cache=True, nogil=True, boundscheck=False)
def first_damaged(address, num_words, sums_K):
    """The first block that has another sum than these, of the first ones of a file; -1 if none has."""
    for block in range(len(sums_K)):
        if sums_K[block] != sum_of_block(address, block, num_words):
            return block
    return -1


@leaf
def is_block_whole(address, block, num_words, sums, seen):
    """Whether a block is as it was written, which is found out once; `sums` and `seen` are addresses.

    A damaged one is noted in the byte behind those of the blocks, too.
    """
    if load_8(seen + block) == WHOLE:
        return True
    if load_64(sums + 8 * block) == sum_of_block(address, block, num_words):
        store_8(seen + block, np.uint8(WHOLE))
        return True
    store_8(seen + block, np.uint8(DAMAGED))
    store_8(seen + -(-num_words // BLOCK_WORDS), np.uint8(DAMAGED))
    return False


@leaf
def half_sum(address, num_words, start):
    """The upper half of the sum: of short rows, each of which has its own."""
    return np.uint32(sum_words(address, num_words, start) >> uint64(32))
