"""N-gram sketch: how often a stream had the 1- to 4-grams of a document, in one byte each.

A cell is the count of all n-grams that are hashed to it, as its logarithm: it grows from v to v + 1 with a probability
of BASE^-v (Morris, "Counting large numbers of events in small registers", 1978), so a byte counts to four billion.
Single tokens and pairs are looked up at every place; threes and fours, of which nearly all are new, at the one place in
four whose two tokens before hash to it: the same places of the same passage in any document.

The nats of a token are those of stupid back-off (Brants et al., "Large language models in machine translation", 2007):
the count of the longest n-gram that was seen over that of its beginning, times 0.4 for each step back. Means over all
places of what pairs say, and over the places of threes of what these say beyond, add up to the mean over all.

Cost: 30 ns a token.

Shape legend: B documents, T tokens, C cells, X cells that grew.
"""

import numpy as np
from numba import njit, uint32, uint64

BASE = 1.08
SINGLE_CELLS = 1 << 17
PAIR_SHARE = 4  # one cell in so many of the others is for pairs
SAMPLE_BITS = 2  # threes and fours are looked up at one place in 2 ** SAMPLE_BITS
HALF = 9  # steps of a cell that halve its count
LOG_BACK_OFF = float(np.log(0.4))

_COUNTS_256 = (BASE ** np.arange(256) - 1) / (BASE - 1)
LOG_COUNTS_256 = np.log(np.maximum(_COUNTS_256, 0.5)).astype(np.float32)
# Of 32 bits of a hash, below which a cell grows.
_GROWTH_256 = np.minimum(2.0**32 * BASE ** -np.arange(256.0), 2.0**32 - 1).astype(np.uint32)


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


@njit(cache=True, nogil=True, boundscheck=False)
def _find_cells(tokens_T, first, last, num_cells, cells_M):
    """The cells of the n-grams that end in each token: a single and a pair, and four more at places of threes.

    These are those of the three and its beginning, of the four and its beginning; 0 ends the places of a token without.
    Returns how many were written.
    """
    num_pairs = (num_cells - uint64(SINGLE_CELLS)) // uint64(PAIR_SHARE)
    num_longer = num_cells - uint64(SINGLE_CELLS) - num_pairs
    pairs_at = uint64(SINGLE_CELLS)
    longer_at = pairs_at + num_pairs
    one, two, three = uint64(0), uint64(0), uint64(0)  # tokens before, the last one first
    m = 0
    for t in range(first, last):
        token = _mixed(uint64(tokens_T[t]) + uint64(1))
        cells_M[m] = _cell(token, uint64(0), uint64(SINGLE_CELLS))
        cells_M[m + 1] = _cell(_mixed(token + one * uint64(3)), pairs_at, num_pairs)
        before = _mixed(one * uint64(5) + two * uint64(7))
        m += 2
        if before >> uint64(64 - SAMPLE_BITS) == uint64(0):
            beginning = before * uint64(11) + three * uint64(13)
            cells_M[m] = _cell(_mixed(before + token), longer_at, num_longer)
            cells_M[m + 1] = _cell(_mixed(before), longer_at, num_longer)
            cells_M[m + 2] = _cell(_mixed(beginning + token), longer_at, num_longer)
            cells_M[m + 3] = _cell(_mixed(beginning), longer_at, num_longer)
            m += 4
        one, two, three = token, one, two
    return m


@njit(inline="always")
def _log_share(part, whole):
    """The log of a count over another, which is no more than 1 but for chance; NaN if either is 0."""
    if part == 0 or whole == 0:
        return np.nan
    return min(LOG_COUNTS_256[part] - LOG_COUNTS_256[whole], np.float32(0.0))


@njit(cache=True, nogil=True, boundscheck=False)
def _measure(cells_M, counts_M, num_found, log_total):
    """Mean nats a token by the longest n-grams, and by single tokens."""
    singles = pairs = longer = 0.0
    num_tokens = num_longer = 0
    log_before = log_total  # the first token follows on any
    m = 0
    while m < num_found:
        log_single = np.float64(LOG_COUNTS_256[counts_M[m]])
        by_single = log_single - log_total
        by_pair = by_single + LOG_BACK_OFF
        if counts_M[m + 1]:
            by_pair = min(np.float64(LOG_COUNTS_256[counts_M[m + 1]]) - log_before, 0.0)
        by_pair += 2 * LOG_BACK_OFF
        singles += by_single
        pairs += by_pair
        num_tokens += 1
        log_before = log_single
        m += 2
        if m < num_found and cells_M[m] >= SINGLE_CELLS:
            by_longer = _log_share(counts_M[m + 2], counts_M[m + 3])
            if np.isnan(by_longer):
                by_longer = _log_share(counts_M[m], counts_M[m + 1]) + LOG_BACK_OFF
            if np.isnan(by_longer):
                by_longer = by_pair
            longer += by_longer - by_pair
            num_longer += 1
            m += 4
    mean = pairs / num_tokens
    if num_longer:
        mean += longer / num_longer
    return -mean, -singles / num_tokens


@njit(cache=True, nogil=True, boundscheck=False)
def measure_and_count(tokens_T, bounds_B1, seeds_B, counts_C, totals_2, nats_B2, grown_X):
    """Measure each document by the counts of those before it, then count it, too; how many cells grew.

    `totals_2` are the tokens that were counted, and the cells that are not 0. `nats_B2` gets the mean nats a token by
    the longest n-grams and by single tokens, NaN for a document without tokens; `grown_X` the cells that grew, each as
    often as it did: at most 6 a token.
    """
    longest = 0
    for b in range(len(bounds_B1) - 1):
        longest = max(longest, bounds_B1[b + 1] - bounds_B1[b])
    cells_M = np.empty(6 * longest + 6, np.uint32)
    counts_M = np.empty(6 * longest + 6, np.uint8)
    num_grown = 0
    for b in range(len(bounds_B1) - 1):
        nats_B2[b] = np.nan
        if bounds_B1[b + 1] == bounds_B1[b]:
            continue
        num_found = _find_cells(tokens_T, bounds_B1[b], bounds_B1[b + 1], uint64(len(counts_C)), cells_M)
        for m in range(num_found):
            counts_M[m] = counts_C[cells_M[m]]
        nats_B2[b] = _measure(cells_M, counts_M, num_found, np.log(totals_2[0] + 1.0))
        draw = seeds_B[b]
        for m in range(num_found):
            count = counts_C[cells_M[m]]
            if count:
                draw = draw * uint64(6364136223846793005) + uint64(1442695040888963407)
                if uint32(draw >> uint64(32)) >= _GROWTH_256[count] or count == 255:
                    continue
            else:
                totals_2[1] += 1
            counts_C[cells_M[m]] = count + 1
            grown_X[num_grown] = cells_M[m]
            num_grown += 1
        totals_2[0] += bounds_B1[b + 1] - bounds_B1[b]
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
