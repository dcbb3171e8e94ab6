"""Passages that were seen: two Bloom filters in turn, and what they say of documents in their order.

A fingerprint sets 7 bits of one block of 512, a cache line (F. Putze, P. Sanders, J. Singler, "Cache-, Hash- and
Space-Efficient Bloom Filters", 2007); the upper half of its hash names the block, the lower half the bits. The filter
in use takes fingerprints until it holds `capacity` of them; then the one before it is emptied and comes in its place,
between two documents. A fingerprint is *seen* if either filter has it; one that only the older has is taken again, so
what keeps coming is not forgotten. With 32 bits a fingerprint in a full filter, 2 in 100,000 that never came are taken
for seen, by both filters 4 in 100,000.

A Bloom filter forgets nothing. Fingerprints of documents that were taken back are *lifted*: they count as new until a
document brings them again.

Shape legend: B documents, F fingerprints of all of them, W words of a filter, L lifted fingerprints.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit, uint64

from kernels.addresses import prefetch

BLOCK_WORDS: Final = 8
BITS_A_FINGERPRINT: Final = 32
PROBES: Final = 7
AHEAD: Final = 16  # fingerprints, of which the blocks are asked for
SPREAD = np.uint64(0x9E3779B97F4A7C15)
NOT_TAKEN, TAKEN_AGAIN, BROUGHT = range(3)  # what became of a fingerprint


@njit(cache=True, nogil=True, boundscheck=False)
def capacity_of(num_words):
    """Fingerprints that a filter of so many words holds."""
    return 64 * num_words // BITS_A_FINGERPRINT


@njit(cache=True, nogil=True, boundscheck=False)
def block_of(filter_W, h):
    """The first word of the block of a fingerprint."""
    return np.int64(((h >> uint64(32)) * uint64(len(filter_W) // BLOCK_WORDS)) >> uint64(32)) * BLOCK_WORDS


@njit(cache=True, nogil=True, boundscheck=False)
def has(filter_W, h):
    """Whether a filter has a fingerprint."""
    first, bits = block_of(filter_W, h), (h & uint64(0xFFFFFFFF)) * SPREAD
    for _ in range(PROBES):
        word = filter_W[first + np.int64((bits >> uint64(6)) & uint64(7))]
        if (word >> (bits & uint64(63))) & uint64(1) == uint64(0):
            return False
        bits >>= uint64(9)
    return True


@njit(cache=True, nogil=True, boundscheck=False)
def take(filter_W, h):
    """Put a fingerprint into a filter."""
    first, bits = block_of(filter_W, h), (h & uint64(0xFFFFFFFF)) * SPREAD
    for _ in range(PROBES):
        filter_W[first + np.int64((bits >> uint64(6)) & uint64(7))] |= uint64(1) << (bits & uint64(63))
        bits >>= uint64(9)


@njit(cache=True, nogil=True, boundscheck=False)
def turn(filters_2W, counts_2, num_taken):
    """Count fingerprints into the filter in use; begin the next where it is full. counts_2: turns, held by it."""
    counts_2[1] += num_taken
    if counts_2[1] >= capacity_of(filters_2W.shape[1]):
        counts_2[0] += 1
        counts_2[1] = 0
        filters_2W[counts_2[0] & 1, :] = uint64(0)


@njit(cache=True, nogil=True, boundscheck=False)
def judge_documents(
    hashes_F,
    firsts_F,
    bounds_B1,
    num_words_B,
    gram_words,
    limits_B,
    filters_2W,
    counts_2,
    lifted_L,
    is_lifted_L,
    seen_F,
    fates_F,
    shares_B,
):
    """Judge documents in their order, and take the fingerprints of those that are not above their limit.

    Fills `seen_F`, `fates_F` (NOT_TAKEN, ...) and `shares_B`, the share of the words in grams that were seen.
    `lifted_L` is sorted; `is_lifted_L` is cleared where a document brings one again.
    """
    for b in range(len(num_words_B)):
        current_W, earlier_W = filters_2W[counts_2[0] & 1], filters_2W[1 - counts_2[0] & 1]
        first, end, covered, covered_to = bounds_B1[b], bounds_B1[b + 1], 0, 0
        for f in range(first, end):
            h = hashes_F[f]
            if f + AHEAD < len(hashes_F):
                prefetch(current_W, block_of(current_W, hashes_F[f + AHEAD]))
                prefetch(earlier_W, block_of(earlier_W, hashes_F[f + AHEAD]))
            fates_F[f] = NOT_TAKEN if has(current_W, h) else TAKEN_AGAIN
            seen_F[f] = fates_F[f] == NOT_TAKEN or has(earlier_W, h)
            if seen_F[f] and len(lifted_L):
                place = np.searchsorted(lifted_L, h)
                seen_F[f] = not (place < len(lifted_L) and lifted_L[place] == h and is_lifted_L[place])
            if seen_F[f]:
                gram_end = min(np.int64(firsts_F[f]) + gram_words, np.int64(num_words_B[b]))
                covered += gram_end - max(np.int64(firsts_F[f]), covered_to)
                covered_to = gram_end
            else:
                fates_F[f] = BROUGHT
        shares_B[b] = covered / max(num_words_B[b], 1)
        if shares_B[b] > limits_B[b]:
            fates_F[first:end] = NOT_TAKEN
            continue
        num_taken = 0
        for f in range(first, end):
            if fates_F[f] == BROUGHT and len(lifted_L):
                place = np.searchsorted(lifted_L, hashes_F[f])
                if place < len(lifted_L) and lifted_L[place] == hashes_F[f]:
                    is_lifted_L[place] = False
            if fates_F[f] != NOT_TAKEN:
                take(current_W, hashes_F[f])
                num_taken += 1
        turn(filters_2W, counts_2, num_taken)


@njit(cache=True, nogil=True, boundscheck=False)
def take_rows(hashes_F, counts_B, filters_2W, newest, counts_2):
    """Take again what documents took before, by turns: `counts_2` as it was then, `newest` the turn of the end."""
    f = 0
    for b in range(len(counts_B)):
        filter_W = filters_2W[counts_2[0] & 1]
        for at in range(f, f + counts_B[b]):
            if counts_2[0] >= newest - 1:
                take(filter_W, hashes_F[at])
        f += counts_B[b]
        counts_2[1] += counts_B[b]
        if counts_2[1] >= capacity_of(filters_2W.shape[1]):
            counts_2[0] += 1
            counts_2[1] = 0
