"""Readings: from totals to the growth since the last commit."""

from __future__ import annotations

from curation.selection.rewards import FeedbackCounts
from ops.catalogue import Metric
from ops.metrics import Metrics
from ops.readings import grown, of_metric
from packing.rows import PackingStats
from state.ledger import Ledger
from state.outcomes import LaterReason, Reason


def full_ledger() -> Ledger:
    """A ledger that has counted at least once under every metric."""
    ledger = Ledger(dead={"no_text": 2}, would_drop={"gopher_too_few_words": 3})
    ledger.reject(Reason.SAME_TEXT.stage, Reason.SAME_TEXT, 4, 400)
    ledger.reject_later(LaterReason.REPLACED, 7)
    return ledger


def test_what_is_counted_goes_to_a_counter_of_the_catalogue() -> None:
    counts = full_ledger().counted() | PackingStats().counted() | FeedbackCounts().counted()
    metrics = Metrics()
    for (metric, *labels), total in counts.items():
        metrics.add(metric, total, *labels)

    num_labels = {metric.value: len(metric.labels) for metric in Metric}
    assert {metric: len(labels) for metric, *labels in counts}.items() <= num_labels.items()


def test_a_rejection_is_counted_by_stage_and_reason() -> None:
    counts = full_ledger().counted()

    assert counts["rejections_total", "exact_dedup", "same_text"] == 4
    assert counts["taken_back_total", "replaced"] == 1
    assert of_metric("dead_letters_total", counts) == {"no_text": 2}


def test_a_total_that_went_back_counts_from_there() -> None:
    totals = [{("documents_split_total",): number} for number in (5, 3, 4)]

    assert grown(totals[1], totals[0]) == {}
    assert grown(totals[2], totals[1]) == {("documents_split_total",): 1}
