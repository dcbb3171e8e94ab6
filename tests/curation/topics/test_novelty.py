"""Novelty: unusual documents wait in bounded queues; the share that is unusual is the same for all vectors."""

from __future__ import annotations

import numpy as np
import pytest

from curation.topics.novelty import MAX_OUTLIERS, MAX_RECENT, NUM_BINS, Novelty


def test_nothing_is_novel_before_anything_is_known() -> None:
    assert Novelty().thresholds() == (-2.0, -2.0)


@pytest.mark.parametrize(("centre", "spread"), [(0.5, 0.1), (0.9, 0.02), (-0.2, 0.2)])
def test_a_fifth_is_novel_and_a_twentieth_an_outlier_for_any_similarities(centre: float, spread: float) -> None:
    rng = np.random.default_rng(0)
    novelty = Novelty()
    for _ in range(20):
        novelty.observe(np.clip(rng.normal(centre, spread, 512), -1, 1))

    novel, outlier = novelty.thresholds()

    similarities = np.clip(rng.normal(centre, spread, 100_000), -1, 1)
    bin_share = float((np.abs(similarities - novel) < 2 / NUM_BINS).mean())
    assert abs((similarities < novel).mean() - 0.20) < 0.02 + bin_share
    assert abs((similarities < outlier).mean() - 0.05) < 0.02 + bin_share


def test_the_usual_similarity_fades() -> None:
    novelty = Novelty()
    novelty.observe(np.full(512, 0.9))
    for _ in range(500):
        novelty.observe(np.full(512, 0.1))

    assert novelty.thresholds()[0] < 0.2


def test_the_oldest_of_a_full_queue_leaves_it() -> None:
    novelty = Novelty()
    left = [novelty.join(np.full(2, number, np.float32), is_outlier=False)[1] for number in range(MAX_RECENT + 2)]
    outliers = [novelty.join(np.zeros(2, np.float32), is_outlier=True) for _ in range(MAX_OUTLIERS + 1)]

    assert left == [None] * MAX_RECENT + [0, 1]
    assert outliers[-1] == (MAX_RECENT + 2 + MAX_OUTLIERS, MAX_RECENT + 2)
    assert len(novelty.waiting()) == MAX_RECENT + MAX_OUTLIERS
    assert list(novelty.waiting())[:1] == [MAX_RECENT + 3]  # outliers first, each queue from its oldest


def test_founders_leave_both_queues_and_a_new_embedding_empties_them() -> None:
    novelty = Novelty()
    recent, _ = novelty.join(np.ones(2, np.float32), is_outlier=False)
    outlier, _ = novelty.join(np.ones(2, np.float32), is_outlier=True)
    stays, _ = novelty.join(np.ones(2, np.float32), is_outlier=True)
    novelty.observe(np.full(10, 0.5))

    novelty.leave([recent, outlier])
    assert list(novelty.waiting()) == [stays]

    novelty.forget()
    assert not novelty.waiting()
    assert novelty.thresholds() == (-2.0, -2.0)
