"""Ticks: accepted documents wait until the 512 input ordinals they came with are complete.

Everything that learns (clusters, bandit, mixture, pool) sees whole ticks. Where a batch or a commit ended therefore
leaves no trace: only the order of the documents counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

TICK_ORDINALS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """B documents that were accepted, in the order of their ordinals, with the scores of M models.

    Their tokens are held.
    """

    ordinals_B: NDArray[np.int64]
    doc_nos_B: NDArray[np.int64]
    keys_B: NDArray[np.uint64]  # hash of the document's id: the source of randomness, never the position
    sources: tuple[str, ...]
    languages: tuple[str, ...]
    qualities_B: NDArray[np.float32]  # 0 (worst) to 1
    scores_BM: NDArray[np.float32]  # by models, in the order of their names; NaN where unknown
    num_tokens_B: NDArray[np.int64]

    @property
    def tick_no(self) -> int:
        """The number of the tick that they are of."""
        return int(self.ordinals_B[0]) // TICK_ORDINALS

    def __len__(self) -> int:
        return len(self.sources)

    def take(self, rows_B: NDArray[np.int64]) -> Accepted:
        """The documents in these rows."""
        return Accepted(
            ordinals_B=self.ordinals_B[rows_B],
            doc_nos_B=self.doc_nos_B[rows_B],
            keys_B=self.keys_B[rows_B],
            sources=tuple([self.sources[row] for row in rows_B.tolist()]),
            languages=tuple([self.languages[row] for row in rows_B.tolist()]),
            qualities_B=self.qualities_B[rows_B],
            scores_BM=self.scores_BM[rows_B],
            num_tokens_B=self.num_tokens_B[rows_B],
        )


def join_accepted(parts: Sequence[Accepted]) -> Accepted:
    """The documents of several parts, one behind the other."""
    if not parts:
        return NONE_ACCEPTED
    return Accepted(
        ordinals_B=np.concatenate([part.ordinals_B for part in parts]),
        doc_nos_B=np.concatenate([part.doc_nos_B for part in parts]),
        keys_B=np.concatenate([part.keys_B for part in parts]),
        sources=tuple([source for part in parts for source in part.sources]),
        languages=tuple([language for part in parts for language in part.languages]),
        qualities_B=np.concatenate([part.qualities_B for part in parts]),
        scores_BM=np.concatenate([part.scores_BM for part in parts]),
        num_tokens_B=np.concatenate([part.num_tokens_B for part in parts]),
    )


NONE_ACCEPTED = Accepted(
    ordinals_B=np.zeros(0, np.int64),
    doc_nos_B=np.zeros(0, np.int64),
    keys_B=np.zeros(0, np.uint64),
    sources=(),
    languages=(),
    qualities_B=np.zeros(0, np.float32),
    scores_BM=np.zeros((0, 0), np.float32),
    num_tokens_B=np.zeros(0, np.int64),
)


class TickBuffer:
    """Documents that no tick has taken, in the order of their ordinals."""

    def __init__(self) -> None:
        self._parts: list[Accepted] = []

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __contains__(self, doc_no: int) -> bool:
        return any(bool((part.doc_nos_B == doc_no).any()) for part in self._parts)

    def add(self, documents: Accepted) -> None:
        """The next documents."""
        if len(documents):
            self._parts.append(documents)

    def until(self, before: int | None = None) -> Accepted:
        """The documents with an ordinal below `before`, or all."""
        waiting = join_accepted(self._parts)
        if before is None:
            return waiting
        return waiting.take(np.arange(np.searchsorted(waiting.ordinals_B, before)))

    def take(self, before: int) -> list[Accepted]:
        """Remove the documents with an ordinal below `before`, one part a tick."""
        waiting = join_accepted(self._parts)
        end = int(np.searchsorted(waiting.ordinals_B, before))
        self._parts.clear()
        self.add(waiting.take(np.arange(end, len(waiting))))
        ticks_B = waiting.ordinals_B[:end] // TICK_ORDINALS
        bounds = [0, *(np.flatnonzero(np.diff(ticks_B)) + 1).tolist(), end]
        return [waiting.take(np.arange(first, last)) for first, last in pairwise(bounds) if last > first]

    def remove(self, doc_no: int) -> bool:
        """A retracted document leaves; whether it was here."""
        for place, part in enumerate(self._parts):
            kept_B = np.flatnonzero(part.doc_nos_B != doc_no)
            if len(kept_B) < len(part):
                self._parts[place] = part.take(kept_B)
                return True
        return False


def boundaries(first: int, last: int) -> range:
    """The tick boundaries b with first < b <= last: what an input that moves from ordinal `first` to `last` completes.

    >>> list(boundaries(511, 1024)), list(boundaries(512, 1023))
    ([512, 1024], [])
    """
    return range((first // TICK_ORDINALS + 1) * TICK_ORDINALS, last + 1, TICK_ORDINALS)
