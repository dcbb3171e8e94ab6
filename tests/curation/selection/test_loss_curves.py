"""Loss curves: least squares over fading steps, from reports in any order; progress that noise does not explain."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.selection.loss_curves import (
    FULL_TARGETS,
    MAX_IMPORTANCE,
    MAX_LOSS,
    Curve,
    Losses,
    Sums,
    progress_rewards,
    sums_by_cluster,
)

HALF_LIFE = 50


def losses(clusters: list[int], values: list[float], *, targets: int = FULL_TARGETS, propensity: float = 1.0) -> Losses:
    return Losses(
        clusters_S=np.array(clusters, np.int32),
        losses_S=np.array(values, np.float64),
        num_targets_S=np.full(len(clusters), targets, np.int64),
        propensities_S=np.full(len(clusters), propensity),
    )


def curve_of(points: list[tuple[int, float]]) -> Curve:
    curve = Curve()
    for step, loss in points:
        curve.add(step, sums_by_cluster(losses([0], [loss]))[0], HALF_LIFE)
    return curve


@given(st.lists(st.tuples(st.integers(0, 200), st.floats(0, 10)), min_size=1, max_size=12), st.randoms())
def test_reports_may_come_in_any_order(points: list[tuple[int, float]], shuffled: random.Random) -> None:
    later = points.copy()
    shuffled.shuffle(later)

    one, other = curve_of(points), curve_of(later)

    for name in ("weight", "squares", "documents", "x", "xx", "y", "xy", "yy"):
        assert math.isclose(getattr(one, name), getattr(other, name), rel_tol=1e-6, abs_tol=1e-6), name
    assert one.step == max(step for step, _ in points)


@given(st.lists(st.tuples(st.integers(0, 100), st.floats(0, 10)), min_size=3, max_size=12))
def test_the_slope_is_that_of_weighted_least_squares(points: list[tuple[int, float]]) -> None:
    curve = curve_of(points)
    steps, values = (np.array(column, np.float64) for column in zip(*points, strict=True))
    weights = 0.5 ** ((steps.max() - steps) / HALF_LIFE)
    mean_step, mean_loss = np.average(steps, weights=weights), np.average(values, weights=weights)
    spread = float((weights * (steps - mean_step) ** 2).sum())
    falls = float((weights * (steps - mean_step) * (values - mean_loss)).sum())

    assert math.isclose(curve.xx - curve.x**2 / curve.weight, spread, rel_tol=1e-6, abs_tol=1e-5)
    assert math.isclose(curve.xy - curve.x * curve.y / curve.weight, falls, rel_tol=1e-6, abs_tol=1e-5)


def test_documents_weigh_by_their_targets_and_by_what_they_stand_for() -> None:
    whole = sums_by_cluster(losses([4, 4, 9], [1.0, 3.0, 2.0]))
    short = sums_by_cluster(losses([4], [1.0], targets=FULL_TARGETS // 4))
    rare = sums_by_cluster(losses([4], [1.0], propensity=0.5))
    rarest = sums_by_cluster(losses([4], [MAX_LOSS * 2], propensity=1e-6))

    assert whole == {4: Sums(2.0, 2.0, 2.0, 4.0, 10.0), 9: Sums(1.0, 1.0, 1.0, 2.0, 4.0)}
    assert short[4].weight == 0.25
    assert (rare[4].weight, rare[4].documents) == (2.0, 1.0)
    assert (rarest[4].weight, rarest[4].loss) == (MAX_IMPORTANCE, MAX_IMPORTANCE * MAX_LOSS)


@pytest.mark.parametrize("seed", range(3))
def test_the_cluster_whose_loss_falls_is_rewarded_and_noise_is_not(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def rewards(slopes: dict[int, float]) -> dict[int, float]:
        curves = {cluster: Curve() for cluster in slopes}
        for step in range(100):
            for cluster, slope in slopes.items():
                values = (5.0 + slope * step + rng.normal(0, 0.1, 20)).tolist()
                curves[cluster].add(step, sums_by_cluster(losses([cluster] * 20, values))[cluster], HALF_LIFE)
        return {cluster: reward for cluster, reward, _ in progress_rewards(curves, 0)}

    falling = rewards({0: -0.02, 1: 0.0, 2: 0.0, 3: 0.0})
    assert max(falling, key=falling.__getitem__) == 0
    assert falling[0] > 1.0
    flat = rewards(dict.fromkeys(range(4), 0.0))
    assert not flat or max(map(abs, flat.values())) < 3.0


def test_one_cluster_alone_is_compared_with_none() -> None:
    assert progress_rewards({}, 0) == []
    assert progress_rewards({0: curve_of([(step, 5.0 - step / 100) for step in range(50)])}, 0) == []
