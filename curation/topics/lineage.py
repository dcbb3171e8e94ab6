"""Lineage: how the ids of clusters changed, so that every id there ever was leads to a cluster of today."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from state.epoch import Epoch
from state.facts import NUMBERS, Facts, FactSource, Family, packed

Kind = Literal["founded", "split", "merged"]


class LineageEvent(msgspec.Struct, frozen=True, kw_only=True):
    """How ids changed. Ids are never used again.

    founded: parents = (the nearest cluster,), children = (the new one,);
    split: parents = (p,), children = (p, the new one); merged: parents = (winner, loser), children = (winner,).
    """

    kind: Kind
    tick: int
    parents: tuple[int, ...]
    children: tuple[int, ...]


_EVENTS = Facts(Family("lineage", "a cluster began, split, or was merged"), NUMBERS, packed(LineageEvent))


def write_events(events: Sequence[LineageEvent], epoch: Epoch) -> None:
    """The events of a tick are facts from now on, by tick and number."""
    for number, event in enumerate(events):
        _EVENTS.put(epoch, (event.tick, number), event)


class Lineage:
    """All events, of which only the merges are remembered.

    >>> lineage = Lineage()
    >>> lineage.merged(tick=1, winner=3, loser=5)
    >>> lineage.merged(tick=2, winner=1, loser=3)
    >>> lineage.successor(5), lineage.successor(1)
    (1, 1)
    """

    def __init__(self) -> None:
        self._successors: dict[int, int] = {}  # what was merged -> into what
        self._untold: list[LineageEvent] = []

    def founded(self, *, tick: int, nearest: int, new: int) -> None:
        """A cluster began beside another."""
        self._add(LineageEvent(kind="founded", tick=tick, parents=(nearest,), children=(new,)))

    def split(self, *, tick: int, parent: int, new: int) -> None:
        """A part of a cluster left it."""
        self._add(LineageEvent(kind="split", tick=tick, parents=(parent,), children=(parent, new)))

    def merged(self, *, tick: int, winner: int, loser: int) -> None:
        """One cluster took another in."""
        self._add(LineageEvent(kind="merged", tick=tick, parents=(winner, loser), children=(winner,)))

    def _add(self, event: LineageEvent) -> None:
        self._succeed(event)
        self._untold.append(event)

    def _succeed(self, event: LineageEvent) -> None:
        if event.kind == "merged":
            winner, loser = event.parents
            self._successors[loser] = winner

    def successor(self, cluster: int) -> int:
        """The id that an id was merged into in the end; itself if it was not."""
        first = cluster
        while cluster in self._successors:
            cluster = self._successors[cluster]
        if first != cluster:
            self._successors[first] = cluster  # a merged cluster is never divided again
        return cluster

    def take(self) -> list[LineageEvent]:
        """The events since the last call, in order."""
        events, self._untold = self._untold, []
        return events

    def restore(self, committed: FactSource) -> None:
        """Remember all events again."""
        for _, event in _EVENTS.items(committed):
            self._succeed(event)
