"""Where the segments of sequences came from, by sequence: what a trainer's report is joined with."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from state.document_numbers import DOCUMENT, Numbers, joined_numbers
from state.epoch import Epoch
from state.facts import NOTHING, NUMBER, NUMBERS, Codec, Facts, FactSource, Family, packed
from state.store import Store

RECENT_BLOCKS = 16  # decoded facts at hand: the ranks of a step report neighbouring sequences


class Placements(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Fact: where the pieces of consecutive sequences came from; S segments in the order of their sequences."""

    generation: int
    first_seq_no: int
    num_segments: bytes  # u32, one a sequence
    doc_nos: bytes  # i64 [S]
    starts: bytes  # u32 [S]: first token in the document
    lengths: bytes  # u32 [S]
    numbers: bytes  # [S] records of `DOCUMENT`


# By generation, and the number of the first sequence.
PLACEMENTS = Facts(
    Family("placements", "where each piece of up to 1,024 sequences came from"), NUMBERS, packed(Placements)
)

_BLOCK_BITS = 12
# By a block of documents, generation, and the number of the first sequence: where the documents of a block went.
_PLACED: Facts[tuple[int, tuple[int, int]], None] = Facts(
    Family("placed", "that some of 4,096 consecutive documents went into sequences of a fact of placements"),
    Codec(
        lambda key: NUMBER.encode(key[0]) + NUMBERS.encode(key[1]),
        lambda row: (NUMBER.decode(row[:8]), NUMBERS.decode(row[8:])),
    ),
    NOTHING,
)


def _rows_placed(fact: Placements) -> Iterator[bytes]:
    """Keys by which the fact is found from its documents."""
    blocks = np.unique(np.frombuffer(fact.doc_nos, np.int64) >> _BLOCK_BITS)
    return (_PLACED.row((block, (fact.generation, fact.first_seq_no))) for block in blocks.tolist())


def place(fact: Placements, epoch: Epoch) -> None:
    """These sequences come out with the epoch."""
    PLACEMENTS.put(epoch, (fact.generation, fact.first_seq_no), fact)
    epoch.extend(_PLACED.family.name, ((row, b"") for row in _rows_placed(fact)))


def _is_indexed(committed: FactSource) -> bool:
    """Whether placements are found by document: not in a state of before that was."""
    row = next((row for _, fact in PLACEMENTS.items(committed) for row in _rows_placed(fact)), None)
    return row is None or committed.get(_PLACED.family.name, row) is not None


def index_placements(store: Store) -> None:
    """Bring a state of an earlier version along, once."""
    if not store.read_only and not _is_indexed(store):
        store.apply(
            (_PLACED.family.name, row, b"") for _, fact in PLACEMENTS.items(store) for row in _rows_placed(fact)
        )


def placements_of(committed: FactSource, doc_no: int) -> Iterator[Placements]:
    """The facts that may have pieces of a document, by generation and sequence."""
    if not _is_indexed(committed):
        yield from (fact for _, fact in PLACEMENTS.items(committed))
        return
    for row, _ in committed.items(_PLACED.family.name, NUMBER.encode(doc_no >> _BLOCK_BITS)):
        fact = PLACEMENTS.get(committed, _PLACED.key.decode(row)[1])
        assert fact is not None
        yield fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The segments of N sequences, those of one sequence together: S segments in all."""

    num_segments_N: NDArray[np.int64]  # -1 for a sequence that was never emitted, of which there are no segments
    doc_nos_S: NDArray[np.int64]
    starts_S: NDArray[np.uint32]  # first token in the document; 0 for its head
    numbers_S: Numbers  # of their documents, as their ticks found them


@dataclass(frozen=True, slots=True)
class _Block:
    """One fact: consecutive sequences; segments of row r are bounds[r] to bounds[r + 1]."""

    generation: int
    first: int
    bounds: NDArray[np.int64]
    doc_nos_S: NDArray[np.int64]
    starts_S: NDArray[np.uint32]
    numbers_S: Numbers

    @property
    def end(self) -> int:
        return self.first + len(self.bounds) - 1


class PlacementIndex:
    """Placements by sequence, those of the open epoch included."""

    def __init__(self, committed: FactSource) -> None:
        self._committed = committed
        self._recent: deque[_Block] = deque(maxlen=RECENT_BLOCKS)

    def find(self, generation: int, seq_nos_N: NDArray[np.int64], epoch: Epoch) -> Placed:
        """The segments of sequences in ascending order of `seq_no`."""
        num_segments_N = np.full(len(seq_nos_N), -1, np.int64)
        parts: list[tuple[_Block, NDArray[np.int64]]] = []
        end = len(seq_nos_N)  # sequences from here on are dealt with
        while end > 0:
            block = self._block(generation, int(seq_nos_N[end - 1]), epoch)
            if block is None:
                break
            begin, known = np.searchsorted(seq_nos_N[:end], (block.first, block.end)).tolist()
            rows_R = seq_nos_N[begin:known] - block.first
            firsts_R, counts_R = block.bounds[rows_R], block.bounds[rows_R + 1] - block.bounds[rows_R]
            num_segments_N[begin:known] = counts_R
            within_S = np.arange(counts_R.sum()) - np.repeat(np.cumsum(counts_R) - counts_R, counts_R)
            parts.append((block, np.repeat(firsts_R, counts_R) + within_S))
            end = begin
        parts.reverse()
        return Placed(
            num_segments_N=num_segments_N,
            doc_nos_S=np.concatenate([np.zeros(0, np.int64), *(block.doc_nos_S[at_S] for block, at_S in parts)]),
            starts_S=np.concatenate([np.zeros(0, np.uint32), *(block.starts_S[at_S] for block, at_S in parts)]),
            numbers_S=np.concatenate([np.zeros(0, DOCUMENT), *(block.numbers_S[at_S] for block, at_S in parts)]),
        )

    def _block(self, generation: int, seq_no: int, epoch: Epoch) -> _Block | None:
        """The last block of a generation that does not begin after a sequence."""
        for block in self._recent:
            if block.generation == generation and block.first <= seq_no < block.end:
                return block
        found = PLACEMENTS.at_or_before(self._committed, epoch, (generation, seq_no))
        if found is None or found[0][0] != generation:
            return None
        fact = found[1]
        block = _Block(
            generation,
            fact.first_seq_no,
            np.concatenate(([0], np.cumsum(np.frombuffer(fact.num_segments, np.uint32), dtype=np.int64))),
            np.frombuffer(fact.doc_nos, np.int64),
            np.frombuffer(fact.starts, np.uint32),
            joined_numbers(fact.numbers, len(fact.doc_nos) // 8),
        )
        self._recent.appendleft(block)
        return block
