from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

from curation.selection.power_law import fit_power_laws


def _curve(floor: float, scale: float, exponent: float, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    amounts = np.geomspace(1e3, 1e6, 48)
    return amounts, floor + scale * amounts**-exponent + np.random.default_rng(seed).normal(0, noise, len(amounts))


@pytest.mark.parametrize(("floor", "scale", "exponent"), [(2.0, 30.0, 0.3), (0.5, 8.0, 0.15), (1.0, 200.0, 0.6)])
def test_a_law_without_noise_is_found(floor: float, scale: float, exponent: float) -> None:
    amounts, losses = _curve(floor, scale, exponent, 0.0, 0)
    found = fit_power_laws(amounts[None], losses[None], np.ones((1, 48)))
    assert [float(value[0]) for value in found] == pytest.approx([floor, scale, exponent], rel=0.02)


@pytest.mark.parametrize("seed", range(10))
def test_the_fit_is_as_good_as_that_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    amounts, losses = _curve(rng.uniform(1, 3), rng.uniform(10, 60), rng.uniform(0.15, 0.6), 0.02, seed)
    floor, scale, exponent = (
        float(value[0]) for value in fit_power_laws(amounts[None], losses[None], np.ones((1, 48)))
    )

    def left(law):
        return np.exp(law[0]) + np.exp(law[1]) * amounts ** -np.exp(law[2]) - losses

    start = np.log([max(losses[-1] - 0.1, 0.1), 30.0, 0.3])
    theirs = (least_squares(left, start, max_nfev=5000).fun ** 2).sum()
    ours = ((floor + scale * amounts**-exponent - losses) ** 2).sum()
    assert ours <= 1.002 * theirs


def test_without_enough_points_or_a_fall_there_is_no_law() -> None:
    amounts = np.geomspace(1, 100, 6)
    rising = np.linspace(1, 2, 6)
    few = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    found = fit_power_laws(np.array([amounts, amounts]), np.array([rising, rising[::-1]]), np.array([np.ones(6), few]))
    assert np.isnan(found).all()
