"""Verdicts over files: a row for every decision, with the text of what was dropped, in shards of bounded size.

Rows wait as facts until their shard is full, so that shards hang on the documents alone: not on commits, nor on kills.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from kernels.columns import Texts
from state.chance import draw_unit
from state.epoch import Epoch, VerdictRow, VerdictShard
from state.fact_table import FactCell, FactOwner, FactTable, Table
from state.facts import DECIMAL, NUMBER, Facts, FactSource, Family, packed, single
from state.outcomes import LaterReason, Stage
from state.segments import NO_MATCH, Segment

SHARD_ROWS = 16_384
SHARD_TEXT = 32 << 20  # characters; a shard may have one text more
MAX_TEXT = 1 << 20  # characters of a text that are kept

# By the number of the first.
_OPEN_ROWS = Facts(Family("verdicts", "decisions whose file is not full"), NUMBER, packed(list[VerdictRow]))
_FIRST = single("next_verdict", DECIMAL)


class VerdictRows(FactOwner):
    """The rows of the shard that is not full. With `share` 0 nothing is written down.

    A `share` below 1 is a sample by hash of the id: an id is in it or not, in every run and version.
    """

    def __init__(self, *, share: float, seed: int) -> None:
        self._share, self._seed = share, seed
        self._rows: list[VerdictRow] = []
        self._text = 0  # characters of theirs
        self._first = FactCell(_FIRST, 0)  # number of the first of them
        self._parts = FactTable(_OPEN_ROWS)  # the same rows, as they came

    def tables(self) -> tuple[Table, ...]:
        """The rows, and the number of the first."""
        return self._first, self._parts

    def restored(self, committed: FactSource) -> None:
        """The rows in one piece."""
        self._rows = [row for part in self._parts.values() for row in part]
        self._text = _num_characters(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def note(self, segment: Segment, texts: Texts, epoch: Epoch) -> None:
        """The documents of a segment were decided."""
        if not self._share:
            return
        rows = np.arange(len(segment))
        if self._share < 1:
            chances_B = draw_unit(segment.keys("id_keys")[:, 0], seed=self._seed, purpose="verdicts")
            rows = rows[chances_B < self._share]
        self._add(_rows(segment, rows.tolist(), texts), epoch)

    def take_back(self, segment: Segment, row: int, reason: LaterReason, epoch: Epoch) -> None:
        """A document was retracted, or replaced: a row that says so. Its text goes from rows that are not written."""
        if not self._share:
            return
        doc_id = segment.ids[row]
        if any(other.doc_id == doc_id and other.text is not None for other in self._rows):
            kept = [msgspec.structs.replace(o, text=None) if o.doc_id == doc_id else o for o in self._rows]
            self._replace(kept)
        key = segment.keys("id_keys")[row : row + 1, 0]
        if self._share < 1 and not (draw_unit(key, seed=self._seed, purpose="verdicts") < self._share)[0]:
            return
        decided = _rows(segment, [row])[0]
        nothing = float("nan")
        self._add(
            [
                msgspec.structs.replace(
                    decided,
                    outcome="taken_back",
                    stage=Stage.DOCUMENTS,
                    reason=reason,
                    match=NO_MATCH,
                    value=nothing,
                    threshold=nothing,
                    quality=nothing,
                )
            ],
            epoch,
        )

    def flush(self, epoch: Epoch) -> None:
        """The input has ended, for now: the shard is written as it is."""
        if self._rows:
            self._emit(len(self._rows), epoch)

    def _add(self, rows: list[VerdictRow], epoch: Epoch) -> None:
        """At the end; every shard that becomes full goes out."""
        begin = len(self._rows)
        self._rows += rows
        if rows:
            self._parts[self._first.value + begin] = rows
        at = begin
        while at < len(self._rows):
            self._text += len(self._rows[at].text or "")
            at += 1
            if at == SHARD_ROWS or self._text >= SHARD_TEXT:
                self._emit(at, epoch)
                at = 0

    def _emit(self, count: int, epoch: Epoch) -> None:
        epoch.verdicts.append(VerdictShard(self._first.value, self._rows[:count]))
        self._first.value += count
        self._replace(self._rows[count:])
        self._text = 0

    def _replace(self, rows: list[VerdictRow]) -> None:
        """All facts of the open shard anew."""
        self._rows, self._text = rows, _num_characters(rows)
        self._parts.clear()
        if rows:
            self._parts[self._first.value] = list(rows)


def _num_characters(rows: Sequence[VerdictRow]) -> int:
    return sum(len(row.text or "") for row in rows)


def _rows(segment: Segment, wanted: Sequence[int], texts: Texts | None = None) -> list[VerdictRow]:
    """Rows of a segment, with the texts of those that were dropped."""
    columns = {
        name: segment.column(name, kind).tolist()
        for name, kind in (
            *(("input_index", np.uint32), ("source_index", np.uint32), ("language_index", np.uint32)),
            *(("outcome_index", np.uint16), ("values", np.float32), ("thresholds", np.float32)),
            *(("positions", np.int64), ("matches", np.int64), ("num_bytes", np.int64), ("num_tokens", np.int64)),
            ("qualities", np.float32),
        )
    }
    rows = []
    for row in wanted:
        stage, reason = segment.outcomes[columns["outcome_index"][row]]
        rows.append(
            VerdictRow(
                doc_id=segment.ids[row],
                input=segment.inputs[columns["input_index"][row]],
                position=columns["positions"][row],
                source=segment.sources[columns["source_index"][row]],
                outcome="rejected" if stage else "accepted",
                stage=stage,
                reason=reason,
                value=columns["values"][row],
                threshold=columns["thresholds"][row],
                match=columns["matches"][row],
                num_bytes=columns["num_bytes"][row],
                num_tokens=columns["num_tokens"][row],
                quality=columns["qualities"][row],
                language=segment.languages[columns["language_index"][row]],
                text=texts.beginning(row, MAX_TEXT) if stage and texts is not None else None,
            )
        )
    return rows
