"""Rewards: what trainers and scorers said, gathered until the next tick makes rewards of the bandit's arms of it.

Nothing here moves a belief. What came in since the last tick is state like any other, so a process that dies between
report and tick loses none of it and counts none of it twice. Every message ends as one outcome:

- a `Feedback` is learned from once: for each rank of a run the last `SEEN_STEPS` steps are remembered, a repetition is
  a `duplicate`, anything older is `late`; a step that the optimiser skipped says nothing. How losses become rewards is
  in curation/selection/loss_curves.py.
- a `Reward` counts as it is, for the source that bears its scorer's name. Rewards of one cluster by one scorer within a
  tick become their mean, which counts as many as they were. One for a document that waits for its tick waits with it.
  There is nothing to tell a repetition by.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import msgspec

from curation.selection.loss_curves import DAMPED, Curve, Losses, progress_rewards, sums_by_cluster
from curation.selection.reward_sources import PROGRESS, SCORER
from curatord.records import Feedback
from ops.readings import Counts
from state.fact_table import FactCell, FactOwner, FactTable, Table
from state.facts import NUMBER, NUMBERS, Facts, Family, packed, single

SEEN_STEPS = 512  # of each rank; a report that is delayed by more steps is lost
MAX_RUNS = 8  # the run that was silent for longest is forgotten for a new one
FORGOTTEN_HALF_LIVES = 20  # a curve weighs a millionth after them, and goes


class FeedbackConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[feedback]: how the losses of trainers become rewards of the bandit."""

    half_life_steps: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 200
    """Optimiser steps after which a reported loss weighs half. Well above the steps between sampling and training."""


class FeedbackCounts(msgspec.Struct, kw_only=True):
    """Outcomes of messages, over the life of the state, one each; then of sequences within reports."""

    learned: int = 0
    skipped: int = 0  # the optimiser did not take the step
    duplicate: int = 0
    late: int = 0
    unknown_sequences: int = 0  # a report of sequences none of which was emitted as it says
    unknown_cluster: int = 0  # a reward of a cluster that never was
    unknown_document: int = 0  # a reward of a document that was not read, or not accepted
    unused: int = 0  # the bandit is off, or learns from other sources
    dead: int = 0  # could not be read
    safe_point: int = 0  # of a run, which is kept elsewhere
    end_request: int = 0  # everything went out
    sequences_learned: int = 0
    sequences_unknown: int = 0  # of another generation, or never emitted
    sequences_mismatched: int = 0  # with another number of segments

    def counted(self) -> Counts:
        """The totals by metric and outcome."""
        return {("feedback_total", outcome): getattr(self, outcome) for outcome in self.__struct_fields__}


@dataclass(frozen=True, slots=True)
class ArmReward:
    """`count` rewards of mean `value`, for the bandit."""

    cluster: int
    value: float
    count: float
    source: str  # as [bandit] reward names it


class _State(msgspec.Struct, array_like=True):
    counts: FeedbackCounts
    is_heard: bool = False
    num_reports: int = 0  # the clock of the runs
    next_run: int = 0


class _Run(msgspec.Struct, array_like=True):
    run_id: str
    heard_at: int = 0
    step: int = 0  # the latest that was reported


class _Seen(msgspec.Struct, array_like=True):
    """Which of the last steps of a rank were reported: bit i of the little-endian bits is `step - i`."""

    step: int
    bits: bytes

    def outcome(self, step: int) -> str:
        """Take note of a step: it is new (""), "duplicate" or "late"."""
        bits, ahead = int.from_bytes(self.bits, "little"), step - self.step
        if ahead <= -SEEN_STEPS:
            return "late"
        if ahead <= 0:
            if bits >> -ahead & 1:
                return "duplicate"
            bits |= 1 << -ahead
        else:
            bits = (bits << ahead if ahead < SEEN_STEPS else 0) & ((1 << SEEN_STEPS) - 1) | 1
            self.step = step
        self.bits = bits.to_bytes(SEEN_STEPS // 8, "little")
        return ""


class _Gathered(msgspec.Struct, array_like=True):
    """Rewards of one cluster or document: those of scorers without a name, and those of the others by name."""

    count: float = 0
    total: float = 0.0
    named: dict[str, tuple[float, float]] = {}

    def add(self, scorer: str, value: float, count: float) -> None:
        """`count` rewards of mean `value`."""
        if scorer == SCORER:
            self.count, self.total = self.count + count, self.total + value * count
        else:
            known, total = self.named.get(scorer, (0.0, 0.0))
            self.named = {**self.named, scorer: (known + count, total + value * count)}

    def rewards(self, cluster: int) -> Iterator[ArmReward]:
        """One a scorer."""
        for scorer, (count, total) in ((SCORER, (self.count, self.total)), *sorted(self.named.items())):
            if count:
                yield ArmReward(cluster, total / count, float(count), scorer)


_FAMILY = Family("feedback", "a report of a trainer or scorer, until the next tick and beyond")
_STATE = single("feedback", packed(_State))
_RUNS = Facts(_FAMILY, NUMBER, packed(_Run), prefix=b"r")
CURVES = Facts(_FAMILY, NUMBERS, packed(Curve), prefix=b"c")  # by run, and cluster as it was when it was placed
_SEEN = Facts(_FAMILY, NUMBERS, packed(_Seen), prefix=b"d")  # by run and rank
_OF_CLUSTERS = Facts(_FAMILY, NUMBER, packed(_Gathered), prefix=b"p")
_OF_DOCUMENTS = Facts(_FAMILY, NUMBER, packed(_Gathered), prefix=b"w")  # that wait for their tick


class Rewards(FactOwner):
    """Everything that was heard and is not forgotten. Nothing raises."""

    def __init__(
        self, config: FeedbackConfig, *, sources: Collection[str] = (PROGRESS, SCORER), is_damped: bool = False
    ) -> None:
        self._half_life = config.half_life_steps
        self.sources = sources  # what the bandit learns from; the rest counts as unused
        self._credit = DAMPED if is_damped else 1.0
        self._cell = FactCell(_STATE, _State(FeedbackCounts()))
        self._runs = FactTable(_RUNS)
        self._curves = FactTable(CURVES)
        self._seen = FactTable(_SEEN)
        self._of_clusters = FactTable(_OF_CLUSTERS)
        self._of_documents = FactTable(_OF_DOCUMENTS)

    def tables(self) -> tuple[Table, ...]:
        """Everything that is remembered."""
        return self._cell, self._runs, self._curves, self._seen, self._of_clusters, self._of_documents

    @property
    def _state(self) -> _State:
        return self._cell.value

    @property
    def is_heard(self) -> bool:
        """Whether a trainer or a scorer ever gave a reward."""
        return self._state.is_heard

    @property
    def counts(self) -> FeedbackCounts:
        """Outcomes of messages."""
        return self._state.counts

    def count(self, outcome: str, number: int = 1) -> None:
        """One more message, or `number` more sequences, of a field of `FeedbackCounts`."""
        setattr(self._state.counts, outcome, getattr(self._state.counts, outcome) + number)

    def admit(self, report: Feedback) -> bool:
        """Whether to learn from a report; if not, why is counted. It is known from now on."""
        key = self._run(report.run_id), report.rank
        seen = self._seen.setdefault(key, _Seen(report.step, bytes(SEEN_STEPS // 8)))
        outcome = seen.outcome(report.step)
        self._seen.touch(key)
        if not outcome and report.skipped:
            outcome = "skipped"
        if outcome:
            self.count(outcome)
        return not outcome

    def observe(self, run_id: str, step: int, losses: Losses) -> None:
        """Losses of one step that one rank reported."""
        run = self._run(run_id)
        for cluster, sums in sums_by_cluster(losses).items():
            self._curves.setdefault((run, cluster), Curve(step)).add(step, sums, self._half_life)
            self._curves.touch((run, cluster))
        self._runs[run].step = max(self._runs[run].step, step)

    def reward_cluster(self, cluster: int, value: float, scorer: str = SCORER, count: float = 1.0) -> None:
        """`count` rewards of mean `value` of a cluster that there is."""
        self._of_clusters.setdefault(cluster, _Gathered()).add(scorer, value, count)
        self._of_clusters.touch(cluster)

    def reward_document(self, doc_no: int, value: float, scorer: str = SCORER, count: float = 1.0) -> None:
        """The same of a document that waits for its tick."""
        self._of_documents.setdefault(doc_no, _Gathered()).add(scorer, value, count)
        self._of_documents.touch(doc_no)

    def take(
        self, survivor: Callable[[int], int | None], cluster_of: Callable[[int], int | None], *, last_doc_no: int
    ) -> list[ArmReward]:
        """The tick: what was gathered since the last one, of documents up to its last.

        `survivor` is what became of a cluster, `cluster_of` says where a document is; either may be unknown.
        """
        documents = sorted(doc_no for doc_no in self._of_documents if doc_no <= last_doc_no)
        rewards = [reward for cluster, of_it in sorted(self._of_clusters.items()) for reward in of_it.rewards(cluster)]
        for doc_no in documents:
            cluster, of_it = cluster_of(doc_no), self._of_documents.pop(doc_no)
            if cluster is not None:
                rewards += of_it.rewards(cluster)
        curves: dict[int, dict[int, Curve]] = {}
        for (run, cluster), curve in sorted(self._curves.items(), key=lambda entry: entry[0]):
            curves.setdefault(run, {})[cluster] = curve
        for run, of_run in curves.items():
            rewards += self._progress(run, of_run)
        self._of_clusters.clear()
        taken = []
        for reward in rewards:
            cluster = survivor(reward.cluster)
            if cluster is not None and reward.source in self.sources:
                taken.append(replace(reward, cluster=cluster))
        if taken and not self._state.is_heard:
            self._state.is_heard = True
        return taken

    def _progress(self, run: int, curves: dict[int, Curve]) -> list[ArmReward]:
        """Rewards of a run's fresh clusters, which are fresh no longer; `curves` are in the order of clusters."""
        step = self._runs[run].step
        fresh = [cluster for cluster, curve in curves.items() if curve.is_fresh]
        if not fresh:
            return []
        rewards = progress_rewards(curves, step - self._half_life, credit=self._credit)
        for cluster in fresh:
            curves[cluster].is_fresh = False
            self._curves.touch((run, cluster))
        oldest = step - FORGOTTEN_HALF_LIVES * self._half_life
        for cluster in [cluster for cluster, curve in curves.items() if curve.step < oldest]:
            del self._curves[run, cluster]
        return [ArmReward(cluster, value, count, PROGRESS) for cluster, value, count in rewards]

    def _run(self, run_id: str) -> int:
        """The number of a run that is heard now."""
        self._state.num_reports += 1
        number = next((number for number, run in self._runs.items() if run.run_id == run_id), None)
        if number is None:
            if len(self._runs) == MAX_RUNS:
                self._forget(min(self._runs, key=lambda other: self._runs[other].heard_at))
            number = self._state.next_run
            self._state.next_run += 1
            self._runs[number] = _Run(run_id)
        self._runs[number].heard_at = self._state.num_reports
        self._runs.touch(number)
        return number

    def _forget(self, run: int) -> None:
        for table in (self._curves, self._seen):
            for key in [key for key in table if key[0] == run]:
                del table[key]
        del self._runs[run]
