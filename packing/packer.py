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
from typing import Literal

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from curatord.errors import IdentityError
from kernels.byte_vectors import BLOCK_ELEMENTS, pair_products
from kernels.columns import Ragged, bounds_of
from kernels.pool import Weights
from kernels.pool_slots import Arrivals
from packing import pieces
from packing.best_fit import BestFit
from packing.packing_config import PackingConfig
from packing.pieces import HeldPieces, Pieces
from packing.pool import STEPS_PER_SIGMA, ClosedRows, Pool, arrivals_of, in_order, quantize
from packing.rows import OPEN_ROWS, ClosedRow, Generation, PackingStats, RowBlocks, Rows
from state.document_numbers import Numbers
from state.fact_table import FactCell, FactOwner, FactTable, Table
from state.facts import FactSource, packed, single

# A piece is due after this share of the longest wait, to have time to meet a row that it fits.
_DUE_SHARE = 0.75
# Arrivals after which the pool is divided anew, and how many for each cell: centres move, cells begin and end.
_DIVIDE_AFTER = 4096
_DIVIDE_AFTER_CELL = 40


class _Counters(msgspec.Struct, frozen=True, array_like=True):
    context_length: int
    mode: Literal["sculpt", "best_fit"]
    stats: PackingStats
    next_number: int  # of the next piece
    num_arrivals: int  # pieces that ever entered the pool


class _Division(msgspec.Struct, frozen=True, array_like=True):
    """How the pool was divided last."""

    num_arrivals: int = 0
    centres: bytes = b""  # int8 [K, D]: of its cells; none: the pool is one


_COUNTERS = single("packing", packed(_Counters))
_DIVISION = single("cells of the pool", packed(_Division))


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
        self._division = FactCell(_DIVISION, _Division())
        self._rows = self._empty_rows()
        self._pieces = HeldPieces(self._padded_dimension)  # they wait until their row closes
        self._next_number = 0
        self._num_arrivals = 0
        self._held_tokens = 0
        self._stats = PackingStats()
        self._restoring = False
        self._open_rows = FactTable(OPEN_ROWS)  # as of the last commit
        self._cell = FactCell(_COUNTERS, self._counters())

    def tables(self) -> tuple[Table, ...]:
        """Pieces, rows and counters."""
        return self._pieces, self._open_rows, self._cell, self._division, *self._blocks.tables()

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
        self._held_tokens = int(pieces.lengths(self.held_pieces()).sum())

    def _empty_rows(self) -> Pool | BestFit:
        config = self._config
        if config.mode == "best_fit":
            return BestFit(context_length=config.context_length, limit=config.pool_size, max_wait=config.max_wait)
        weights = Weights(
            context_length=config.context_length,
            alpha=config.alpha,
            beta=config.beta,
            continuation_penalty=config.continuation_penalty,
            closing_bonus=config.closing_bonus,
            ceiling=np.inf if config.max_cosine is None else config.max_cosine,
            due_wait=int(_DUE_SHARE * config.max_wait),
            max_wait=config.max_wait,
        )
        return Pool(
            weights=weights,
            limit=config.pool_size,
            padded_dimension=self._padded_dimension,
            centres_KD=self._centres(),
        )

    def _centres(self) -> NDArray[np.int8] | None:
        """Centres of the cells of the pool; None where it is one."""
        centres = np.frombuffer(self._division.value.centres, np.int8)
        return centres.reshape(-1, self._padded_dimension) if len(centres) and self._padded_dimension else None

    @property
    def is_division_due(self) -> bool:
        """Whether the pool should be divided anew before the next documents."""
        division, dimension = self._division.value, self._padded_dimension
        if self._config.mode != "sculpt" or not dimension:
            return False
        after = max(_DIVIDE_AFTER, _DIVIDE_AFTER_CELL * len(division.centres) // dimension)
        return not division.centres or self._num_arrivals >= division.num_arrivals + after

    def divide(self, centres_KD: NDArray[np.float32]) -> None:
        """Divide the pool by these centres, unit vectors like those of documents, until it is divided again."""
        self._division.value = _Division(self._num_arrivals, quantize(centres_KD).tobytes())
        centres = self._centres()
        if isinstance(self._rows, Pool) and centres is not None:
            self._rows.divide(centres)

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

    def held_pieces(self) -> Pieces:
        """Everything that was added and neither given out nor removed."""
        return self._pieces.held()[1]

    def add(
        self,
        *,
        doc_nos_B: NDArray[np.int64],
        num_tokens_B: NDArray[np.int64],
        embeddings_BD: NDArray[np.float32],
        numbers_B: Numbers,
        uses_B: NDArray[np.int64],
    ) -> Rows:
        """Take in documents in order; the rows that became final.

        `num_tokens_B` counts every token that is to be trained on, BOS and EOS included, and is at least 1.
        `embeddings_BD` are unit vectors, of a document that is longer than a row that of its tail.
        """
        if self._restoring:
            raise AssertionError("restore_embeddings comes between the last fact and the first document")
        if embeddings_BD.shape != (len(doc_nos_B), self._dimension):
            raise ValueError(f"embeddings of shape {embeddings_BD.shape}, not ({len(doc_nos_B)}, {self._dimension})")
        if len(num_tokens_B) and int(num_tokens_B.min()) < 1:
            raise ValueError("a document without tokens cannot be packed")
        length = self._config.context_length
        documents_N, added_N = pieces.cut(num_tokens_B, length)
        for name, column_B in (("doc_no", doc_nos_B), ("numbers", numbers_B), ("use", uses_B)):
            added_N[name] = column_B[documents_N]
        is_full_N = pieces.lengths(added_N) == length
        added_N["arrival"] = np.where(is_full_N, -1, self._num_arrivals + np.cumsum(~is_full_N) - 1)
        added = self._next_number + np.arange(len(added_N))
        self._next_number += len(added_N)
        self._num_arrivals += int(np.count_nonzero(~is_full_N))
        vectors_ND = quantize(embeddings_BD)
        if len(documents_N) > len(doc_nos_B):
            vectors_ND = vectors_ND[documents_N]
        self._pieces.add(added, added_N, vectors_ND)
        self._held_tokens += int(num_tokens_B.sum())
        num_split = self._stats.documents_split + int((num_tokens_B > length).sum())
        self._stats = replace(self._stats, documents_split=num_split)
        arrivals = arrivals_of(added, added_N, vectors_ND)
        if is_full_N.any():
            arrivals = Arrivals(*(column_N[~is_full_N] for column_N in arrivals))
        closed = self._rows.fill(arrivals)
        self._note_wait()
        # As many candidates come before a full piece.
        full = ClosedRows(np.cumsum(~is_full_N)[is_full_N], Ragged(added[is_full_N], np.arange(is_full_N.sum() + 1)))
        return self._give_out(self._close(in_order(full, closed), flushed=False))

    def flush(self, *, fill: bool = False) -> Rows:
        """Close all rows, as they are; the rows that became final.

        Rows short of a `batch_quantum` stay held; with `fill`, for the end of a stream, fillers complete it.
        """
        if self._restoring:
            raise AssertionError("restore_embeddings comes between the last fact and a flush")
        released = self._close(self._rows.drain(), flushed=True)
        return self._give_out(released + self._blocks.flush(fill=fill))

    def remove(self, doc_no: int) -> Pieces:
        """Take out what is held of a document, all uses of it; the pieces that were.

        Rows that had a piece of it get shorter: an open row has room again, a closed one goes out with padding.
        """
        numbers = self._pieces.of_document(doc_no)
        waited_N = self._pieces.close(numbers)
        for number in numbers[~waited_N].tolist():
            self._shorten(number)
        if waited_N.any():
            gone, rows = set(numbers.tolist()), self._rows.open_rows()
            if isinstance(self._rows, Pool) and gone.isdisjoint(number for row in rows for number in row):
                self._rows.remove(numbers[waited_N])
            else:
                rows = [[number for number in row if number not in gone] for row in rows]
                self._load([row for row in rows if row])
        return self._forget(numbers)

    def _waiting(self, numbers: NDArray[np.int64]) -> Arrivals:
        return arrivals_of(numbers, self._pieces.pieces(numbers), self._pieces.vectors(numbers))

    def _load(self, rows: list[list[int]]) -> None:
        """Build pool and open rows anew: `rows` are open, all other pieces that have a vector wait."""
        placed = np.array([number for row in rows for number in row], np.int64)
        self._rows.load(
            rows=[self._waiting(np.array(row, np.int64)) for row in rows],
            waiting=self._waiting(np.setdiff1d(self._pieces.waiting(), placed)),
            newest=self._num_arrivals - 1,
        )

    def _note_wait(self) -> None:
        self._stats = replace(self._stats, longest_wait=max(self._stats.longest_wait, self._rows.longest_wait))

    def _close(self, rows: Ragged[np.int64], *, flushed: bool) -> list[ClosedRow]:
        """Count rows and hand them to the blocks; the rows that this releases."""
        length, stats, numbers = self._config.context_length, self._stats, rows.values_T
        pieces_N = self._pieces.pieces(numbers)
        lengths_N = pieces.lengths(pieces_N)
        tokens = int(lengths_N.sum())
        room = length * len(rows)
        is_cut_N = (pieces_N["num_tokens"] <= length) & (lengths_N < pieces_N["num_tokens"])
        num_pairs, cosine_sum = self._count_pairs(rows)
        self._stats = replace(
            stats,
            rows=stats.rows + len(rows),
            rows_flushed=stats.rows_flushed + (len(rows) if flushed else 0),
            pieces=stats.pieces + len(numbers),
            tokens=stats.tokens + tokens,
            room=stats.room + room,
            room_flushed=stats.room_flushed + (room if flushed else 0),
            padding_tokens=stats.padding_tokens + (0 if flushed else room - tokens),
            padding_tokens_flushed=stats.padding_tokens_flushed + (room - tokens if flushed else 0),
            documents_cut=stats.documents_cut + int(np.count_nonzero(is_cut_N)),
            cosine_sum=cosine_sum,
            cosine_pairs=stats.cosine_pairs + num_pairs,
        )
        return [released for row in rows for released in self._blocks.close(row.tolist(), flushed=flushed)]

    def _count_pairs(self, rows: Ragged[np.int64]) -> tuple[int, float]:
        """The pieces of these rows wait no more: (ordered pairs in a row, `cosine_sum` with theirs)."""
        waited_N = self._pieces.close(rows.values_T)
        bounds_R1 = np.concatenate((np.zeros(1, np.int64), np.cumsum(waited_N)))[rows.bounds_B1]
        counts_R = np.diff(bounds_R1)
        cosine_sum = self._stats.cosine_sum
        if not self._dimension:
            return 0, cosine_sum
        scale = STEPS_PER_SIGMA**2 * self._dimension
        for product in pair_products(self._pieces.vectors(rows.values_T[waited_N]), bounds_R1).tolist():
            cosine_sum += product / scale
        return int((counts_R * (counts_R - 1)).sum()), cosine_sum

    def _give_out(self, released: list[ClosedRow]) -> Rows:
        if any(row.seq_no is None for row in released):
            raise AssertionError("a row was released without a place")
        return Rows(
            generation=self._blocks.generation,
            seq_nos_R=np.array([row.seq_no for row in released], np.int64),
            bounds_R1=bounds_of([len(row.numbers) for row in released]),
            pieces_S=self._forget(np.array([number for row in released for number in row.numbers], np.int64)),
        )

    def _shorten(self, number: int) -> None:
        """Take a piece out of its closed row, and out of what was counted."""
        row = self._blocks.remove(number)
        if row is None:
            raise AssertionError(f"piece {number} is held but in no row")
        length, stats = self._config.context_length, self._stats
        tokens = int(pieces.lengths(self._pieces.pieces(np.array([number]))).sum())
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

    def _forget(self, numbers: NDArray[np.int64]) -> Pieces:
        taken_N = self._pieces.take(numbers)
        self._held_tokens -= int(pieces.lengths(taken_N).sum())
        return taken_N

    def restore_embeddings(self, embed: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]) -> None:
        """Compute the vectors of pieces that wait or are in an open row.

        `embed` turns numbers of documents (B,), and the tokens (B,) from which on they are read, into embeddings_BD.

        Call it after `restored`, and whenever embeddings begin or change their version. After a change of `mode` open
        rows are taken apart and their pieces wait again. Raises IdentityError if `context_length` was changed while
        something is held; otherwise the next row begins a new generation.
        """
        rows = self._rows.open_rows()
        if self._restoring:
            rows = self._agree()
        numbers, held_N = self._pieces.held()
        closed = np.array([number for row in self._blocks for number in row.numbers], np.int64)
        waits_N = ~np.isin(numbers, closed)
        waiting_B, places_N = np.unique(held_N[["doc_no", "start"]][waits_N], return_inverse=True)
        embeddings_BD = embed(waiting_B["doc_no"], waiting_B["start"])
        if self._restoring or embeddings_BD.shape[1] != self._dimension:
            self._dimension, self._restoring = embeddings_BD.shape[1], False
            self._rows = self._empty_rows()
        self._pieces.renew(numbers[waits_N], quantize(embeddings_BD)[places_N])
        self._load(rows)

    def _agree(self) -> list[list[int]]:
        """Bring the facts in line with the configuration; the rows that stay open."""
        config = self._config
        counters = self._cell.value
        is_empty = not len(self._pieces) and not len(self._blocks)
        if counters.context_length != config.context_length and not is_empty:
            raise IdentityError(
                f"packing.context_length was {counters.context_length} and is now {config.context_length}, but "
                f"rows of the old length wait, and {self._held_tokens} tokens for such: set it back, flush "
                "(`curatord curate` without --keep-open, `curatord finish`), change it again"
            )
        if counters.mode != config.mode:
            return []
        return [row for _, row in sorted(self._open_rows.items())]
