"""Examples: a few documents of everything that is dropped, with the beginning of their texts.

Of each stage and reason those with the smallest id hashes are kept: a sample that hangs on the ids alone, and costs a
comparison for most documents. What a run shows of them needs no second look at the inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernels.columns import Texts
from state.fact_table import FactOwner, FactTable, Table
from state.facts import TEXT, Facts, FactSource, Family, packed
from state.outcomes import Outcome, Stage, outcome_key, split_key
from state.segments import Segment

EXAMPLES = 4  # of each reason
MAX_TEXT = 1000  # characters of each


class Example(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Fact: a document that was dropped."""

    priority: int  # the smallest stay
    doc_no: int
    doc_id: str
    value: float  # what was measured; NaN without
    threshold: float
    match: int  # doc_no of the document that it resembles; -1 without
    text: str  # its beginning


# By "stage reason".
_EXAMPLES = Facts(Family("examples", "some documents that were dropped for one reason"), TEXT, packed(list[Example]))


class Examples(FactOwner):
    """Some documents of each stage and reason."""

    def __init__(self) -> None:
        self._kept = FactTable(_EXAMPLES)

    def tables(self) -> tuple[Table, ...]:
        """The examples."""
        return (self._kept,)

    def note(
        self,
        segment: Segment,
        rows_by_outcome: Mapping[Outcome, NDArray[np.intp]],
        texts: Texts,
    ) -> None:
        """The documents of a segment were decided."""
        priorities_B = segment.keys("id_keys")[:, 1]
        for (stage, reason), rows in rows_by_outcome.items():
            if not stage or not reason or not len(rows):
                continue
            key = outcome_key(stage, reason)
            kept = self._kept.get(key, [])
            worst = kept[-1].priority if len(kept) == EXAMPLES else 1 << 64
            chosen = rows if worst >= 1 << 64 else rows[priorities_B[rows] < np.uint64(worst)]
            if len(chosen):
                self._keep(key, segment, chosen[np.argsort(priorities_B[chosen])[:EXAMPLES]], texts)

    def _keep(self, key: str, segment: Segment, rows: NDArray[np.intp], texts: Texts) -> None:
        priorities = segment.keys("id_keys")[:, 1]
        columns: list[NDArray[Any]] = [
            segment.column("values", np.float32),
            segment.column("thresholds", np.float32),
            segment.column("matches", np.int64),
        ]
        kept = list(self._kept.get(key, []))
        for row in rows.tolist():
            value, threshold, match = (column[row].item() for column in columns)
            kept.append(
                Example(
                    priority=int(priorities[row]),
                    doc_no=segment.first + row,
                    doc_id=segment.ids[row],
                    value=value,
                    threshold=threshold,
                    match=match,
                    text=texts.beginning(row, MAX_TEXT),
                )
            )
        self._kept[key] = sorted(kept, key=lambda example: (example.priority, example.doc_no))[:EXAMPLES]

    def remove(self, doc_no: int) -> None:
        """A document was taken back: its text must not stay."""
        for key, kept in self._kept.items():
            if any(example.doc_no == doc_no for example in kept):
                self._kept[key] = [example for example in kept if example.doc_no != doc_no]


def read_examples(committed: FactSource) -> dict[tuple[Stage, str], list[Example]]:
    """Kept examples, by (stage, reason)."""
    return {split_key(key): kept for key, kept in _EXAMPLES.items(committed)}
