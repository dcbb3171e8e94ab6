"""Safe points: from where on each training run may still read, which is what retention must not cut.

A run says so with every checkpoint that it lets go; what it said last counts, and once it has ended, nothing. A run
that died without a word is forgotten when `MAX_RUNS` others were heard after it.
"""

from __future__ import annotations

import msgspec

from curatord.records import SafePoint
from state.fact_table import FactOwner, FactTable, Table
from state.facts import TEXT, Facts, FactSource, Family, packed

MAX_RUNS = 64


class _Fact(msgspec.Struct, frozen=True, array_like=True):
    """By the run's id."""

    generation: int
    safe_seq_no: int
    heard_at: int  # larger than that of every run that was heard before


_FACTS = Facts(
    Family("safe_points", "a training run, and from where on it may still read"), key=TEXT, value=packed(_Fact)
)


class SafePoints(FactOwner):
    """The newest of every run. Nothing raises."""

    def __init__(self) -> None:
        self._runs = FactTable(_FACTS)

    def tables(self) -> tuple[Table, ...]:
        """The newest of every run."""
        return (self._runs,)

    def take(self, point: SafePoint) -> None:
        """A run was heard."""
        self._runs.pop(point.run_id, None)
        if point.safe_seq_no < 0:
            return
        if len(self._runs) == MAX_RUNS:
            del self._runs[min(self._runs, key=lambda run: self._runs[run].heard_at)]
        heard_at = 1 + max((fact.heard_at for fact in self._runs.values()), default=0)
        self._runs[point.run_id] = _Fact(point.generation, point.safe_seq_no, heard_at)

    def oldest(self, generation: int) -> SafePoint | None:
        """The one that retention reaches first; None if no run reads this generation."""
        points = [_point(run_id, fact) for run_id, fact in self._runs.items() if fact.generation == generation]
        return min(points, key=lambda point: point.safe_seq_no, default=None)


def read_safe_points(committed: FactSource) -> list[SafePoint]:
    """Those that were committed, by run."""
    return [_point(run_id, fact) for run_id, fact in _FACTS.items(committed)]


def _point(run_id: str, fact: _Fact) -> SafePoint:
    return SafePoint(run_id=run_id, generation=fact.generation, safe_seq_no=fact.safe_seq_no)
