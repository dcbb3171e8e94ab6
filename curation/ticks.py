"""Ticks: accepted documents wait until the 512 input ordinals they came with are complete.

Everything that learns (clusters, bandit, mixture, pool) sees whole ticks. Where a batch or a commit ended therefore
leaves no trace: only the order of the documents counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import groupby

import msgspec

TICK_ORDINALS = 512


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """An accepted document that no tick has taken yet."""

    ordinal: int
    doc_no: int
    key: int  # 64-bit hash of its id
    source: str
    quality: float
    num_tokens: int


class TickBuffer:
    """Documents in the order of their ordinals.

    >>> buffer = TickBuffer()
    >>> for ordinal in (3, 511, 512, 1030):
    ...     buffer.add(Waiting(ordinal, ordinal, 0, "", 1.0, 10))
    >>> [[document.ordinal for document in tick] for tick in buffer.take(before=1024)]
    [[3, 511], [512]]
    >>> len(buffer)
    1
    """

    def __init__(self) -> None:
        self._documents: deque[Waiting] = deque()

    def __len__(self) -> int:
        return len(self._documents)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._documents)

    def add(self, document: Waiting) -> None:
        """The next document."""
        self._documents.append(document)

    def count(self, before: int) -> int:
        """Documents with an ordinal below `before`."""
        return sum(document.ordinal < before for document in self._documents)

    def take(self, before: int) -> list[list[Waiting]]:
        """Remove the documents with an ordinal below `before`, one list a tick."""
        taken = []
        while self._documents and self._documents[0].ordinal < before:
            taken.append(self._documents.popleft())
        return [list(tick) for _, tick in groupby(taken, key=lambda document: document.ordinal // TICK_ORDINALS)]

    def remove(self, doc_no: int) -> bool:
        """A retracted document leaves; whether it was here."""
        kept = deque(document for document in self._documents if document.doc_no != doc_no)
        removed = len(kept) < len(self._documents)
        self._documents = kept
        return removed


def boundaries(first: int, last: int) -> range:
    """The tick boundaries b with first < b <= last: what an input that moves from ordinal `first` to `last` completes.

    >>> list(boundaries(511, 1024)), list(boundaries(512, 1023))
    ([512, 1024], [])
    """
    return range((first // TICK_ORDINALS + 1) * TICK_ORDINALS, last + 1, TICK_ORDINALS)
