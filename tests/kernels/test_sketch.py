"""Sketches against exact sets, and against one-permutation hashing written plainly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.sketch import compare, fill_sketch


def sketch(hashes: NDArray[np.uint32], num_bins: int = 1024) -> NDArray[np.uint8]:
    made = np.empty(num_bins // 4, np.uint8)
    fill_sketch(hashes, len(hashes), np.empty(num_bins, np.uint32), made)
    return made


def similarity(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    above, below = compare(a, 0, b, 0, len(a), 0.0)
    return above / below


def sets_of(rng: np.random.Generator, size: int, j: float) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Two sets of `size` hashes with this similarity."""
    shared = round(2 * size * j / (1 + j))
    drawn = np.unique(rng.integers(0, 2**32, 3 * size, dtype=np.uint32))
    drawn = rng.permutation(drawn)[: 2 * size - shared]
    return drawn[:size], drawn[size - shared :]


@pytest.mark.parametrize("num_bins", [256, 1024, 4096])
@pytest.mark.parametrize("size", [1, 40, 5000])
def test_counts_are_those_of_one_permutation_hashing(size: int, num_bins: int) -> None:
    rng = np.random.default_rng(size)
    a, b = sets_of(rng, size, 0.7)
    symbols = []
    for hashes in (a, b):
        smallest: dict[int, int] = {}
        for h in hashes.tolist():
            place = h * num_bins >> 32
            smallest[place] = min(h, smallest.get(place, h))
        symbols.append({place: (h & 0xFFFF) * 3 >> 16 for place, h in smallest.items()})
    both = symbols[0].keys() & symbols[1].keys()
    equal = sum(symbols[0][place] == symbols[1][place] for place in both)
    expected = 3 * equal - len(both), 2 * len(symbols[0].keys() | symbols[1].keys())
    assert compare(sketch(a, num_bins), 0, sketch(b, num_bins), 0, num_bins // 4, 0.0) == expected


@pytest.mark.parametrize(("size", "largest"), [(50, 0.015), (241, 0.0155), (600, 0.0165), (5000, 0.022)])
def test_estimates_have_no_bias_and_the_error_that_is_claimed(size: int, largest: float) -> None:
    rng = np.random.default_rng(1)
    for j in (0.7, 0.8):
        errors = []
        for _ in range(150):
            a, b = sets_of(rng, size, j)
            truth = len(np.intersect1d(a, b)) / len(np.union1d(a, b))
            errors.append(similarity(sketch(a), sketch(b)) - truth)
        assert abs(np.mean(errors)) < 4 * np.std(errors) / math.sqrt(len(errors)) + 1e-3
        assert np.std(errors) < 1.15 * largest


def test_order_and_repetition_do_not_matter() -> None:
    rng = np.random.default_rng(2)
    hashes = rng.integers(0, 2**32, 300, dtype=np.uint32)
    again = rng.permutation(np.concatenate((hashes, hashes, hashes[:100])))
    assert (sketch(hashes) == sketch(again)).all()
    assert similarity(sketch(hashes), sketch(again)) == 1


def test_what_is_far_below_is_told_from_the_first_bytes_and_nothing_else_is() -> None:
    rng = np.random.default_rng(3)
    for size in (5, 60, 300, 5000):
        for _ in range(200):
            a, b = (sketch(hashes) for hashes in sets_of(rng, size, rng.uniform(0.1, 1)))
            above, below = compare(a, 0, b, 0, len(a), 0.76)
            assert (above, below) == ((0, 1) if above == 0 else compare(a, 0, b, 0, len(a), 0.0))
            assert above > 0 or similarity(a, b) < 0.72
