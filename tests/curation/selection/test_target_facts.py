"""Worths of documents from the scores that they have, and keys and likeness from facts."""

from __future__ import annotations

import numpy as np
import pytest

from curation.selection.target_facts import MAX_DEVIATIONS, ORDER_WEIGHT, TEMPERATURE, Likeness, keys_of, worths


def test_order_counts_beside_likeness_where_it_was_measured() -> None:
    scores_BM = np.array([[7.0, 1.0, -2.0], [7.0, 3.0, np.nan], [7.0, np.nan, 1.0]], np.float32)
    found = worths(scores_BM, ("head", "target", "target_order"))
    assert found[:2].tolist() == [1.0 - 2 * ORDER_WEIGHT, 3.0]
    assert np.isnan(found[2])
    assert worths(scores_BM[:2, :2], ("head", "target")).tolist() == [1.0, 3.0]


def test_keys_are_deviations_within_limits_and_without_words_the_least() -> None:
    found = keys_of(np.array([2.0, 1e9, np.nan]), 1.0, 0.5)
    assert found * TEMPERATURE == pytest.approx([2.0, MAX_DEVIATIONS, -MAX_DEVIATIONS])


def test_a_likeness_is_found_by_document() -> None:
    fact = Likeness(doc_nos=np.array([4, 9]).tobytes(), values=np.array([0.5, -1.5], np.float32).tobytes())
    assert [fact.of(doc_no) for doc_no in (4, 9, 5)] == [0.5, -1.5, None]
