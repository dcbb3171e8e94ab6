"""ISODATA on the seed documents: k-means, then rounds of splits and merges.

Ball & Hall (1965) split and merge k-means' clusters over passes through stored points. A cluster whose halves are less
alike across than within, by `split_gap`, is two clusters; a pair that is nearly as alike across as within, to
`merge_gap`, is one (curation/topics/cluster_features.py). `split_gap` > `merge_gap` keeps the two from taking turns.

Shape legend: S seed documents, K clusters, D dimensions, M members of one cluster.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.topics.cluster_features import MIN_HALF, Features, highest_pair, split_gap
from curation.vectors.teacher import unit_vectors
from kernels.features import sum_by_label
from kernels.products import products

RESTARTS = 3
ITERATIONS = 15
ROUNDS = 6

Labels = NDArray[np.int64]


def found(features: Features, cluster: int, members_MD: NDArray[Any], rng: np.random.Generator) -> None:
    """Append a cluster of these members to `features`, halved by 2-means if they are enough to be two."""
    halves_M = np.full(len(members_MD), -1, np.int64)
    if len(members_MD) >= 2 * MIN_HALF:
        halves_M = spherical_kmeans(members_MD, 2, rng, restarts=1)
    features.append(cluster, members_MD, halves_M)


def spherical_kmeans(vectors_SD: NDArray[Any], k: int, rng: np.random.Generator, *, restarts: int = RESTARTS) -> Labels:
    """Labels 0..k-1 of unit vectors by cosine k-means (Dhillon & Modha, 2001), the best of `restarts`.

    Starts from k-means++ (Arthur & Vassilvitskii, 2007). An empty cluster takes the vector that is farthest from
    its centre; with fewer distinct vectors than k, labels stay unused.
    """
    vectors_SD = vectors_SD.astype(np.float32)
    best_total, best_S = -np.inf, np.zeros(len(vectors_SD), np.int64)
    for _ in range(restarts):
        centres_KD = _spread_out(vectors_SD, k, rng)
        before_S = None
        for _ in range(ITERATIONS):
            similarities_SK = products(vectors_SD, centres_KD)
            labels_S = similarities_SK.argmax(axis=1)
            own_S = similarities_SK.max(axis=1)
            for empty in np.flatnonzero(np.bincount(labels_S, minlength=k) == 0).tolist():
                farthest = int(own_S.argmin())
                labels_S[farthest] = empty
                own_S[farthest] = 2.0
            if before_S is not None and np.array_equal(labels_S, before_S):
                break  # the same labels have the same centres, for ever
            before_S = labels_S
            centres_KD = unit_vectors(_sums(vectors_SD, labels_S, k))
        similarities_SK = products(vectors_SD, centres_KD)
        total = float(similarities_SK.max(axis=1).sum(dtype=np.float64))
        if total > best_total:
            best_total, best_S = total, similarities_SK.argmax(axis=1)
    return best_S


def isodata(
    vectors_SD: NDArray[np.float32],
    k: int,
    *,
    min_clusters: int,
    max_clusters: int,
    gaps: tuple[float, float],
    seed: int,
) -> Labels:
    """Labels 0..K-1 of the seed documents: k-means, then rounds of splits and merges by the gaps (split, merge).

    Ends when a round changes nothing, or after 6. All labels are in use; one document, or all the same: one label.
    """
    rng = np.random.default_rng(seed)
    labels_S = _dense(spherical_kmeans(vectors_SD, k, rng))
    for _ in range(ROUNDS):
        num_split = _split_round(vectors_SD, labels_S, max_clusters, gaps[0], rng)
        labels_S, num_merged = _merge_round(vectors_SD, labels_S, min_clusters, gaps[1])
        if not num_split and not num_merged:
            break
        for _ in range(3):
            centres_KD = unit_vectors(_sums(vectors_SD, labels_S, int(labels_S.max()) + 1))
            labels_S = _dense((products(vectors_SD, centres_KD)).argmax(axis=1))
    return labels_S


def _split_round(
    vectors_SD: NDArray[np.float32], labels_S: Labels, max_clusters: int, gap: float, rng: np.random.Generator
) -> int:
    """Split, in place, every cluster that is two, while there is room; how many were."""
    k = int(labels_S.max()) + 1
    num_split = 0
    for label in range(k):
        members_M = np.flatnonzero(labels_S == label)
        if len(members_M) < 2 * MIN_HALF or k + num_split >= max_clusters:
            continue
        halves_M = spherical_kmeans(vectors_SD[members_M], 2, rng, restarts=2)
        weights_2 = np.bincount(halves_M, minlength=2).astype(np.float64)
        if split_gap(weights_2[None], _sums(vectors_SD[members_M], halves_M, 2)[None])[0] >= gap:
            labels_S[members_M[halves_M == 1]] = k + num_split
            num_split += 1
    return num_split


def _merge_round(
    vectors_SD: NDArray[np.float32], labels_S: Labels, min_clusters: int, gap: float
) -> tuple[Labels, int]:
    """The labels after merging pairs that are one, the most alike first; how many were."""
    k = int(labels_S.max()) + 1
    features = Features(vectors_SD.shape[1])
    for label in range(k):
        members_MD = vectors_SD[labels_S == label]
        features.append(label, members_MD, np.full(len(members_MD), -1))
    while len(features) > min_clusters:
        excess_KK = features.merge_excess()
        first, second = highest_pair(excess_KK)
        if excess_KK[first, second] < -gap:
            break
        winner, loser = features.column("cluster")[[first, second]].tolist()
        labels_S = np.where(labels_S == loser, winner, labels_S)
        features.merge(first, second)
    return _dense(labels_S), k - len(features)


def _spread_out(vectors_SD: NDArray[np.float32], k: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """k of the vectors, each drawn with the probability of its distance to those before it."""
    chosen = [int(rng.integers(len(vectors_SD)))]
    distances_S = np.full(len(vectors_SD), np.inf)
    while len(chosen) < k:
        to_last_S = 1.0 - products(vectors_SD, vectors_SD[chosen[-1:]])[:, 0].astype(np.float64)
        distances_S = np.minimum(distances_S, np.maximum(to_last_S, 0.0))
        cumulative_S = np.cumsum(distances_S)
        point = rng.random() * cumulative_S[-1]
        chosen.append(min(int(np.searchsorted(cumulative_S, point, side="right")), len(vectors_SD) - 1))
    return vectors_SD[chosen]


def _sums(vectors_SD: NDArray[Any], labels_S: Labels, k: int) -> NDArray[np.float64]:
    sums_KD = np.zeros((k, vectors_SD.shape[1]))
    sum_by_label(vectors_SD, labels_S, sums_KD)
    return sums_KD


def _dense(labels_S: Labels) -> Labels:
    """The same partition with labels 0..K-1, none unused."""
    return np.unique(labels_S, return_inverse=True)[1].astype(np.int64)
