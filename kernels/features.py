"""Clustering features on unit vectors: (number of members, sum of members), of a cluster and of its two halves.

Adding a member costs three passes over D float64: into the cluster's sum, and two dot products that say which half is
nearer (the mean of the half, scaled to length 1), then into that half's sum. ~1 us a document of 384 dimensions.
Members are added one after the other in the order given, so the sums do not depend on how ticks are scheduled.
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, boundscheck=False)
def _nearer_half(member_D, halves_2D):
    """The half whose mean, scaled to length 1, is nearer. In one order of summation on every processor."""
    dimension = member_D.shape[0]
    nearest, highest = 0, -np.inf
    for half in range(2):
        dot_0, dot_1, square_0, square_1 = 0.0, 0.0, 0.0, 0.0  # two of each at once wait less for each other
        for d in range(0, dimension - 1, 2):
            dot_0 += np.float64(member_D[d]) * halves_2D[half, d]
            dot_1 += np.float64(member_D[d + 1]) * halves_2D[half, d + 1]
            square_0 += halves_2D[half, d] * halves_2D[half, d]
            square_1 += halves_2D[half, d + 1] * halves_2D[half, d + 1]
        if dimension % 2:
            dot_0 += np.float64(member_D[dimension - 1]) * halves_2D[half, dimension - 1]
            square_0 += halves_2D[half, dimension - 1] * halves_2D[half, dimension - 1]
        length = np.sqrt(square_0 + square_1)
        cosine = (dot_0 + dot_1) / length if length > 0.0 else 0.0
        if cosine > highest:
            nearest, highest = half, cosine
    return nearest


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
