"""ISODATA: k-means whose clusters are split where they are two, and merged where two are one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from curation.topics.isodata import isodata, spherical_kmeans
from curation.vectors.teacher import unit_vectors

GAPS = (0.2, 0.1)


def bundles(count: int, each: int, *, spread: float = 0.15) -> tuple[NDArray[np.float32], list[int]]:
    """Unit vectors about as many orthogonal directions, and the direction of each."""
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.repeat(np.arange(count), each))
    vectors_SD = np.eye(16)[truth] + rng.normal(0, spread, (len(truth), 16))
    return unit_vectors(vectors_SD.astype(np.float64)).astype(np.float32), truth.tolist()


def same_partition(labels: list[int], truth: list[int]) -> bool:
    return len(set(zip(labels, truth, strict=True))) == len(set(labels)) == len(set(truth))


def test_kmeans_finds_well_separated_directions() -> None:
    vectors_SD, truth = bundles(4, 40)

    labels_S = spherical_kmeans(vectors_SD, 4, np.random.default_rng(1))

    assert same_partition(labels_S.tolist(), truth)


@pytest.mark.parametrize("k", [2, 4, 8])
def test_the_number_of_clusters_is_found_from_too_few_and_too_many(k: int) -> None:
    vectors_SD, truth = bundles(4, 80)

    labels_S = isodata(vectors_SD, k, min_clusters=1, max_clusters=16, gaps=GAPS, seed=0)

    assert same_partition(labels_S.tolist(), truth)


def test_the_limits_hold_where_the_vectors_want_otherwise() -> None:
    vectors_SD, _ = bundles(6, 80)
    one_SD, _ = bundles(1, 200)

    assert len(set(isodata(vectors_SD, 2, min_clusters=1, max_clusters=3, gaps=GAPS, seed=0).tolist())) <= 3
    assert len(set(isodata(one_SD, 4, min_clusters=2, max_clusters=8, gaps=GAPS, seed=0).tolist())) >= 2


def test_the_seed_decides_and_labels_are_dense() -> None:
    vectors_SD, _ = bundles(5, 40, spread=0.5)

    first, again = (isodata(vectors_SD, 8, min_clusters=2, max_clusters=16, gaps=GAPS, seed=3) for _ in range(2))

    assert first.tolist() == again.tolist()
    assert set(first.tolist()) == set(range(int(first.max()) + 1))


def test_equal_vectors_are_one_cluster() -> None:
    vectors_SD = np.tile(unit_vectors(np.ones((1, 16))).astype(np.float32), (30, 1))

    assert set(isodata(vectors_SD, 4, min_clusters=1, max_clusters=8, gaps=GAPS, seed=0).tolist()) == {0}
    assert isodata(vectors_SD[:1], 1, min_clusters=1, max_clusters=8, gaps=GAPS, seed=0).tolist() == [0]
