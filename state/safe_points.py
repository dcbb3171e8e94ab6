"""Safe points: from where on each training run may still read, which is what retention must not cut.

A run says so with every checkpoint that it lets go; what it said last counts, and once it has ended, nothing. A run
that died without a word is forgotten when `MAX_RUNS` others were heard after it.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from curatord.records import SafePoint
from state.changes import take_changes
from state.store import Store

FAMILY = "safe_points"
MAX_RUNS = 64


class _Fact(msgspec.Struct, frozen=True, array_like=True):
    """By the run's id."""

    generation: int
    safe_seq_no: int
    heard_at: int  # larger than that of every run that was heard before


class SafePoints:
    """The newest of every run. Nothing raises."""

    def __init__(self) -> None:
        self._runs: dict[bytes, _Fact] = {}
        self._changed: set[bytes] = set()
        self._written: set[bytes] = set()

    def take(self, point: SafePoint) -> None:
        """A run was heard."""
        key = _key(point.run_id)
        self._changed.add(key)
        self._runs.pop(key, None)
        if point.safe_seq_no < 0:
            return
        if len(self._runs) == MAX_RUNS:
            longest_unheard = min(self._runs, key=lambda run: self._runs[run].heard_at)
            del self._runs[longest_unheard]
            self._changed.add(longest_unheard)
        heard_at = 1 + max((fact.heard_at for fact in self._runs.values()), default=0)
        self._runs[key] = _Fact(point.generation, point.safe_seq_no, heard_at)

    def oldest(self, generation: int) -> SafePoint | None:
        """The one that retention reaches first; None if no run reads this generation."""
        points = [_point(key, fact) for key, fact in self._runs.items() if fact.generation == generation]
        return min(points, key=lambda point: point.safe_seq_no, default=None)

    def changes(self) -> Iterator[tuple[bytes, bytes | None]]:
        """The facts that changed since the last call; a run that came and went in between is none."""
        return take_changes(self._changed, self._written, self._runs.get)

    def apply(self, key: bytes, value: bytes | None) -> None:
        """Put one fact back."""
        if value is None:
            self._written.discard(key)
            self._runs.pop(key, None)
        else:
            self._written.add(key)
            self._runs[key] = _decode(value)


def read_safe_points(store: Store) -> list[SafePoint]:
    """Those that were committed, by run."""
    return [_point(key, _decode(value)) for key, value in store.items(FAMILY)]


_decode = msgspec.msgpack.Decoder(_Fact).decode


def _key(run_id: str) -> bytes:
    return run_id.encode("utf-8", "surrogatepass")


def _point(key: bytes, fact: _Fact) -> SafePoint:
    run_id = key.decode("utf-8", "surrogatepass")
    return SafePoint(run_id=run_id, generation=fact.generation, safe_seq_no=fact.safe_seq_no)
