"""The catalogue: names, labels and the number of series."""

from __future__ import annotations

import re

import pytest

from ops.catalogue import MAX_SERIES, Metric


@pytest.mark.parametrize("metric", Metric)
def test_names_follow_the_naming_practices(metric: Metric) -> None:
    assert re.fullmatch("curatord_[a-z_]+", metric.full_name)
    assert not re.search("(_ms|_us|_kb|_mb|milliseconds)(_|$)", metric), "base units only"
    assert metric.question.rstrip(".").count("?") == 1 or metric.question.endswith("."), "says what it answers"
    assert not {"doc_id", "url", "source", "message", "error"} & set(metric.labels)


def test_all_series_together_are_fewer_than_the_budget() -> None:
    assert sum(metric.max_series for metric in Metric) < MAX_SERIES


def test_a_kind_follows_from_the_name_and_the_bounds() -> None:
    kinds = {metric: metric.kind for metric in (Metric.EPOCHS, Metric.EPOCH, Metric.COMMIT_SECONDS)}
    assert kinds == {"epochs_total": "counter", "epoch": "gauge", "commit_duration_seconds": "histogram"}
    assert (Metric.EPOCH.max_series, Metric.REJECTIONS.max_series, Metric.DOCUMENT_AGE.max_series) == (1, 129, 34)
