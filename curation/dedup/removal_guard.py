"""An alarm for sources that suddenly lose far more documents than they used to.

Near-duplicate removal goes wrong quietly: a template that swallows its pages, a crawler that fetches one page for
ever. The guard counts documents and removals of every source in windows of `window_documents`. When a window
closes, its removal rate is compared with the usual one, an average of the source's earlier windows that forgets with
`SMOOTHING`; a rate above it by more than `max_excess` is an event, and then part of the history too, so that a
lasting change is reported once or a few times. Counted in documents, never in time: the same documents in the same
order give the same events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from state.epoch import RemovalSurge
from state.fact_table import FactOwner, FactTable, Table
from state.facts import TEXT, Facts, Family, packed

SMOOTHING: Final = 0.1
MIN_WINDOWS: Final = 2

# Sources beyond this number are counted together under one name.
MAX_SOURCES: Final = 10_000
OTHER_SOURCES: Final = "(other sources)"


class SourceHistory(msgspec.Struct, array_like=True):
    """Windows of one source: the open one and the closed ones."""

    num_documents: int = 0
    num_removed: int = 0
    num_windows: int = 0
    usual_rate: float = 0.0


_HISTORIES = Facts(
    Family("guard", "a source, and how many of its documents near-dedup removes"), TEXT, packed(SourceHistory)
)


class RemovalGuard(FactOwner):
    """Removal rates by source."""

    def __init__(self, *, window_documents: int, max_excess: float) -> None:
        self.window_documents = window_documents
        self.max_excess = max_excess
        self._histories = FactTable(_HISTORIES)

    def tables(self) -> tuple[Table, ...]:
        """The windows of each source."""
        return (self._histories,)

    def observe(self, sources: Sequence[str], removed_B: NDArray[np.bool_]) -> list[RemovalSurge]:
        """Count documents in input order; the surges of the windows that they close."""
        surges = []
        for source, removed in zip(sources, removed_B.tolist(), strict=True):
            history = self._histories.get(source)
            if history is None:
                source = source if len(self._histories) < MAX_SOURCES else OTHER_SOURCES
                history = self._histories.setdefault(source, SourceHistory())
            history.num_documents += 1
            history.num_removed += removed
            self._histories.touch(source)
            if history.num_documents >= self.window_documents:  # it may be more where the option was lowered
                surges += self._close_window(source, history)
        return surges

    def _close_window(self, source: str, history: SourceHistory) -> list[RemovalSurge]:
        rate, usual_rate = history.num_removed / history.num_documents, history.usual_rate
        is_surge = history.num_windows >= MIN_WINDOWS and rate > usual_rate + self.max_excess
        history.num_windows += 1
        history.usual_rate += (rate - usual_rate) * max(SMOOTHING, 1 / history.num_windows)
        history.num_documents = history.num_removed = 0
        return [RemovalSurge(source=source, rate=rate, usual_rate=usual_rate)] if is_surge else []
