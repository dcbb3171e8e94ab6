"""Metrics: the catalogue, in one place. Each one states the question that it answers.

Names begin with `curatord_`, quantities are in base units. A process exports at most `MAX_SERIES` series, so that a
scrape, which holds the interpreter's lock, takes some 25 ms: every family with labels has a limit; what comes beyond it
is counted as `other`. No label ever holds an id, an address, a source or the text of an error.

Counters begin at 0 with the process. They move once a batch or an epoch, never once a document.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector

PREFIX: Final = "curatord_"
MAX_SERIES: Final = 2000
OTHER: Final = "other"

MAX_PARTITIONS: Final = 512
MAX_CLUSTERS: Final = 128  # with a series of their own: the largest
AGE_BOUNDS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0)
DURATION_BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
EPOCH_BOUNDS: Final = (1, 10, 100, 250, 500, 1000, 2500, 5000, 10_000, 50_000)

AgePoint = Literal["received", "committed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One line of the catalogue."""

    name: str  # as it stands in an exposition; of a histogram without _bucket, _sum and _count
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    max_series: int
    question: str


class CounterFamily:
    """Counters by the values of their labels: `limit` of them, and one for the rest."""

    def __init__(self, counter: Counter, num_labels: int, limit: int) -> None:
        self._counter = counter
        self._limit = limit
        self._others = (OTHER,) * num_labels
        self._children: dict[tuple[str, ...], Counter] = {}

    def add(self, amount: float, *labels: str) -> None:
        """Count `amount` more, which is not negative."""
        child = self._children.get(labels)
        if child is None:
            if len(self._children) >= self._limit:
                labels = self._others
            child = self._children[labels] = self._counter.labels(*labels)
        child.inc(amount)


class GaugeFamily:
    """Gauges by one label, all of them set together."""

    def __init__(self, gauge: Gauge, limit: int) -> None:
        self._gauge = gauge
        self._limit = limit
        self._shown: set[str] = set()

    def replace(self, values: Mapping[str, float]) -> None:
        """Show these, the first `limit` of them, and the sum of the rest as `other`; forget all others."""
        labels = list(values)
        shown = {label: values[label] for label in labels[: self._limit]}
        if len(labels) > self._limit:
            shown[OTHER] = sum(values[label] for label in labels[self._limit :])
        for label in self._shown - shown.keys():
            self._gauge.remove(label)
        for label, value in shown.items():
            self._gauge.labels(label).set(value)
        self._shown = set(shown)


class AgeHistogram(Collector):
    """A histogram that takes many values at once: 5,000 ages in some 0.1 ms, where one by one would take 7 ms."""

    def __init__(self, name: str, question: str, points: Iterable[AgePoint]) -> None:
        self._name = name
        self._question = question
        self._bounds = np.array(AGE_BOUNDS_S)
        self._counts: dict[AgePoint, NDArray[np.int64]] = {
            point: np.zeros(len(self._bounds) + 1, np.int64) for point in points
        }
        self._sums: dict[AgePoint, float] = dict.fromkeys(self._counts, 0.0)
        self._lock = threading.Lock()

    def observe(self, point: AgePoint, ages_s: ArrayLike) -> None:
        """Take in ages in seconds; below 0, which clocks that disagree give, counts as 0."""
        ages_B = np.maximum(np.asarray(ages_s, np.float64), 0.0)
        counts = np.bincount(np.searchsorted(self._bounds, ages_B), minlength=len(self._bounds) + 1)
        with self._lock:
            self._counts[point] += counts
            self._sums[point] += float(ages_B.sum())

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """The family without values."""
        yield HistogramMetricFamily(self._name, self._question, labels=["point"])

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The family as it is now."""
        family = HistogramMetricFamily(self._name, self._question, labels=["point"])
        bounds = [*map(str, AGE_BOUNDS_S), "+Inf"]
        with self._lock:
            for point, counts in self._counts.items():
                buckets = list(zip(bounds, np.cumsum(counts).tolist(), strict=True))
                family.add_metric([point], buckets=buckets, sum_value=self._sums[point])
        yield family


class Metrics:
    """All metrics of one process, over a registry of their own."""

    def __init__(self) -> None:
        # Times of creation would double the number of series.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=False)
        self.catalogue: list[Metric] = []

        self.documents = self._counters("documents_total", "outcome", 8, "What became of the rows that were read?")
        self.read_bytes = self._counter("read_bytes_total", "How much text is read?")
        self.rejections = self._counters(
            "rejections_total", "stage reason", 128, "Which stage drops documents when they are read, and why?"
        )
        self.taken_back = self._counters(
            "taken_back_total", "reason", 8, "Why are accepted documents not sent: not sampled, replaced, retracted?"
        )
        self.rule_failures = self._counters(
            "rule_failures_total", "rule", 96, "Which quality rules would drop how much, if they decided?"
        )
        self.dead_letters = self._counters("dead_letters_total", "reason", 32, "What cannot be read, and why?")
        self.set_aside = self._counter("set_aside_total", "Which rows ended the process twice, and are set aside?")
        self.removal_surges = self._counter(
            "removal_surges_total", "Does a source lose far more near-duplicates than it used to?"
        )
        self.document_age = self._ages(
            "document_age_seconds", ("received", "committed"), "How old are documents on arrival, and when committed?"
        )
        self.lag = self._gauges("lag_messages", "partition", MAX_PARTITIONS, "Is it falling behind, and where?")

        self.sequences = self._counter("sequences_total", "How many sequences come out?")
        self.tokens = self._counters(
            "tokens_total", "kind", 4, "Where do tokens go: accepted, emitted, emitted_again, taken_back?"
        )
        self.packing_tokens = self._counters(
            "packing_tokens_total", "kind", 4, "What are rows filled with: document, padding, padding_flushed?"
        )
        self.documents_cut = self._counter("documents_cut_total", "Is a document cut that would have fitted? Never.")
        self.documents_split = self._counter("documents_split_total", "How many documents are longer than a sequence?")
        self.held_documents = self._gauge("held_documents", "How many accepted documents wait for their row?")
        self.held_tokens = self._gauge("held_tokens", "How many accepted tokens were not sent yet?")

        self.retention_headroom = self._gauges(
            "retention_headroom_sequences",
            "lane",
            1,
            "How many sequences may retention still cut before a checkpoint of a training run cannot go on?",
        )

        self.embedding_version = self._gauge("embedding_version", "How often was the student trained?")
        self.embedding_known = self._gauge(
            "embedding_known_ratio", "Which share of the tokens that come does the student know?"
        )
        self.clusters = self._gauge("clusters", "How many clusters are there?")
        self.cluster_documents = self._gauges(
            "cluster_documents", "cluster", MAX_CLUSTERS, "How are documents spread over clusters?"
        )
        self.bandit_reward = self._gauges(
            "bandit_reward_mean", "cluster", MAX_CLUSTERS, "What is a cluster worth, in deviations from the mean?"
        )
        self.bandit_admission = self._gauges(
            "bandit_admission_ratio", "cluster", MAX_CLUSTERS, "With which probability is its next document admitted?"
        )
        self.policy_version = self._gauge("bandit_policy_version", "Does the bandit learn?")
        self.feedback = self._counters(
            "feedback_total", "outcome", 16, "Does feedback arrive, and is it learned: learned, duplicate, late, dead?"
        )

        self.loop_seconds = self._counters(
            "loop_seconds_total", "phase", 32, "Where does the loop spend its time? The rates of all phases sum to 1."
        )
        self.epochs = self._counter("epochs_total", "Is it committing?")
        self.epoch = self._gauge("epoch", "Which epoch was committed, or taken in, last?")
        self.epoch_documents = self._histogram("epoch_documents", EPOCH_BOUNDS, "Are epochs full?")
        self.commit_seconds = self._histogram(
            "commit_duration_seconds", DURATION_BOUNDS_S, "How long does a commit take?"
        )
        self.transaction_seconds = self._histogram(
            "transaction_duration_seconds", DURATION_BOUNDS_S, "How much of it is the broker's transaction?"
        )
        self.last_commit = self._gauge("last_commit_timestamp_seconds", "When was the last commit?")
        self.flushes = self._counter("flushes_total", "How often was everything let go because no input came?")

        self.journal_bytes = self._counter("journal_bytes_total", "How fast does the journal grow?")
        self.journal_uncut_bytes = self._gauge(
            "journal_uncut_bytes", "How much was written to the journal since it was last cut, by this process?"
        )
        self.journal_cuts = self._counter("journal_cuts_total", "Is the journal cut?")
        self.snapshots = self._counter("snapshots_total", "Are snapshots made?")
        self.snapshot_failures = self._counter("snapshot_failures_total", "Do snapshots fail?")
        self.snapshot_bytes = self._gauge("snapshot_bytes", "How large is the latest snapshot?")
        self.snapshot_seconds = self._gauge("snapshot_duration_seconds", "How long did the latest snapshot take?")
        self.last_snapshot = self._gauge("last_snapshot_timestamp_seconds", "When was the latest snapshot made?")
        self.restore_remaining = self._gauge("restore_remaining_epochs", "Is a restore progressing?")
        self.restores = self._counter("restores_total", "How often was the state restored?")
        self.state_free_bytes = self._gauge("state_disk_free_bytes", "Will the disk of the state fill up?")

        self.status = self._gauges("status", "status", 8, "What is the process doing? 1 for the one that it does.")
        self.owner = self._gauges("owner", "lane", 1, "Does this process own the lane? They sum to 1 over a lane.")
        self.broker_outages = self._counter("broker_outages_total", "How often was the broker away?")
        self.build_info = self._gauges("build_info", "version", 1, "Which version runs?")
        self.config_info = self._gauges("config_info", "hash", 1, "Do all processes run the same configuration?")

        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def _note(
        self,
        name: str,
        kind: Literal["counter", "gauge", "histogram"],
        question: str,
        labels: Sequence[str] = (),
        max_series: int = 1,
    ) -> str:
        self.catalogue.append(
            Metric(name=PREFIX + name, kind=kind, labels=tuple(labels), max_series=max_series, question=question)
        )
        return PREFIX + name

    def _counter(self, name: str, question: str) -> Counter:
        return Counter(self._note(name, "counter", question), question, registry=self.registry)

    def _counters(self, name: str, labels: str, limit: int, question: str) -> CounterFamily:
        names = labels.split()
        full_name = self._note(name, "counter", question, names, limit + 1)
        return CounterFamily(Counter(full_name, question, names, registry=self.registry), len(names), limit)

    def _gauge(self, name: str, question: str) -> Gauge:
        return Gauge(self._note(name, "gauge", question), question, registry=self.registry)

    def _gauges(self, name: str, label: str, limit: int, question: str) -> GaugeFamily:
        full_name = self._note(name, "gauge", question, [label], limit + 1)
        return GaugeFamily(Gauge(full_name, question, [label], registry=self.registry), limit)

    def _histogram(self, name: str, bounds: Sequence[float], question: str) -> Histogram:
        full_name = self._note(name, "histogram", question, max_series=len(bounds) + 3)
        return Histogram(full_name, question, buckets=bounds, registry=self.registry)

    def _ages(self, name: str, points: Sequence[AgePoint], question: str) -> AgeHistogram:
        full_name = self._note(name, "histogram", question, ["point"], len(points) * (len(AGE_BOUNDS_S) + 3))
        histogram = AgeHistogram(full_name, question, points)
        self.registry.register(histogram)
        return histogram
