"""A topic with its archive as one source: sequences that retention has cut are read from the archive, without a seam.

`curatord archive` writes the archive, from the same topic and with the same numbers. Reading begins on the topic where
that still has the number, else in the archive, and goes over to the topic where the archive ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from curatord.errors import RetentionLost
from curatord.sequence import EndOfStream
from curatord.source import Bounds, Found, Plan, Source

if TYPE_CHECKING:  # it needs pyarrow
    from curatord.folder import FolderSource


class ArchivedTopic:
    """The sequences of a topic, the older ones from its archive."""

    def __init__(self, topic: Source, archive: FolderSource) -> None:
        self.identity = topic.identity
        self._topic, self._archive = topic, archive

    def bounds(self, generation: int | None) -> Bounds:
        found = self._topic.bounds(generation)
        archived = self._archived(found.generation)
        if archived.first <= found.first <= archived.end:
            return replace(found, first=archived.first)
        return found

    def _archived(self, generation: int) -> Bounds:
        """The numbers in the archive; none of a generation that it does not have yet."""
        if generation not in self._archive.generations():
            return Bounds(generation=generation, first=0, end=0)
        return self._archive.bounds(generation)

    def stop_from(self, generation: int, first: int) -> int:
        return self._topic.stop_from(generation, first)

    def newest(self) -> int:
        return max(self._topic.newest(), self._archive.newest())

    def read(self, plan: Plan) -> Iterator[Found | EndOfStream | None]:
        at = plan.first  # the next number, of any rank
        if at < self._topic.bounds(plan.generation).first:
            end = self._archived(plan.generation).end
            yield from self._from_archive(replace(plan, first=at), end)
            at = max(at, end)
        while True:
            try:
                for item in self._topic.read(replace(plan, first=at)):
                    if isinstance(item, Found):
                        at = item.seq_no + 1
                    yield item
                return
            except RetentionLost:  # the topic was cut while the archive was read, or since
                end = self._archived(plan.generation).end
                if end <= at:
                    raise
            yield from self._from_archive(replace(plan, first=at), end)
            at = end

    def _from_archive(self, plan: Plan, end: int) -> Iterator[Found]:
        """The sequences before `end`. Where the stream ended before is for the topic to say."""
        for item in self._archive.read(plan):
            if not isinstance(item, Found) or item.seq_no >= end:
                return
            yield item

    def close(self) -> None:
        self._topic.close()
        self._archive.close()
