"""Rows: what the packer gives out, and the shuffled blocks that closed rows wait in.

Rows close in the order of the documents that filled them, so neighbours are alike; a trainer wants them apart. Rows
are therefore shuffled in blocks of consecutive ordinals, by a hash of (seed, ordinal), and get their dense `seq_no`
when their block is complete. Block limits are counted in rows, never in time or commits: the same documents give the
same sequences however the work was cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from ops.readings import Counts
from packing.pieces import PACKING, Pieces
from state.chance import draw
from state.fact_table import FactCell, FactOwner, FactTable, Table
from state.facts import NUMBER, Facts, packed, single


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """R training sequences in their final places, in that order; a filler has no pieces."""

    generation: int  # counts the changes of the context length
    seq_nos_R: NDArray[np.int64]  # dense within the generation
    bounds_R1: NDArray[np.int64]  # row r has the pieces bounds_R1[r] to bounds_R1[r + 1]
    pieces_S: Pieces

    def __len__(self) -> int:
        return len(self.seq_nos_R)

    def part(self, first: int, end: int) -> Rows:
        """The rows [first, end)."""
        bounds_R1 = self.bounds_R1[first : end + 1]
        pieces_S = self.pieces_S[bounds_R1[0] : bounds_R1[-1]]
        return replace(self, seq_nos_R=self.seq_nos_R[first:end], bounds_R1=bounds_R1 - bounds_R1[0], pieces_S=pieces_S)


class PackingStats(msgspec.Struct, frozen=True, kw_only=True):
    """Counts over all rows that ever closed, less what was retracted before it was given out."""

    rows: int = 0
    rows_flushed: int = 0
    pieces: int = 0
    tokens: int = 0
    room: int = 0  # tokens that the rows could hold; context lengths may differ
    room_flushed: int = 0
    padding_tokens: int = 0  # in rows that closed by themselves
    padding_tokens_flushed: int = 0
    documents_cut: int = 0  # pieces of documents that would have fitted a row whole: must be 0
    documents_split: int = 0  # documents longer than a row, of those added
    cosine_sum: float = 0.0  # over all ordered pairs of pieces within a row
    cosine_pairs: int = 0
    longest_wait: int = 0  # in arrivals: until the pick (sculpt), until the row closed (best_fit)

    def counted(self) -> Counts:
        """The totals by metric and labels."""
        return {
            ("packing_tokens_total", "document"): self.tokens,
            ("packing_tokens_total", "padding"): self.padding_tokens,
            ("packing_tokens_total", "padding_flushed"): self.padding_tokens_flushed,
            ("documents_cut_total",): self.documents_cut,
            ("documents_split_total",): self.documents_split,
        }

    @property
    def pieces_per_row(self) -> float:
        """Mean number of pieces."""
        return self.pieces / max(self.rows, 1)

    @property
    def padding(self) -> float:
        """Share of the room of rows that closed by themselves."""
        return self.padding_tokens / max(self.room - self.room_flushed, 1)

    @property
    def padding_flushed(self) -> float:
        """Share of the room of rows that were closed by a flush."""
        return self.padding_tokens_flushed / max(self.room_flushed, 1)

    @property
    def coherence(self) -> float:
        """Mean cosine of two pieces of one row, over rows with at least two."""
        return self.cosine_sum / max(self.cosine_pairs, 1)


class ClosedRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A row as its pieces' numbers; `seq_no` is None until its block is complete."""

    ordinal: int
    numbers: tuple[int, ...]
    flushed: bool
    seq_no: int | None = None


class Generation(msgspec.Struct, frozen=True, array_like=True):
    """Sequences of one context length, numbered from 0."""

    context_length: int
    sequences: int


class _Counters(msgspec.Struct, array_like=True):
    context_length: int = 0  # of the generation; 0 before the first row has its place
    next_ordinal: int = 0
    block_start: int = 0  # first ordinal of the block that is filling
    next_seq_no: int = 0
    given_out: int = 0  # sequences with a lower seq_no went out
    past: tuple[Generation, ...] = ()  # the generations before


CLOSED_ROWS = Facts(PACKING, NUMBER, packed(ClosedRow), prefix=b"r")  # by ordinal
OPEN_ROWS = Facts(PACKING, NUMBER, packed(list[int]), prefix=b"o")  # by its first piece: the numbers of its pieces
_COUNTERS = single("row blocks", packed(_Counters))


class RowBlocks(FactOwner):
    """Closed rows until they are given out.

    A row waits for the other rows of its block, then for the rest of its quantum: `batch_quantum` sequences are given
    out together or not at all. A generation begins with the first row of another context length that gets its place:
    one without a sequence would leave its readers with nothing to wait for.

    >>> blocks = RowBlocks(seed=0, block_rows=4, batch_quantum=1, context_length=256)
    >>> [row.seq_no for number in range(5) for row in blocks.close([number], flushed=False)]
    [0, 1, 2, 3]
    >>> [(row.seq_no, row.numbers) for row in blocks.flush()]
    [(4, (4,))]
    """

    def __init__(self, *, seed: int, block_rows: int, batch_quantum: int, context_length: int) -> None:
        self._seed = seed
        self._block_rows = block_rows
        self._batch_quantum = batch_quantum
        self._context_length = context_length
        self._rows = FactTable(CLOSED_ROWS)
        self._cell = FactCell(_COUNTERS, _Counters())

    def tables(self) -> tuple[Table, ...]:
        """The rows, and their counters."""
        return self._rows, self._cell

    @property
    def _counters(self) -> _Counters:
        return self._cell.value

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[ClosedRow]:
        return iter(self._rows.values())

    @property
    def generation(self) -> int:
        """Generation of the rows that got their places last; rows that wait for theirs may begin another."""
        return len(self._counters.past)

    @property
    def num_given_out(self) -> int:
        """Sequences of the generation that went out: those of whole quanta."""
        return self._counters.given_out

    @property
    def generations(self) -> tuple[Generation, ...]:
        """All that went out, by generation."""
        counters = self._counters
        if not counters.context_length:
            return ()
        return (*counters.past, Generation(counters.context_length, counters.given_out))

    @property
    def _begins_generation(self) -> bool:
        """The next row that gets its place is the first of its length."""
        return self._counters.context_length not in (0, self._context_length)

    def _begin_generation(self) -> None:
        """Number sequences from 0 again. No row of the old length may be held."""
        counters = self._counters
        if any(row.seq_no is not None for row in self._rows.values()):
            raise AssertionError("a generation ends with all its rows given out")
        counters.past = self.generations
        counters.next_seq_no = counters.given_out = 0

    def close(self, numbers: list[int], *, flushed: bool) -> list[ClosedRow]:
        """Take in the next row; the rows that this gives out, in order of seq_no."""
        counters = self._counters
        self._rows[counters.next_ordinal] = ClosedRow(counters.next_ordinal, tuple(numbers), flushed)
        counters.next_ordinal += 1
        if counters.next_ordinal - counters.block_start < self._block_rows:
            return []
        self._complete_block()
        return self._release()

    def flush(self, *, fill: bool = False) -> list[ClosedRow]:
        """Complete the block as it is; the rows that this gives out.

        With `fill`, for the end of a stream, fillers complete the quantum; without, rows short of one stay held.
        """
        self._complete_block()
        # Without a row of the new length there is nothing to complete: the old generation ended as it is.
        if fill and not self._begins_generation:
            counters = self._counters
            while counters.next_seq_no % self._batch_quantum:
                row = ClosedRow(counters.next_ordinal, (), True, counters.next_seq_no)
                self._rows[row.ordinal] = row
                counters.next_ordinal += 1
                counters.next_seq_no += 1
            counters.block_start = counters.next_ordinal
        return self._release()

    def remove(self, number: int) -> ClosedRow | None:
        """Take a piece out of the row that has it; the shorter row, or None if no row has the piece.

        A row left without pieces is dropped from its block; one that has its seq_no is given out as a filler.
        """
        for row in self._rows.values():
            if number in row.numbers:
                shorter = structs.replace(row, numbers=tuple(other for other in row.numbers if other != number))
                if shorter.numbers or shorter.seq_no is not None:
                    self._rows[row.ordinal] = shorter
                else:
                    del self._rows[row.ordinal]
                return shorter
        return None

    def _complete_block(self) -> None:
        """Give the rows of the block their places."""
        counters = self._counters
        ordinals = sorted(ordinal for ordinal in self._rows if ordinal >= counters.block_start)
        if ordinals:
            if self._begins_generation:
                self._begin_generation()
            counters.context_length = self._context_length
        draws = draw(np.array(ordinals, np.uint64), seed=self._seed, purpose="row order").tolist()
        for _, ordinal in sorted(zip(draws, ordinals, strict=True)):
            self._rows[ordinal] = structs.replace(self._rows[ordinal], seq_no=counters.next_seq_no)
            counters.next_seq_no += 1
        counters.block_start = counters.next_ordinal

    def _release(self) -> list[ClosedRow]:
        """Take out the rows of whole quanta."""
        counters = self._counters
        # Not below what went out under a smaller quantum.
        counters.given_out = max(counters.given_out, counters.next_seq_no - counters.next_seq_no % self._batch_quantum)
        end = counters.given_out
        placed = [(row.seq_no, row) for row in self._rows.values() if row.seq_no is not None and row.seq_no < end]
        released = [row for _, row in sorted(placed, key=lambda entry: entry[0])]
        for row in released:
            del self._rows[row.ordinal]
        return released
