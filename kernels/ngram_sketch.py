"""N-gram sketch: how often a stream had the 1- to 4-grams of a document, in one byte each.

A cell is the count of all n-grams that are hashed to it, as its logarithm: it grows from v to v + 1 with a probability
of BASE^-v (Morris, "Counting large numbers of events in small registers", 1978), so a byte counts to four billion.
Single tokens and pairs are looked up at every place; threes and fours, of which nearly all are new, at the one place in
four whose two tokens before hash to it: the same places of the same passage in any document.

The nats of a token are those of stupid back-off (Brants et al., "Large language models in machine translation", 2007):
the count of the longest n-gram that was seen over that of its beginning, times 0.4 for each step back. Means over all
places of what pairs say, and over the places of threes of what these say beyond, add up to the mean over all.

A look at a cell is a look into memory, and no cell is known before its hash: so a piece of a document is hashed first,
every cache line of its cells is asked for, and by the time of the last one the first is there.

Cost: 13 ns a token.

Shape legend: B documents, T tokens, P places of a piece, S places of threes, M cells of a document, C cells, X cells
that grew, K steps of a generator.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, uint64
from numpy.typing import NDArray

from kernels.addresses import prefetch

BASE = 1.08
SINGLE_CELLS = 1 << 17
PAIR_SHARE = 4  # one cell in so many of the others is for pairs
SAMPLE_BITS = 2  # threes and fours are looked up at one place in 2 ** SAMPLE_BITS
HALF = 9  # steps of a cell that halve its count
LOG_BACK_OFF = float(np.log(0.4))
# Places whose cells are under way together: their cache lines, 200 KB, have room beside each other near the processor.
PIECE = 1024
# Cells between the one that is asked for and the one that is counted.
AHEAD = 32

_COUNTS_256 = (BASE ** np.arange(256) - 1) / (BASE - 1)
LOG_COUNTS_256 = np.log(np.maximum(_COUNTS_256, 0.5)).astype(np.float32)
# Of 32 bits, below which a cell grows: an empty one always, a full one never.
_GROWTH_256 = (2.0**32 * BASE ** -np.arange(256.0)).astype(np.uint64)
_GROWTH_256[255] = 0


def _leaps(number: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Factor and addend that lead a generator from a state to those behind it, up to `number` of them."""
    leap, step, leaps, steps = 1, 0, [], []
    for _ in range(number):
        leap = leap * 6364136223846793005 % 2**64
        step = (step * 6364136223846793005 + 1442695040888963407) % 2**64
        leaps.append(leap)
        steps.append(step)
    return np.array(leaps, np.uint64), np.array(steps, np.uint64)


_LEAPS_K, _STEPS_K = _leaps(256)


@njit(inline="always")
def _mixed(key):
    """Scramble 64 bits (the finaliser of Murmur3, shortened)."""
    key ^= key >> uint64(32)
    key *= uint64(0xD6E8FEB86659FD93)
    key ^= key >> uint64(32)
    key *= uint64(0xD6E8FEB86659FD93)
    return key ^ (key >> uint64(32))


@njit(inline="always")
def _cell(key, start, size):
    """The place of a key among `size` cells."""
    return start + (((key >> uint64(32)) * size) >> uint64(32))


class _Piece(NamedTuple):
    """Places of a document whose cells are under way together, and what is known of each."""

    hashes_P3: NDArray[np.uint64]  # of the tokens, behind those of the three before
    befores_P: NDArray[np.uint64]  # of the two tokens before
    singles_P: NDArray[np.uint32]  # cells
    pairs_P: NDArray[np.uint32]
    threes_S: NDArray[np.int64]  # places of threes
    pair_nats_P: NDArray[np.float64]


@njit(cache=True, nogil=True, boundscheck=False)
def _hash_tokens(piece, tokens_P):
    """The hashes of the tokens and of the two before each. The three before the first are there."""
    hashes_P, one_P, two_P = piece.hashes_P3[3:], piece.hashes_P3[2:], piece.hashes_P3[1:]
    for p in range(len(tokens_P)):
        hashes_P[p] = _mixed(uint64(tokens_P[p]) + uint64(1))
    for p in range(len(tokens_P)):
        piece.befores_P[p] = _mixed(one_P[p] * uint64(5) + two_P[p] * uint64(7))


@njit(cache=True, nogil=True, boundscheck=False)
def _find_cells(piece, num_places, counts_C, cells_M):
    """The cells of the n-grams that end in each place, whose counts are asked for; how many places of threes there are.

    `cells_M` gets a single and a pair for each place, and four more at places of threes: those of the three and its
    beginning, of the four and its beginning.
    """
    num_cells = uint64(len(counts_C))
    num_pairs = (num_cells - uint64(SINGLE_CELLS)) // uint64(PAIR_SHARE)
    num_longer = num_cells - uint64(SINGLE_CELLS) - num_pairs
    pairs_at = uint64(SINGLE_CELLS)
    longer_at = pairs_at + num_pairs
    hashes_P, one_P = piece.hashes_P3[3:], piece.hashes_P3[2:]
    for p in range(num_places):
        piece.singles_P[p] = _cell(hashes_P[p], uint64(0), uint64(SINGLE_CELLS))
        piece.pairs_P[p] = _cell(_mixed(hashes_P[p] + one_P[p] * uint64(3)), pairs_at, num_pairs)
    num_threes = 0
    for p in range(num_places):
        m = 2 * p + 4 * num_threes
        cells_M[m] = piece.singles_P[p]
        cells_M[m + 1] = piece.pairs_P[p]
        prefetch(counts_C, np.int64(piece.pairs_P[p]))
        piece.threes_S[num_threes] = p
        num_threes += piece.befores_P[p] >> uint64(64 - SAMPLE_BITS) == uint64(0)
    for s in range(num_threes):
        p = piece.threes_S[s]
        token, before = hashes_P[p], piece.befores_P[p]
        beginning = before * uint64(11) + piece.hashes_P3[p] * uint64(13)
        cells_4 = cells_M[2 * (p + 1) + 4 * s :]
        cells_4[0] = _cell(_mixed(before + token), longer_at, num_longer)
        cells_4[1] = _cell(_mixed(before), longer_at, num_longer)
        cells_4[2] = _cell(_mixed(beginning + token), longer_at, num_longer)
        cells_4[3] = _cell(_mixed(beginning), longer_at, num_longer)
        for i in range(4):
            prefetch(counts_C, np.int64(cells_4[i]))
    return num_threes


@njit(inline="always")
def _log_share(part, whole):
    """The log of a count over another, which is no more than 1 but for chance."""
    return np.float64(min(LOG_COUNTS_256[part] - LOG_COUNTS_256[whole], np.float32(0.0)))


@njit(cache=True, nogil=True, boundscheck=False)
def _measure(piece, num_places, num_threes, cells_M, counts_C, log_total, nats_4):
    """Add to `nats_4` what single tokens say of the places, what pairs say, and what longer ones say beyond these.

    The fourth is the log count of the token before.
    """
    singles, pairs, longer, log_before = nats_4
    for p in range(num_places):
        log_single = np.float64(LOG_COUNTS_256[counts_C[piece.singles_P[p]]])
        count = counts_C[piece.pairs_P[p]]
        by_single = log_single - log_total
        seen = min(np.float64(LOG_COUNTS_256[count]) - log_before, 0.0)
        by_pair = (seen if count else by_single + LOG_BACK_OFF) + 2 * LOG_BACK_OFF
        singles += by_single
        pairs += by_pair
        piece.pair_nats_P[p] = by_pair
        log_before = log_single
    for s in range(num_threes):
        p = piece.threes_S[s]
        cells_4 = cells_M[2 * (p + 1) + 4 * s :]
        three, two = counts_C[cells_4[0]], counts_C[cells_4[1]]
        four, begun = counts_C[cells_4[2]], counts_C[cells_4[3]]
        by_pair = piece.pair_nats_P[p]
        by_three = _log_share(three, two) + LOG_BACK_OFF if three and two else by_pair
        longer += (_log_share(four, begun) if four and begun else by_three) - by_pair
    nats_4[:] = singles, pairs, longer, log_before


@njit(cache=True, nogil=True, boundscheck=False)
def _draw(seed, draws_M):
    """Numbers of 32 bits from a seed: the upper halves of a linear congruential generator's (Knuth's MMIX)."""
    for first in range(0, len(draws_M), len(_LEAPS_K)):
        draws_K = draws_M[first : first + len(_LEAPS_K)]
        for k in range(len(draws_K)):
            draws_K[k] = (_LEAPS_K[k] * seed + _STEPS_K[k]) >> uint64(32)
        seed = _LEAPS_K[-1] * seed + _STEPS_K[-1]


@njit(cache=True, nogil=True, boundscheck=False)
def _count(cells_M, num_cells, draws_M, counts_C, grown_X):
    """Let cells grow by chance, a draw for each that is not empty; how many grew, and how many were empty.

    Cells are asked for up to `cells_M[num_cells + AHEAD - 1]`, wherever that leads. There is no branch that cannot be
    foreseen: a cell that does not grow is written as it was, and what grows next takes its place in `grown_X`.
    """
    num_grown, num_drawn = uint64(0), uint64(0)
    for m in range(num_cells):
        prefetch(counts_C, np.int64(cells_M[m + AHEAD]))
        cell = cells_M[m]
        count = counts_C[cell]
        grows = uint64(uint64(draws_M[num_drawn]) < _GROWTH_256[count])
        num_drawn += uint64(count != 0)
        counts_C[cell] = count + grows
        grown_X[num_grown] = cell
        num_grown += grows
    return np.int64(num_grown), num_cells - np.int64(num_drawn)


@njit(cache=True, nogil=True, boundscheck=False)
def measure_and_count(tokens_T, bounds_B1, seeds_B, counts_C, totals_2, nats_B2, grown_X):
    """Measure each document by the counts of those before it, then count it, too; how many cells grew.

    `totals_2` are the tokens that were counted, and the cells that are not 0. `nats_B2` gets the mean nats a token by
    the longest n-grams and by single tokens, NaN for a document without tokens; `grown_X`, of 6 a token and one more,
    the cells that grew, each as often as it did.
    """
    longest = 0
    for b in range(len(bounds_B1) - 1):
        longest = max(longest, bounds_B1[b + 1] - bounds_B1[b])
    cells_M, draws_M = np.empty(6 * longest + AHEAD, np.uint32), np.empty(6 * longest, np.uint32)
    piece = _Piece(
        np.empty(PIECE + 3, np.uint64),
        np.empty(PIECE, np.uint64),
        np.empty(PIECE, np.uint32),
        np.empty(PIECE, np.uint32),
        np.empty(PIECE, np.int64),
        np.empty(PIECE),
    )
    nats_4 = np.empty(4)
    num_grown = 0
    for b in range(len(bounds_B1) - 1):
        nats_B2[b] = np.nan
        num_tokens = bounds_B1[b + 1] - bounds_B1[b]
        if num_tokens == 0:
            continue
        log_total = np.log(totals_2[0] + 1.0)
        nats_4[:] = 0.0, 0.0, 0.0, log_total  # the first token follows on any
        piece.hashes_P3[:3] = 0
        num_cells, num_longer = 0, 0
        for first in range(bounds_B1[b], bounds_B1[b + 1], PIECE):
            tokens_P = tokens_T[first : min(first + PIECE, bounds_B1[b + 1])]
            _hash_tokens(piece, tokens_P)
            num_threes = _find_cells(piece, len(tokens_P), counts_C, cells_M[num_cells:])
            _measure(piece, len(tokens_P), num_threes, cells_M[num_cells:], counts_C, log_total, nats_4)
            num_cells += 2 * len(tokens_P) + 4 * num_threes
            num_longer += num_threes
            piece.hashes_P3[:3] = piece.hashes_P3[len(tokens_P) : len(tokens_P) + 3]
        nats_B2[b] = -(nats_4[1] / num_tokens + nats_4[2] / max(num_longer, 1)), -nats_4[0] / num_tokens
        _draw(seeds_B[b], draws_M[:num_cells])
        grown, found_empty = _count(cells_M, num_cells, draws_M, counts_C, grown_X[num_grown:])
        num_grown += grown
        totals_2[0] += num_tokens
        totals_2[1] += found_empty
    return num_grown


@njit(cache=True, nogil=True, boundscheck=False)
def grow(counts_C, grown_X):
    """Let cells grow as they did, one by one."""
    for x in range(len(grown_X)):
        counts_C[grown_X[x]] += 1


@njit(cache=True, nogil=True, boundscheck=False)
def halve(counts_C):
    """Halve all counts; how many are not 0 then. Those of 1 are forgotten."""
    num_left = 0
    for c in range(len(counts_C)):
        counts_C[c] = max(int(counts_C[c]) - HALF, 0)
        num_left += counts_C[c] != 0
    return num_left
