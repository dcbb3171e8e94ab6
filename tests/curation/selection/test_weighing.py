"""Weighing gives each document what its loss is multiplied by."""

from __future__ import annotations

import numpy as np

from curation.selection.weighing import Weighing


def test_a_weight_that_came_along_counts_and_one_that_did_not_is_one() -> None:
    scores_BM = np.array([[0.3, 2.5], [0.1, np.nan], [0.2, 0.0]], np.float32)
    assert Weighing(names=("web", "weight")).given(scores_BM).tolist() == [2.5, 1.0, 0.0]
    assert Weighing(names=("web",)).given(scores_BM[:, :1]).tolist() == [1.0, 1.0, 1.0]
