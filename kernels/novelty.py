"""Novel documents of a tick in their order: each joins a bounded queue, unless enough of those that wait agree with it.

The loop of curation/topics/novelty.py, up to a document that may found a cluster. Five that agree are common, and
nearly always they agree because they are of one cluster; so those that agree are compared with the cluster of the
document first, which costs one product of vectors, and with the others only where that is not alike. Those that are
alike to none found a cluster, if it saves enough squared error.

Shape legend: B documents, C candidates of them, W columns of those that wait and then the candidates, K clusters,
D dimensions, 2 queues (recent ones and outliers).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.products import dot


class Waiting(NamedTuple):
    """Those that wait: outliers, then recent ones, each oldest first; then the candidates of the tick."""

    vectors_WD: NDArray[np.float32]
    waits_W: NDArray[np.bool_]
    queues_W: NDArray[np.uint8]
    oldest_2: NDArray[np.int64]  # no column before it waits in the queue
    counts_2: NDArray[np.int64]
    limits_2: NDArray[np.int64]


class Known(NamedTuple):
    """The clusters as they are."""

    weights_K: NDArray[np.float64]
    sums_KD: NDArray[np.float64]
    cohesions_K: NDArray[np.float64]
    merge_gap: float
    least_saved: float  # squared error that one more cluster must save at least


@njit(cache=True, nogil=True, boundscheck=False)
def join(waiting, column, queue):
    """One more waits; the oldest of a full queue leaves it."""
    waiting.waits_W[column] = True
    waiting.queues_W[column] = queue
    waiting.counts_2[queue] += 1
    if waiting.counts_2[queue] > waiting.limits_2[queue]:
        oldest = waiting.oldest_2[queue]
        while not (waiting.waits_W[oldest] and waiting.queues_W[oldest] == queue):
            oldest += 1
        waiting.waits_W[oldest] = False
        waiting.counts_2[queue] -= 1
        waiting.oldest_2[queue] = oldest + 1


@njit(cache=True, nogil=True, boundscheck=False)
def cross_cosines(sum_D, weight, known, slots_4):
    """Mean cosine of one of so many vectors with this sum and a member of each of four clusters."""
    k0, k1, k2, k3 = slots_4
    sums_KD, weights_K = known.sums_KD, known.weights_K
    cross_0, cross_1, cross_2, cross_3 = 0.0, 0.0, 0.0, 0.0  # four side by side wait less for each other
    for d in range(len(sum_D)):
        cross_0 += sum_D[d] * sums_KD[k0, d]
        cross_1 += sum_D[d] * sums_KD[k1, d]
        cross_2 += sum_D[d] * sums_KD[k2, d]
        cross_3 += sum_D[d] * sums_KD[k3, d]
    return (
        cross_0 / (max(weights_K[k0], 1e-9) * weight),
        cross_1 / (max(weights_K[k1], 1e-9) * weight),
        cross_2 / (max(weights_K[k2], 1e-9) * weight),
        cross_3 / (max(weights_K[k3], 1e-9) * weight),
    )


@njit(cache=True, nogil=True, boundscheck=False)
def nearest_unlike(sum_D, weight, known, slot):
    """The nearest cluster; -1 if so many vectors with this sum would be merged at once: `slot` is asked first."""
    own = (dot(sum_D, sum_D) - weight) / (weight * (weight - 1.0))
    last = len(known.weights_K) - 1
    nearest, highest = np.int64(slot), -np.inf
    for first in range(-4, last + 1, 4):
        if first < 0:
            slots_4 = (slot, slot, slot, slot)
        else:
            slots_4 = (first, min(first + 1, last), min(first + 2, last), min(first + 3, last))
        crosses_4 = cross_cosines(sum_D, weight, known, slots_4)
        for i in range(4):
            if crosses_4[i] - (known.cohesions_K[slots_4[i]] + own) / 2 >= -known.merge_gap:
                return np.int64(-1)
            if first >= 0 and crosses_4[i] > highest:
                nearest, highest = np.int64(slots_4[i]), crosses_4[i]
    return nearest


@njit(cache=True, nogil=True, boundscheck=False)
def saved_error(sum_D, weight, known, nearest):
    """By how much the squared error falls if so many vectors with this sum leave the nearest cluster (Ward)."""
    other = max(known.weights_K[nearest], 1e-9)
    difference_D = np.empty(len(sum_D))
    for d in range(len(sum_D)):
        difference_D[d] = sum_D[d] / weight - known.sums_KD[nearest, d] / other
    return weight * other / (weight + other) * dot(difference_D, difference_D)


@njit(cache=True, nogil=True, boundscheck=False)
def wait_until_agreed(
    place, candidates_C, agrees_CW, similarities_B, slots_B, thresholds_2, waiting, known, found_documents
):
    """Let candidates wait from `place` on: the first that founds a cluster, and its nearest; (C, -1) if none does.

    A document that is nearer to a cluster founded in this tick is no candidate any more.
    """
    novel, outlier = thresholds_2
    first = len(waiting.waits_W) - len(candidates_C)
    sum_D = np.empty(waiting.vectors_WD.shape[1])
    while place < len(candidates_C):
        b = candidates_C[place]
        if similarities_B[b] < novel:
            count = 1
            for w in range(first + place):
                count += agrees_CW[place, w] & waiting.waits_W[w]
            if count >= found_documents:
                sum_D[:] = 0.0
                for w in range(first + place + 1):
                    if w == first + place or (agrees_CW[place, w] and waiting.waits_W[w]):
                        for d in range(len(sum_D)):
                            sum_D[d] += waiting.vectors_WD[w, d]
                weight = float(count)
                nearest = nearest_unlike(sum_D, weight, known, slots_B[b])
                if nearest >= 0 and not saved_error(sum_D, weight, known, nearest) < known.least_saved:
                    return place, nearest
            join(waiting, first + place, 1 if similarities_B[b] < outlier else 0)
        place += 1
    return place, np.int64(-1)
