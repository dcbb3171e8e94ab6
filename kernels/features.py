"""Clustering features on unit vectors: (number of members, sum of members), of a cluster and of its two halves.

Adding a member costs three passes over D float64: into the cluster's sum, and two dot products that say which half is
nearer (the mean of the half, scaled to length 1), then into that half's sum. ~1 us a document of 384 dimensions.
Members are added one after the other in the order given, so the sums do not depend on how ticks are scheduled.
"""

import numpy as np
from numba import njit

from kernels.products import dot


@njit(cache=True, nogil=True, boundscheck=False)
def _nearer_half(member_D, halves_2D):
    """The half whose mean, scaled to length 1, is nearer. In one order of summation on every processor."""
    # Sums of even and of odd dimensions, of both halves: eight side by side wait less for each other.
    dot_00, dot_01, square_00, square_01 = 0.0, 0.0, 0.0, 0.0
    dot_10, dot_11, square_10, square_11 = 0.0, 0.0, 0.0, 0.0
    dimension = member_D.shape[0]
    for d in range(0, dimension - 1, 2):
        even, odd = np.float64(member_D[d]), np.float64(member_D[d + 1])
        dot_00 += even * halves_2D[0, d]
        dot_01 += odd * halves_2D[0, d + 1]
        square_00 += halves_2D[0, d] * halves_2D[0, d]
        square_01 += halves_2D[0, d + 1] * halves_2D[0, d + 1]
        dot_10 += even * halves_2D[1, d]
        dot_11 += odd * halves_2D[1, d + 1]
        square_10 += halves_2D[1, d] * halves_2D[1, d]
        square_11 += halves_2D[1, d + 1] * halves_2D[1, d + 1]
    if dimension % 2:
        last = np.float64(member_D[dimension - 1])
        dot_00 += last * halves_2D[0, dimension - 1]
        square_00 += halves_2D[0, dimension - 1] * halves_2D[0, dimension - 1]
        dot_10 += last * halves_2D[1, dimension - 1]
        square_10 += halves_2D[1, dimension - 1] * halves_2D[1, dimension - 1]
    length_0, length_1 = np.sqrt(square_00 + square_01), np.sqrt(square_10 + square_11)
    cosine_0 = (dot_00 + dot_01) / length_0 if length_0 > 0.0 else 0.0
    cosine_1 = (dot_10 + dot_11) / length_1 if length_1 > 0.0 else 0.0
    return 1 if cosine_1 > cosine_0 else 0


@njit(cache=True, nogil=True, boundscheck=False)
def add_members(embeddings_BD, slots_B, weights_K, sums_KD, half_weights_K2, half_sums_K2D, half_memory):
    """Add row b to cluster `slots_B[b]` (-1: to none) and to its nearer half.

    A half of weight 0 takes the first member it is offered that the other half does not claim more strongly, so two
    empty halves are seeded by the first two members. Before each addition both halves fade by `half_memory`, so that
    they follow what arrives now: a topic that grew inside an old cluster shows.
    """
    dimension = sums_KD.shape[1]
    for b in range(embeddings_BD.shape[0]):
        slot = slots_B[b]
        if slot < 0:
            continue
        weights_K[slot] += 1.0
        for d in range(dimension):
            sums_KD[slot, d] += embeddings_BD[b, d]
        if half_weights_K2[slot, 0] == 0.0:
            half = 0
        elif half_weights_K2[slot, 1] == 0.0:
            half = 1
        else:
            half = _nearer_half(embeddings_BD[b], half_sums_K2D[slot])
        if half_memory < 1.0:
            for h in range(2):
                half_weights_K2[slot, h] *= half_memory
                for d in range(dimension):
                    half_sums_K2D[slot, h, d] *= half_memory
        half_weights_K2[slot, half] += 1.0
        for d in range(dimension):
            half_sums_K2D[slot, half, d] += embeddings_BD[b, d]


@njit(cache=True, nogil=True, boundscheck=False)
def keep_most_central(slots_B, similarities_B, doc_nos_B, documents_K, central_doc_nos_K, central_similarities_K):
    """Count the documents of each cluster, and remember the one that was most similar to the centre it met."""
    for b in range(slots_B.shape[0]):
        slot = slots_B[b]
        documents_K[slot] += 1
        if similarities_B[b] > central_similarities_K[slot]:
            central_similarities_K[slot] = similarities_B[b]
            central_doc_nos_K[slot] = doc_nos_B[b]


@njit(cache=True, nogil=True, boundscheck=False)
def sum_by_label(vectors_SD, labels_S, sums_KD):
    """Add each vector to the sum of its label."""
    for s in range(vectors_SD.shape[0]):
        label = labels_S[s]
        for d in range(vectors_SD.shape[1]):
            sums_KD[label, d] += vectors_SD[s, d]


@njit(cache=True, nogil=True, boundscheck=False)
def _round_to_f16(values_D):
    """Round float64 numbers to the nearest that float16 has, halves to even, in place; whether any is not 0.

    Between 2^-14 and 65,504 float16 keeps 10 of the 52 bits of a fraction; below, multiples of 2^-24.
    """
    bits_D = values_D.view(np.int64)
    is_any = False
    for d in range(len(values_D)):
        value = values_D[d]
        bits = bits_D[d]
        rounded = (bits + ((np.int64(1) << 41) - 1) + ((bits >> 42) & 1)) & ~((np.int64(1) << 42) - 1)
        small = np.rint(value * 2.0**24) * 2.0**-24
        size = abs(value)
        bits_D[d] = rounded
        if size < 2.0**-14:
            values_D[d] = small
        if size >= 65520.0:
            values_D[d] = np.copysign(np.inf, value)
        is_any |= values_D[d] != 0.0
    return is_any


@njit(cache=True, nogil=True, boundscheck=False)
def settle(weights_K, sums_KD, half_weights_K2, half_sums_K2D, max_weight):
    """Fade clusters to `max_weight`, round sums to float32 and those of halves to float16; a half of zeros weighs 0."""
    for k in range(len(weights_K)):
        fade = min(1.0, max_weight / max(weights_K[k], 1.0))
        weights_K[k] *= fade
        for d in range(sums_KD.shape[1]):
            sums_KD[k, d] = np.float64(np.float32(sums_KD[k, d] * fade))
        for half in range(2):
            if not _round_to_f16(half_sums_K2D[k, half]):
                half_weights_K2[k, half] = 0.0


@njit(cache=True, nogil=True, boundscheck=False)
def cohesion(sum_D, weight):
    """Mean cosine of two of so many members with this sum; 0 for fewer than two."""
    if not weight > 1.5:
        return 0.0
    return (dot(sum_D, sum_D) - weight) / max(weight * (weight - 1.0), 0.75)


@njit(cache=True, nogil=True, boundscheck=False)
def fill_split_gaps(half_weights_K2, half_sums_K2D, least_half, settled_half, gaps_K):
    """By how much halves are more alike within than across, discounted below `settled_half`; -1 below `least_half`."""
    for k in range(len(gaps_K)):
        first, second = half_weights_K2[k, 0], half_weights_K2[k, 1]
        smaller = min(first, second)
        if not smaller >= least_half:
            gaps_K[k] = -1.0
            continue
        first_D, second_D = half_sums_K2D[k, 0], half_sums_K2D[k, 1]
        cross = dot(first_D, second_D) / max(first * second, 1e-9)
        gap = min(cohesion(first_D, first), cohesion(second_D, second)) - cross
        gaps_K[k] = gap / max(1.0, settled_half / max(smaller, 1.0))


@njit(cache=True, nogil=True, boundscheck=False)
def fill_excess(cross_KK, cohesions_K, excess_KK):
    """Cross-cosines less the mean of the two cohesions, above the diagonal."""
    for i in range(len(cross_KK)):
        for j in range(i + 1, len(cross_KK)):
            excess_KK[i, j] = cross_KK[i, j] - (cohesions_K[i] + cohesions_K[j]) / 2


@njit(cache=True, nogil=True, boundscheck=False, error_model="numpy")
def fill_costs(cross_KK, weights_K, costs_KK):
    """By how much merging a pair adds to the squared error (Ward), above the diagonal."""
    for i in range(len(cross_KK)):
        for j in range(i + 1, len(cross_KK)):
            distance = max(cross_KK[i, i] + cross_KK[j, j] - 2.0 * cross_KK[i, j], 0.0)
            costs_KK[i, j] = distance * (weights_K[i] * weights_K[j] / (weights_K[i] + weights_K[j]))
