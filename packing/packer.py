"""Packer: documents in, full training rows out; no document that fits a row is ever cut.

Documents longer than the context length L are split into pieces of L tokens, which are rows of their own, and a tail;
tails and all other documents are packed whole, by `Pool` ("sculpt": related documents together) or by `BestFit`
("best_fit": least padding). Closed rows wait in `RowBlocks` to be shuffled.

The packer moves document numbers, lengths and vectors; tokens are looked up elsewhere. The rows depend on the sequence
of documents alone, never on how the calls divide it. Facts are per piece and per row, so a commit writes what changed
since the one before; vectors are not facts, they are computed again from the documents.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from curatord.errors import IdentityError
from kernels.pool import BLOCK_ELEMENTS, Arrivals, Weights, pair_products
from packing.best_fit import BestFit
from packing.pool import STEPS_PER_SIGMA, Pool, no_arrivals, quantize
from packing.rows import (
    OPEN_ROWS,
    PIECES,
    ClosedRow,
    Generation,
    PackingStats,
    Piece,
    Row,
    RowBlocks,
)
from state.document_numbers import Numbers, as_bytes
from state.fact_table import FactCell, FactOwner, FactTable, Table
from state.facts import FactSource, packed, single

# A piece waits at most this many times the pool's size, unless the configuration says otherwise.
_MAX_WAIT_POOLS = 4
# It is due after this share of that, to have time to meet a row that it fits.
_DUE_SHARE = 0.75

# A block is a file, whose lists have offsets of 32 bits.
MAX_BLOCK_TOKENS = 1 << 31


class PackingConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section [packing]."""

    context_length: Annotated[int, msgspec.Meta(ge=256, le=1_048_576)] = 4096
    """Tokens of a training sequence. May change when nothing is held; the next row then begins a generation."""
    mode: Literal["sculpt", "best_fit"] = "sculpt"
    """What rows are made of: "sculpt" puts related documents together, "best_fit" only minds the padding."""
    pool_documents: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000
    """Documents that wait in the pool (sculpt), or make up a round (best_fit)."""
    max_wait_arrivals: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Longest wait of a document, counted in documents that arrive after it; unset: 4 times pool_documents."""
    alpha: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    """Weight of relatedness: the cosine of a document with the sum of its row."""
    beta: Annotated[float, msgspec.Meta(ge=0)] = 0.5
    """Weight of fit: a document's share of the room that its row has left."""
    continuation_penalty: Annotated[float, msgspec.Meta(ge=0)] = 0.2
    """What the tail of a split document loses. The more, the more often it opens a row, with nothing foreign before."""
    closing_bonus: Annotated[float, msgspec.Meta(ge=0)] = 0.15
    """Bonus for a document that (nearly) fills its row. The more, the less padding, and the less related the rows."""
    shuffle_block_rows: Annotated[int, msgspec.Meta(ge=1)] = 1024
    """Rows that are shuffled together, and held until they are complete; 1 keeps the order of closing."""
    batch_quantum: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Sequences that are given out together or not at all."""

    def __post_init__(self) -> None:
        if self.max_wait < 2 * self.pool_documents:
            raise ValueError(
                f"packing.max_wait_arrivals = {self.max_wait_arrivals} is less than twice packing.pool_documents = "
                f"{self.pool_documents}, so documents could not wait for a row that suits them: raise it, shrink the "
                "pool, or leave it unset"
            )
        if self.context_length * self.shuffle_block_rows >= MAX_BLOCK_TOKENS:
            raise ValueError(
                f"packing.shuffle_block_rows = {self.shuffle_block_rows} rows of {self.context_length} tokens are more "
                f"than the {MAX_BLOCK_TOKENS} that a file can hold: lower one of them"
            )
        if self.mode == "sculpt" and self.alpha == self.beta == 0:
            raise ValueError(
                "packing.alpha and packing.beta are both 0, so nothing tells documents apart: raise one of them"
            )

    @property
    def max_wait(self) -> int:
        """Longest wait in arrivals."""
        if self.max_wait_arrivals is None:
            return _MAX_WAIT_POOLS * self.pool_documents
        return self.max_wait_arrivals


class _Counters(msgspec.Struct, frozen=True, array_like=True):
    context_length: int
    mode: Literal["sculpt", "best_fit"]
    stats: PackingStats
    next_number: int  # of the next piece
    num_arrivals: int  # pieces that ever entered the pool


_COUNTERS = single("packing", packed(_Counters))


def as_stored(config: PackingConfig, committed: FactSource) -> PackingConfig:
    """The configuration with the length and the mode that rows were made with so far, if there are any."""
    counters = _COUNTERS.get(committed, None)
    if counters is None:
        return config
    return replace(config, context_length=counters.context_length, mode=counters.mode)


class Packer(FactOwner):
    """Everything between accepted documents and training rows.

    `dimension` is that of the embeddings, which `restore_embeddings` may change; 0 if there are none, which leaves
    lengths to decide.
    """

    def __init__(self, config: PackingConfig, *, dimension: int = 0, seed: int = 0) -> None:
        self._config = config
        self._dimension = dimension
        self._blocks = RowBlocks(
            seed=seed,
            block_rows=config.shuffle_block_rows,
            batch_quantum=config.batch_quantum,
            context_length=config.context_length,
        )
        self._rows = self._empty_rows()
        self._pieces = FactTable(PIECES)  # all that are held, by number
        self._vectors: dict[int, NDArray[np.int8]] = {}  # of those that wait or are in an open row
        self._next_number = 0
        self._num_arrivals = 0
        self._held_tokens = 0
        self._stats = PackingStats()
        self._restoring = False
        self._open_rows = FactTable(OPEN_ROWS)  # as of the last commit
        self._cell = FactCell(_COUNTERS, self._counters())

    def tables(self) -> tuple[Table, ...]:
        """Pieces, rows and counters."""
        return self._pieces, self._open_rows, self._cell, *self._blocks.tables()

    def _counters(self) -> _Counters:
        config = self._config
        return _Counters(config.context_length, config.mode, self._stats, self._next_number, self._num_arrivals)

    def before_commit(self) -> None:
        """Open rows and counters as they are."""
        self._open_rows.replace({row[0]: row for row in self._rows.open_rows()})
        self._cell.value = self._counters()

    def restored(self, committed: FactSource) -> None:
        """The counters as they were. Rows and vectors wait for `restore_embeddings`."""
        self._restoring = True
        counters = self._cell.value
        self._stats = counters.stats
        self._next_number, self._num_arrivals = counters.next_number, counters.num_arrivals
        self._held_tokens = sum(map(len, self._pieces.values()))

    def _empty_rows(self) -> Pool | BestFit:
        config = self._config
        if config.mode == "best_fit":
            return BestFit(context_length=config.context_length, limit=config.pool_documents, max_wait=config.max_wait)
        weights = Weights(
            context_length=config.context_length,
            alpha=config.alpha,
            beta=config.beta,
            continuation_penalty=config.continuation_penalty,
            closing_bonus=config.closing_bonus,
            due_wait=int(_DUE_SHARE * config.max_wait),
            max_wait=config.max_wait,
        )
        return Pool(weights=weights, limit=config.pool_documents, padded_dimension=self._padded_dimension)

    @property
    def _padded_dimension(self) -> int:
        return -(-self._dimension // BLOCK_ELEMENTS) * BLOCK_ELEMENTS

    @property
    def stats(self) -> PackingStats:
        """Counts over all rows that ever closed."""
        return self._stats

    @property
    def generation(self) -> int:
        """Generation of the rows that got their places last; rows that wait for theirs may begin another."""
        return self._blocks.generation

    @property
    def generations(self) -> tuple[Generation, ...]:
        """All that went out, by generation."""
        return self._blocks.generations

    @property
    def num_given_out(self) -> int:
        """Sequences of this generation that went out."""
        return self._blocks.num_given_out

    def held_tokens(self) -> int:
        """Tokens that were added and neither given out nor removed."""
        return self._held_tokens

    def held_pieces(self) -> list[Piece]:
        """Everything that was added and neither given out nor removed."""
        return list(self._pieces.values())

    def add(
        self,
        *,
        doc_nos_B: NDArray[np.int64],
        num_tokens_B: NDArray[np.int64],
        embeddings_BD: NDArray[np.float32],
        numbers_B: Numbers,
        uses_B: NDArray[np.int64],
    ) -> list[Row]:
        """Take in documents in order; the rows that became final, in order of seq_no.

        `num_tokens_B` counts every token that is to be trained on, BOS and EOS included, and is at least 1.
        `embeddings_BD` are unit vectors.
        """
        if self._restoring:
            raise AssertionError("restore_embeddings comes between the last fact and the first document")
        if embeddings_BD.shape != (len(doc_nos_B), self._dimension):
            raise ValueError(f"embeddings of shape {embeddings_BD.shape}, not ({len(doc_nos_B)}, {self._dimension})")
        if len(num_tokens_B) and int(num_tokens_B.min()) < 1:
            raise ValueError("a document without tokens cannot be packed")
        length = self._config.context_length
        vectors_BD = quantize(embeddings_BD)
        candidates: list[int] = []
        documents: list[int] = []
        full: list[tuple[int, list[int]]] = []  # (candidates before it, the one piece)
        columns = (doc_nos_B.tolist(), num_tokens_B.tolist(), uses_B.tolist(), as_bytes(numbers_B))
        for b, (doc_no, num_tokens, use, numbers) in enumerate(zip(*columns, strict=True)):
            for start in range(0, num_tokens, length):
                number = self._next_number
                self._next_number += 1
                end = min(start + length, num_tokens)
                is_full = end - start == length
                self._pieces[number] = Piece(
                    arrival=-1 if is_full else self._num_arrivals,
                    doc_no=doc_no,
                    start=start,
                    end=end,
                    num_tokens=num_tokens,
                    numbers=numbers,
                    use=use,
                )
                if is_full:
                    full.append((len(candidates), [number]))
                else:
                    self._num_arrivals += 1
                    self._vectors[number] = vectors_BD[b]
                    candidates.append(number)
                    documents.append(b)
        self._held_tokens += int(num_tokens_B.sum())
        num_split = int((num_tokens_B > length).sum())
        self._stats = replace(self._stats, documents_split=self._stats.documents_split + num_split)
        closed = self._rows.fill(self._columns(candidates, vectors_BD[documents])) if candidates else []
        self._note_wait()
        # Full pieces close before their own document's tail enters, before all else of this call.
        in_order = sorted(
            [(n, 0, row) for n, row in full] + [(n, 1, row) for n, row in closed], key=lambda row: row[:2]
        )
        return self._give_out(self._close([numbers for _, _, numbers in in_order], flushed=False))

    def flush(self, *, fill: bool = False) -> list[Row]:
        """Close all rows, as they are; the rows that became final.

        Rows short of a `batch_quantum` stay held; with `fill`, for the end of a stream, fillers complete it.
        """
        if self._restoring:
            raise AssertionError("restore_embeddings comes between the last fact and a flush")
        released = self._close(self._rows.drain(), flushed=True)
        return self._give_out(released + self._blocks.flush(fill=fill))

    def remove(self, doc_no: int) -> list[Piece]:
        """Take out what is held of a document, all uses of it; the pieces that were.

        Rows that had a piece of it get shorter: an open row has room again, a closed one goes out with padding.
        """
        numbers = [number for number, piece in self._pieces.items() if piece.doc_no == doc_no]
        shortened = False
        for number in numbers:
            if number in self._vectors:
                shortened = True
                del self._vectors[number]
            else:
                self._shorten(number)
        if shortened:
            gone = set(numbers)
            rows = [[number for number in row if number not in gone] for row in self._rows.open_rows()]
            self._load([row for row in rows if row])
        return [self._forget(number) for number in numbers]

    def _columns(self, numbers: list[int], vectors_ND: NDArray[np.int8] | None = None) -> Arrivals:
        if not numbers:
            return no_arrivals(self._padded_dimension)
        pieces = [self._pieces[number] for number in numbers]
        if vectors_ND is None:
            vectors_ND = np.stack([self._vectors[number] for number in numbers])
        return Arrivals(
            vectors_ND=vectors_ND,
            lengths_N=np.array([piece.end - piece.start for piece in pieces], np.int64),
            numbers_N=np.array(numbers, np.int64),
            arrivals_N=np.array([piece.arrival for piece in pieces], np.int64),
            doc_nos_N=np.array([piece.doc_no for piece in pieces], np.int64),
            continued_N=np.array([piece.start > 0 for piece in pieces], np.uint8),
        )

    def _load(self, rows: list[list[int]]) -> None:
        """Build pool and open rows anew: `rows` are open, all other pieces that have a vector wait."""
        placed = {number for row in rows for number in row}
        self._rows.load(
            rows=[self._columns(row) for row in rows],
            waiting=self._columns(sorted(self._vectors.keys() - placed)),
            newest=self._num_arrivals - 1,
        )

    def _note_wait(self) -> None:
        self._stats = replace(self._stats, longest_wait=max(self._stats.longest_wait, self._rows.longest_wait))

    def _close(self, rows: list[list[int]], *, flushed: bool) -> list[ClosedRow]:
        """Count rows and hand them to the blocks; the rows that this releases."""
        length, stats = self._config.context_length, self._stats
        pieces = [self._pieces[number] for numbers in rows for number in numbers]
        tokens = sum(piece.end - piece.start for piece in pieces)
        padding = length * len(rows) - tokens
        num_pairs, cosine_sum = self._count_pairs(rows)
        self._stats = replace(
            stats,
            rows=stats.rows + len(rows),
            rows_flushed=stats.rows_flushed + (len(rows) if flushed else 0),
            pieces=stats.pieces + len(pieces),
            tokens=stats.tokens + tokens,
            room=stats.room + length * len(rows),
            room_flushed=stats.room_flushed + (length * len(rows) if flushed else 0),
            padding_tokens=stats.padding_tokens + (0 if flushed else padding),
            padding_tokens_flushed=stats.padding_tokens_flushed + (padding if flushed else 0),
            documents_cut=stats.documents_cut
            + sum(piece.num_tokens <= length and piece.end - piece.start < piece.num_tokens for piece in pieces),
            cosine_sum=cosine_sum,
            cosine_pairs=stats.cosine_pairs + num_pairs,
        )
        return [released for numbers in rows for released in self._blocks.close(numbers, flushed=flushed)]

    def _count_pairs(self, rows: list[list[int]]) -> tuple[int, float]:
        """Take the vectors of these rows: (ordered pairs in a row, `cosine_sum` with theirs)."""
        vectors: list[NDArray[np.int8]] = []
        bounds = [0]
        for numbers in rows:
            vectors += [self._vectors.pop(number) for number in numbers if number in self._vectors]
            bounds.append(len(vectors))
        cosine_sum = self._stats.cosine_sum
        if not self._dimension:
            return 0, cosine_sum
        if vectors:
            scale = STEPS_PER_SIGMA**2 * self._dimension
            for product in pair_products(np.array(vectors), np.array(bounds)).tolist():
                cosine_sum += product / scale
        return sum((end - start) * (end - start - 1) for start, end in pairwise(bounds)), cosine_sum

    def _give_out(self, released: list[ClosedRow]) -> list[Row]:
        rows = []
        for row in released:
            if row.seq_no is None:
                raise AssertionError(f"row {row.ordinal} was released without a place")
            rows.append(
                Row(
                    seq_no=row.seq_no,
                    generation=self._blocks.generation,
                    ordinal=row.ordinal,
                    pieces=tuple(self._forget(number) for number in row.numbers),
                    flushed=row.flushed,
                )
            )
        return rows

    def _shorten(self, number: int) -> None:
        """Take a piece out of its closed row, and out of what was counted."""
        row = self._blocks.remove(number)
        if row is None:
            raise AssertionError(f"piece {number} is held but in no row")
        length, stats, tokens = self._config.context_length, self._stats, len(self._pieces[number])
        gone = not row.numbers
        padding = tokens - length * gone
        self._stats = replace(
            stats,
            rows=stats.rows - gone,
            rows_flushed=stats.rows_flushed - (gone and row.flushed),
            pieces=stats.pieces - 1,
            tokens=stats.tokens - tokens,
            room=stats.room - length * gone,
            room_flushed=stats.room_flushed - (length * gone if row.flushed else 0),
            padding_tokens=stats.padding_tokens + (0 if row.flushed else padding),
            padding_tokens_flushed=stats.padding_tokens_flushed + (padding if row.flushed else 0),
        )

    def _forget(self, number: int) -> Piece:
        piece = self._pieces.pop(number)
        self._held_tokens -= len(piece)
        return piece

    def restore_embeddings(self, embed: Callable[[NDArray[np.int64]], NDArray[np.float32]]) -> None:
        """Compute the vectors of pieces that wait or are in an open row: `embed` turns doc_nos_B into embeddings_BD.

        Call it after `restored`, and whenever embeddings begin or change their version. After a change of `mode` open
        rows are taken apart and their pieces wait again. Raises IdentityError if `context_length` was changed while
        something is held; otherwise the next row begins a new generation.
        """
        rows = self._rows.open_rows()
        if self._restoring:
            rows = self._agree()
            self._restoring = False
        closed = {number for row in self._blocks for number in row.numbers}
        numbers = sorted(self._pieces.keys() - closed)
        doc_nos_B, places_N = np.unique(
            np.array([self._pieces[number].doc_no for number in numbers], np.int64), return_inverse=True
        )
        embeddings_BD = embed(doc_nos_B)
        if embeddings_BD.shape[1] != self._dimension:
            self._dimension = embeddings_BD.shape[1]
            self._rows = self._empty_rows()
        vectors_BD = quantize(embeddings_BD)
        self._vectors = {number: vectors_BD[b] for number, b in zip(numbers, places_N.tolist(), strict=True)}
        self._load(rows)

    def _agree(self) -> list[list[int]]:
        """Bring the facts in line with the configuration; the rows that stay open."""
        config = self._config
        counters = self._cell.value
        is_empty = not self._pieces and not len(self._blocks)
        if counters.context_length != config.context_length and not is_empty:
            raise IdentityError(
                f"packing.context_length was {counters.context_length} and is now {config.context_length}, but "
                f"rows of the old length wait, and {self._held_tokens} tokens for such: set it back, flush "
                "(`curatord curate` without --keep-open, `curatord finish`), change it again"
            )
        if counters.mode != config.mode:
            return []
        return [row for _, row in sorted(self._open_rows.items())]
