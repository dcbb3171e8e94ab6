"""Readings: the numbers of a stage for the operator, by the names of their metrics.

A stage counts where the thing happens, and gives its totals (`counted`) and its present values (`measured`). One way
leads from there to every metric: the growth of the totals since the last commit, and the values as they are. One number
more is a member of `ops.catalogue.Metric` and a line where it is counted.
"""

from __future__ import annotations

Counts = dict[tuple[str, ...], int]  # (metric, values of its labels) -> total, or growth
Gauges = dict[str, float | dict[str, float]]  # metric -> value, or values by label


def of_metric(metric: str, counts: Counts) -> dict[str, int]:
    """Counts of a metric with one label, by label."""
    return {key[1]: count for key, count in counts.items() if key[0] == metric}


def grown(now: Counts, before: Counts) -> Counts:
    """The growth of every total that grew. A total that went back, by a retraction, counts from there.

    >>> grown({("a",): 5, ("b", "x"): 2, ("c",): 1}, {("a",): 3, ("b", "x"): 2, ("c",): 4})
    {('a',): 2}
    """
    growth = {key: total - before.get(key, 0) for key, total in now.items()}
    return {key: amount for key, amount in growth.items() if amount > 0}
