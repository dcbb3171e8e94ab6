"""Ticks: accepted documents wait until the ordinals of their tick are complete, and again after a restart."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from curation.dedup.retracted import Retracted
from curation.ticks import Accepted, TickBuffer, boundaries
from state.common_facts import TICKED
from state.fact_table import FactCell, FactOwner, Table
from state.segments import Segment


class Ticks(FactOwner):
    """The documents that no tick has taken, and how far the ticks are."""

    def __init__(self, models: Sequence[str] = ()) -> None:
        self._models = tuple(models)  # whose scores documents bring along
        self.waiting = TickBuffer()
        self._ticked = FactCell(TICKED, 0)  # documents with a lower ordinal were taken by their tick
        self._unticked: deque[Segment] = deque()  # of a restore: they may hold documents that no tick has taken

    def tables(self) -> tuple[Table, ...]:
        """How far the ticks are."""
        return (self._ticked,)

    def complete(self, first: int, last: int, is_warm: Callable[[Accepted], bool]) -> Iterator[Accepted]:
        """The ticks that an input completes when it moves from ordinal `first` to `last`.

        `is_warm` is asked at every boundary, with the documents that wait before it; they go on waiting if it is not.
        """
        for boundary in boundaries(first, last):
            yield from self.rest(boundary, is_warm)

    def rest(self, boundary: int, is_warm: Callable[[Accepted], bool]) -> Iterator[Accepted]:
        """All that wait before a boundary, a tick at a time."""
        if is_warm(self.waiting.until(boundary)):
            self._ticked.value = boundary
            yield from self.waiting.take(boundary)

    def index(self, segment: Segment, ticked: int) -> None:
        """A segment of committed documents, of which some may wait; the ticks had come to `ticked` then."""
        self._unticked.append(segment)
        if segment.last_ordinal < ticked:
            self._unticked.clear()

    def follow(self, ticked: int) -> None:
        """Another process has come this far."""
        while self._unticked and self._unticked[0].last_ordinal < ticked:
            self._unticked.popleft()

    def restore_waiting(self, retracted: Retracted) -> None:
        """Documents that no tick has taken wait again."""
        for segment in self._unticked:
            ordinals_B = segment.column("ordinals", np.int64)
            doc_nos_B = segment.doc_nos()
            waits_B = (ordinals_B >= self._ticked.value) & segment.having(lambda stage, reason: not stage)
            waits_B &= ~retracted.among(doc_nos_B)
            rows_B = np.flatnonzero(waits_B)
            sources = segment.column("source_index", np.uint32)[rows_B]
            languages = segment.column("language_index", np.uint32)[rows_B]
            self.waiting.add(
                Accepted(
                    ordinals_B=ordinals_B[rows_B],
                    doc_nos_B=doc_nos_B[rows_B],
                    keys_B=segment.keys("id_keys")[rows_B, 0],
                    sources=tuple([segment.sources[source] for source in sources.tolist()]),
                    languages=tuple([segment.languages[language] for language in languages.tolist()]),
                    qualities_B=segment.column("qualities", np.float32)[rows_B],
                    scores_BM=segment.measured(self._models)[rows_B],
                    num_tokens_B=segment.column("num_tokens", np.int64)[rows_B],
                )
            )
        self._unticked.clear()
