"""Features are settled to what is stored, bit for bit; halves are told apart as the formula says."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.features import add_members, settle


@pytest.mark.parametrize("scale", [1e-9, 3e-8, 1e-5, 1e-4, 1.0, 1e3])
def test_sums_are_rounded_as_numpy_rounds_them(scale: float) -> None:
    rng = np.random.default_rng(0)
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = np.sort(halves[np.isfinite(halves)]).astype(np.float64)
    values = np.concatenate((rng.normal(size=65_536) * scale, finite, (finite[1:] + finite[:-1]) / 2))
    half_sums_12D = np.stack((values, -1.0 * values))[None]
    sums_1D, expected = values[None].copy(), half_sums_12D.astype(np.float16).astype(np.float64)

    settle(np.ones(1), sums_1D, np.ones((1, 2)), half_sums_12D, 100.0)

    assert np.array_equal(half_sums_12D.view(np.int64), expected.view(np.int64))
    assert np.array_equal(sums_1D[0], values.astype(np.float32).astype(np.float64))


def test_what_is_above_the_most_fades_and_a_half_of_nothing_weighs_nothing() -> None:
    weights_K, sums_KD = np.array([200.0, 50.0]), np.ones((2, 4))
    half_weights_K2, half_sums_K2D = np.ones((2, 2)), np.ones((2, 2, 4))
    half_sums_K2D[1, 0] = 1e-9

    settle(weights_K, sums_KD, half_weights_K2, half_sums_K2D, 100.0)

    assert weights_K.tolist() == [100.0, 50.0]
    assert sums_KD.tolist() == [[0.5] * 4, [1.0] * 4]
    assert half_weights_K2.tolist() == [[1.0, 1.0], [0.0, 1.0]]


@pytest.mark.parametrize("dimension", [1, 2, 7, 384])
def test_a_member_joins_the_half_that_is_nearer(dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    for _ in range(30):
        half_sums_K2D, member_1D = (
            rng.normal(size=(1, 2, dimension)),
            rng.normal(size=(1, dimension)).astype(np.float32),
        )
        cosines_2 = half_sums_K2D[0] @ member_1D[0] / np.linalg.norm(half_sums_K2D[0], axis=1)
        half_weights_K2, weights_K = np.ones((1, 2)), np.ones(1)
        slots_B, sums_KD = np.zeros(1, np.int64), np.zeros((1, dimension))
        add_members(member_1D, slots_B, weights_K, sums_KD, half_weights_K2, half_sums_K2D, 0.5)
        if abs(cosines_2[0] - cosines_2[1]) > 1e-9:
            assert half_weights_K2[0].argmax() == cosines_2.argmax()
        assert weights_K[0] == 2.0
