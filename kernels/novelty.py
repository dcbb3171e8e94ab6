"""Novel documents of a tick in their order: each joins a bounded queue, unless enough of those that wait agree with it.

The loop of curation/topics/novelty.py, up to a document that may found a cluster. Five that agree are common, and
nearly always they agree because they are of one cluster; so those that agree are compared with the cluster of the
document first, which costs one product of vectors, and with the others only where that is not alike.

Shape legend: B documents, C candidates of them, W columns of those that wait and then the candidates, K clusters,
D dimensions, 2 queues (recent ones and outliers).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray


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
def own_cohesion(sum_D, weight):
    """Mean cosine of two of so many vectors with this sum."""
    dimension = len(sum_D)
    square_0, square_1, square_2, square_3 = 0.0, 0.0, 0.0, 0.0
    unrolled = dimension - dimension % 4
    for d in range(0, unrolled, 4):
        square_0 += sum_D[d] * sum_D[d]
        square_1 += sum_D[d + 1] * sum_D[d + 1]
        square_2 += sum_D[d + 2] * sum_D[d + 2]
        square_3 += sum_D[d + 3] * sum_D[d + 3]
    for d in range(unrolled, dimension):
        square_0 += sum_D[d] * sum_D[d]
    return ((square_0 + square_1) + (square_2 + square_3) - weight) / (weight * (weight - 1.0))


@njit(cache=True, nogil=True, boundscheck=False)
def is_alike(sum_D, weight, own, known, slots_4):
    """Whether a cluster of so many vectors with this sum would be merged with one of four at once."""
    k0, k1, k2, k3 = slots_4
    sums_KD = known.sums_KD
    cross_0, cross_1, cross_2, cross_3 = 0.0, 0.0, 0.0, 0.0  # four side by side wait less for each other
    for d in range(len(sum_D)):
        cross_0 += sum_D[d] * sums_KD[k0, d]
        cross_1 += sum_D[d] * sums_KD[k1, d]
        cross_2 += sum_D[d] * sums_KD[k2, d]
        cross_3 += sum_D[d] * sums_KD[k3, d]
    for k, cross in ((k0, cross_0), (k1, cross_1), (k2, cross_2), (k3, cross_3)):
        cross /= max(known.weights_K[k], 1e-9) * weight
        if cross - (known.cohesions_K[k] + own) / 2 >= -known.merge_gap:
            return True
    return False


@njit(cache=True, nogil=True, boundscheck=False)
def is_of_cluster(sum_D, weight, known, slot):
    """Whether a cluster of so many vectors with this sum would be merged at once: `slot` is asked first."""
    own = own_cohesion(sum_D, weight)
    if is_alike(sum_D, weight, own, known, (slot, slot, slot, slot)):
        return True
    last = len(known.weights_K) - 1
    for k in range(0, last + 1, 4):
        if is_alike(sum_D, weight, own, known, (k, min(k + 1, last), min(k + 2, last), min(k + 3, last))):
            return True
    return False


@njit(cache=True, nogil=True, boundscheck=False)
def wait_until_agreed(
    place, candidates_C, agrees_CW, similarities_B, slots_B, thresholds_2, waiting, known, found_documents
):
    """Let candidates wait from `place` on; the place of the first that may found a cluster, C if none may.

    A document that is nearer to a cluster founded in this tick is no candidate any more.
    """
    novel, outlier = thresholds_2
    first = len(waiting.waits_W) - len(candidates_C)
    sum_D = np.empty(waiting.vectors_WD.shape[1])
    while place < len(candidates_C):
        b = candidates_C[place]
        if similarities_B[b] < novel:
            weight = 1
            for w in range(first + place):
                weight += agrees_CW[place, w] & waiting.waits_W[w]
            if weight >= found_documents:
                sum_D[:] = 0.0
                for w in range(first + place + 1):
                    if w == first + place or (agrees_CW[place, w] and waiting.waits_W[w]):
                        for d in range(len(sum_D)):
                            sum_D[d] += waiting.vectors_WD[w, d]
                if not is_of_cluster(sum_D, float(weight), known, slots_B[b]):
                    break
            join(waiting, first + place, 1 if similarities_B[b] < outlier else 0)
        place += 1
    return place
