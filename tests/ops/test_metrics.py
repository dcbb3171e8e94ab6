"""Metrics: names, bounds, and what is exported."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ops.catalogue import AGE_BOUNDS_S, MAX_CLUSTERS, MAX_SERIES, Metric
from ops.metrics import OTHER
from tests.ops.conftest import Process


def test_every_series_at_its_limit_is_fewer_than_the_budget(process: Process) -> None:
    metrics = process.metrics
    for metric in Metric:
        if metric.kind == "counter" and metric.labels:
            for number in range(3000):
                metrics.add(metric, 1, *[f"label {number}"] * len(metric.labels))
        elif metric.kind == "gauge" and metric.labels:
            metrics.set(metric, {f"label {number}": 1.0 for number in range(3000)})

    samples = process.samples()

    assert len(samples) <= MAX_SERIES
    for metric in Metric:
        found = [sample for sample in samples if re.fullmatch(f"{metric.full_name}(_bucket|_sum|_count)?", sample.name)]
        assert 0 < len(found) <= metric.max_series, metric


def test_the_catalogue_names_everything_that_is_exported(process: Process) -> None:
    catalogue = {metric.full_name for metric in Metric}

    for sample in process.samples():
        name = re.sub("_(bucket|sum|count)$", "", sample.name)
        known = name in catalogue or name.startswith(("process_", "python_info"))
        assert known, sample.name


def test_what_comes_beyond_a_limit_is_counted_together(process: Process) -> None:
    for number in range(40):
        process.metrics.add(Metric.DEAD_LETTERS, 2, f"reason-{number}")
    process.metrics.add(Metric.DEAD_LETTERS, 1, "reason-39")

    found = process.series("curatord_dead_letters_total")

    assert len(found) == 33
    assert found[(OTHER,)] == 2 * 8 + 1
    assert found[("reason-31",)] == 2


def test_gauges_that_are_gone_are_forgotten_and_the_rest_is_summed(process: Process) -> None:
    metrics = process.metrics
    metrics.set(Metric.CLUSTER_DOCUMENTS, {str(number): 10.0 for number in range(MAX_CLUSTERS + 3)})
    assert process.value("curatord_cluster_documents", cluster=OTHER) == 30

    metrics.set(Metric.CLUSTER_DOCUMENTS, {"7": 5.0})

    assert process.series("curatord_cluster_documents") == {("7",): 5.0}


def test_ages_taken_in_together_fall_where_they_would_one_by_one(process: Process) -> None:
    ages_s = np.array([-3.0, 0.0, 0.1, 0.1000001, 3600.0, 1e9])

    process.metrics.observe_all(Metric.DOCUMENT_AGE, ages_s, "received")
    process.metrics.observe_all(Metric.DOCUMENT_AGE, [], "received")

    buckets = {
        sample.labels["le"]: sample.value
        for sample in process.samples()
        if sample.name == "curatord_document_age_seconds_bucket" and sample.labels["point"] == "received"
    }
    for bound in AGE_BOUNDS_S:
        assert buckets[str(bound)] == np.count_nonzero(ages_s <= bound), bound
    assert buckets["+Inf"] == process.value("curatord_document_age_seconds_count", point="received") == 6
    assert process.value("curatord_document_age_seconds_sum", point="received") == pytest.approx(1e9 + 3600.2, abs=0.1)
    assert process.value("curatord_document_age_seconds_count", point="committed") == 0


def test_two_processes_in_one_interpreter_do_not_share_numbers(process: Process) -> None:
    process.metrics.add(Metric.EPOCHS)

    assert Process().value("curatord_epochs_total") == 0
