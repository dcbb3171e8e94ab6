"""Arms: rows as they are written, and how sources of rewards are weighed."""

from __future__ import annotations

import numpy as np
import pytest

from curation.selection.arms import arm_type, combined, read_arms


def test_the_row_of_one_source_is_that_of_a_time_before_there_were_several() -> None:
    old = np.dtype(
        [
            (name, kind)
            for name, kind in zip(
                ("cluster", "reward_sum", "count", "arrived", "arriving", "documents", "admitted"),
                ("<i8", "<f8", "<f8", "<f8", "<f8", "<i8", "<i8"),
                strict=True,
            )
        ]
    )
    row = np.array((7, 1.5, 3.0, 100.0, 5.0, 12, 6), old).tobytes()
    assert len(row) == arm_type(1).itemsize
    (arm,) = read_arms([row], ["scorer"], ("scorer",))
    assert (int(arm["cluster"]), arm["reward_sum"].tolist(), arm["count"].tolist()) == (7, [1.5], [3.0])
    (arm,) = read_arms([row], [], ("rules", "target"))
    assert (arm["count"].tolist(), float(arm["arrived"]), int(arm["documents"])) == ([0.0, 0.0], 100.0, 12)


def test_columns_follow_their_names() -> None:
    arms = np.zeros(2, arm_type(3))
    arms["count"] = [[1, 2, 3], [4, 5, 6]]
    rows = [arm.tobytes() for arm in arms]
    assert read_arms(rows, ["a", "b", "c"], ("c", "d", "a"))["count"].tolist() == [[3, 0, 1], [6, 0, 4]]


def test_the_reliability_is_the_share_of_the_variance_of_means_that_is_no_noise() -> None:
    """Worths of variance 1 within noise of variance 1 / n: tau^2 / (tau^2 + 1 / n), as for any random effects."""
    rng = np.random.default_rng(0)
    counts, clusters = np.array([2, 32]), 4_000
    arms = np.zeros(clusters, arm_type(2))
    worths = rng.normal(0, 0.5, clusters)
    arms["count"] = counts
    arms["arrived"] = 1.0
    for source, count in enumerate(counts):
        arms["reward_sum"][:, source] = count * (worths + rng.normal(0, 1 / np.sqrt(count), clusters))
    moments = np.array([[1e4, 0.0, 1e4], [1e4, 0.0, 1e4]])  # deviations of 1
    _, _, weights = combined(arms, moments)
    expected = 0.25 / (0.25 + 1 / counts)
    assert weights == pytest.approx(expected / expected.sum(), abs=0.02)
