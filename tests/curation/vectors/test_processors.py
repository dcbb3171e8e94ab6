"""Clusters and arms do not depend on the kernels that a BLAS or numba chooses for the processor at hand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kernels.products import chosen_products, dots, products

LEARN = """
import hashlib
import numpy as np
from curation.selection.bandit import Bandit, BanditConfig
from curation.topics.clusters import Clusters, ClustersConfig
from kernels.products import dots
from tests.kept import changes_of

rng = np.random.default_rng(7)
topics = rng.integers(-127, 128, (44, 384))

def vectors(n, low, high):
    rows = topics[rng.integers(low, high, n)] + rng.integers(-160, 161, (n, 384))
    rows = rows.astype(np.float64)
    return (rows / np.sqrt(dots(rows, rows))[:, None]).astype(np.float32)

facts = hashlib.sha256()
clusters = Clusters(ClustersConfig(min_clusters=4, initial_clusters=20, max_clusters=32))
bandit = Bandit(BanditConfig(enabled=True, reward=("scorer",), neighbour_radius=2.0))
clusters.seed(vectors(1024, 0, 20))
for tick in range(8):
    slots = clusters.assign(vectors(512, 0, 20 + 3 * tick), np.arange(512) + 512 * tick)
    bandit.sample(slots, np.arange(512, dtype=np.uint64) + np.uint64(512 * tick), np.full(512, 100))
    bandit.learn(slots[:40], rng.integers(0, 100, 40).astype(np.float64))
    bandit.tick(clusters.neighbours(4))
    facts.update(slots.tobytes())
    for _, key, value in changes_of(clusters, bandit):
        facts.update(key + (value or b""))
print(len(clusters), facts.hexdigest())
"""

PROCESSORS = [{}, {"OPENBLAS_CORETYPE": "Prescott", "NUMBA_CPU_NAME": "nehalem"}, {"OPENBLAS_CORETYPE": "Haswell"}]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Output of one run for each kind of processor."""
    folder = tmp_path_factory.mktemp("kernels")
    runs = []
    for number, settings in enumerate(PROCESSORS):
        cache = {"NUMBA_CACHE_DIR": str(folder / str(number))} if "NUMBA_CPU_NAME" in settings else {}
        environment = {**os.environ, **settings, **cache, "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", LEARN],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
            cwd=Path(__file__).parents[3],
        )
        runs.append(done.stdout)
    return runs


def test_clusters_and_arms_are_the_same_to_the_last_bit(told: list[str]) -> None:
    assert int(told[0].split()[0]) > 4
    assert told == [told[0]] * len(told)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "k", "d"), [(1, 1, 1), (3, 5, 7), (4, 16, 8), (17, 33, 384), (512, 100, 384)])
def test_products_are_those_of_numpy_but_for_rounding(kind: type, n: int, k: int, d: int) -> None:
    rng = np.random.default_rng(0)
    rows_ND, columns_KD = rng.standard_normal((n, d)).astype(kind), rng.standard_normal((k, d)).astype(kind)
    found_NK = products(rows_ND, columns_KD)
    assert found_NK.dtype == kind
    exact_NK = rows_ND.astype(np.longdouble) @ columns_KD.astype(np.longdouble).T
    assert np.allclose(found_NK, exact_NK.astype(np.float64), rtol=0, atol=np.finfo(kind).eps * 4 * d)
    sequential = kind(0)
    for d_ in range(d):
        sequential += rows_ND[-1, d_] * columns_KD[-1, d_]
    assert found_NK[-1, -1] == sequential
    assert np.array_equal(products(rows_ND[::-1], columns_KD)[::-1], found_NK)
    assert np.array_equal(products(columns_KD, rows_ND).T, found_NK)
    chosen_NC = rng.integers(0, k, (n, 2))
    assert np.array_equal(chosen_products(rows_ND, columns_KD, chosen_NC), np.take_along_axis(found_NK, chosen_NC, 1))


def test_nothing_has_no_products() -> None:
    assert products(np.zeros((0, 3), np.float32), np.zeros((2, 3), np.float32)).shape == (0, 2)
    assert products(np.zeros((2, 0), np.float32), np.zeros((0, 0), np.float32)).shape == (2, 0)
    assert dots(np.zeros((0, 3)), np.zeros((0, 3))).shape == (0,)
    assert dots(np.zeros((2, 0)), np.zeros((2, 0))).tolist() == [0.0, 0.0]
    assert dots(np.arange(5.0), np.arange(5.0)) == 30.0
