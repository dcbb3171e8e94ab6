"""Pieces: the parts of documents that the packer holds, as columns; a table with a fact a piece.

Pieces are numbered in the order in which they come, and leave in any order. A place is free when its piece has left and
the store knows it; free places are squeezed out when the columns are full, so a piece costs its columns and no object.

Shape legend: H places of the table, N pieces, D dimensions.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from state.document_numbers import DOCUMENT, as_bytes, numbers_from
from state.fact_table import RowChange
from state.facts import NUMBER, Facts, FactSource, Family, packed

PIECE: Final = np.dtype(
    [
        ("arrival", "<i8"),  # in the order of entering the pool; -1: a full row of its own, which never enters it
        ("doc_no", "<i8"),
        ("start", "<i8"),  # tokens [start, end): the document's head is present if start == 0
        ("end", "<i8"),  # and its tail if end == num_tokens
        ("num_tokens", "<i8"),  # of the whole document
        ("numbers", DOCUMENT),  # of the document
        ("use", "<i8"),  # 0: first use of the document
    ]
)
Pieces = NDArray[np.void]  # records of PIECE
Numbers = NDArray[np.int64]

# What is known of a place.
_HELD = 1  # its piece was not taken out
_STORED = 2  # the store has a fact of it
_WAITS = 4  # it waits for its row to close, and has a vector

_LEAST_PLACES = 1024


class Piece(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """Fact: a record of `PIECE`."""

    arrival: int
    doc_no: int
    start: int
    end: int
    num_tokens: int
    numbers: bytes
    use: int


PACKING = Family("packing", "a piece of a document that waits for its row, or a row")
PIECES = Facts(PACKING, NUMBER, packed(Piece), prefix=b"p")  # that no row has taken out yet
_ENCODER = msgspec.msgpack.Encoder()


def lengths(pieces_N: Pieces) -> NDArray[np.int64]:
    """Tokens of each."""
    lengths_N: NDArray[np.int64] = pieces_N["end"] - pieces_N["start"]
    return lengths_N


def cut(num_tokens_B: NDArray[np.int64], length: int) -> tuple[NDArray[np.int64], Pieces]:
    """The pieces of documents, of at most `length` tokens: (place of each one's document, pieces without numbers)."""
    counts_B = -(-num_tokens_B // length)
    documents_N = np.repeat(np.arange(len(num_tokens_B)), counts_B)
    pieces_N = np.zeros(len(documents_N), PIECE)
    within_N = np.arange(len(documents_N)) - np.repeat(np.cumsum(counts_B) - counts_B, counts_B)
    pieces_N["num_tokens"] = num_tokens_B[documents_N]
    pieces_N["start"] = within_N * length
    pieces_N["end"] = np.minimum(pieces_N["start"] + length, pieces_N["num_tokens"])
    return documents_N, pieces_N


class HeldPieces:
    """Pieces by number, and the vectors of those that wait."""

    family = PACKING

    def __init__(self, padded_dimension: int) -> None:
        self._size = 0  # places in use, whether held or not
        self._numbers_H = np.zeros(_LEAST_PLACES, np.int64)  # ascending
        self._pieces_H = np.zeros(_LEAST_PLACES, PIECE)
        self._flags_H = np.zeros(_LEAST_PLACES, np.uint8)
        self._vectors_HD = np.zeros((_LEAST_PLACES, padded_dimension), np.int8)

    def __len__(self) -> int:
        return int(np.count_nonzero(self._having(_HELD)))

    def _having(self, flag: int) -> NDArray[np.bool_]:
        having_H: NDArray[np.bool_] = (self._flags_H[: self._size] & flag) != 0
        return having_H

    def _places(self, numbers_N: Numbers) -> NDArray[np.int64]:
        """Where pieces stand. Raises KeyError if one is not held: another must not go out in its place."""
        places_N: NDArray[np.int64] = np.searchsorted(self._numbers_H[: self._size], numbers_N)
        found_N = self._numbers_H.take(places_N, mode="clip") == numbers_N
        if not (found_N & ((self._flags_H.take(places_N, mode="clip") & _HELD) != 0)).all():
            raise KeyError(f"not all of the pieces {numbers_N} are held")
        return places_N

    def add(self, numbers_N: Numbers, pieces_N: Pieces, vectors_ND: NDArray[np.int8]) -> None:
        """The next pieces; those that have an arrival wait, with their vectors."""
        self._reserve(len(numbers_N))
        places = slice(self._size, self._size + len(numbers_N))
        self._numbers_H[places], self._pieces_H[places] = numbers_N, pieces_N
        self._vectors_HD[places] = vectors_ND
        self._flags_H[places] = np.where(pieces_N["arrival"] >= 0, _HELD | _WAITS, _HELD)
        self._size = places.stop

    def _reserve(self, num_pieces: int) -> None:
        """Make room: without the free places, and twice as large where most are in use."""
        capacity = len(self._flags_H)
        if self._size + num_pieces <= capacity:
            return
        kept = np.flatnonzero(self._having(_HELD | _STORED))
        while capacity < 2 * (len(kept) + num_pieces):
            capacity *= 2
        for name in ("_numbers_H", "_pieces_H", "_flags_H", "_vectors_HD"):
            column = getattr(self, name)
            larger = np.zeros((capacity, *column.shape[1:]), column.dtype)
            larger[: len(kept)] = column[kept]
            setattr(self, name, larger)
        self._size = len(kept)

    def held(self) -> tuple[Numbers, Pieces]:
        """Numbers and pieces of all that are held, in their order."""
        held_H = self._having(_HELD)
        return self._numbers_H[: self._size][held_H], self._pieces_H[: self._size][held_H]

    def waiting(self) -> Numbers:
        """The numbers of those that wait, in their order."""
        numbers_N: Numbers = self._numbers_H[: self._size][self._having(_WAITS)]
        return numbers_N

    def of_document(self, doc_no: int) -> Numbers:
        """The numbers of the pieces of a document, all uses of it."""
        is_part_H = self._having(_HELD) & (self._pieces_H["doc_no"][: self._size] == doc_no)
        numbers_N: Numbers = self._numbers_H[: self._size][is_part_H]
        return numbers_N

    def pieces(self, numbers_N: Numbers) -> Pieces:
        """Pieces that are held."""
        found_N: Pieces = self._pieces_H[self._places(numbers_N)]
        return found_N

    def vectors(self, numbers_N: Numbers) -> NDArray[np.int8]:
        """The vectors of pieces that wait."""
        return self._vectors_HD[self._places(numbers_N)]

    def renew(self, numbers_N: Numbers, vectors_ND: NDArray[np.int8]) -> None:
        """These wait, and no others; their vectors, which may have another dimension than those before."""
        if vectors_ND.shape[1] != self._vectors_HD.shape[1]:
            self._vectors_HD = np.zeros((len(self._flags_H), vectors_ND.shape[1]), np.int8)
        self._flags_H[: self._size] &= _HELD | _STORED
        places_N = self._places(numbers_N)
        self._flags_H[places_N] |= _WAITS
        self._vectors_HD[places_N] = vectors_ND

    def close(self, numbers_N: Numbers) -> NDArray[np.bool_]:
        """The rows of these closed: they wait no longer; which of them did."""
        places_N = self._places(numbers_N)
        waited_N: NDArray[np.bool_] = (self._flags_H[places_N] & _WAITS) != 0
        self._flags_H[places_N] &= _HELD | _STORED
        return waited_N

    def take(self, numbers_N: Numbers) -> Pieces:
        """Take pieces out."""
        places_N = self._places(numbers_N)
        self._flags_H[places_N] &= _STORED
        taken_N: Pieces = self._pieces_H[places_N]
        return taken_N

    def take_changes(self) -> list[RowChange]:
        """A fact of each piece that came, None for each that left, since the last call."""
        flags_H = self._flags_H[: self._size]
        changed = np.flatnonzero(((flags_H & _HELD) != 0) != ((flags_H & _STORED) != 0))
        came_N = (flags_H[changed] & _HELD) != 0
        pieces_N = self._pieces_H[changed]
        names = ("arrival", "doc_no", "start", "end", "num_tokens")
        columns = [pieces_N[name].tolist() for name in names]
        values = zip(*columns, as_bytes(pieces_N["numbers"]), pieces_N["use"].tolist(), strict=True)
        keys, prefix = self._numbers_H[changed].astype(">u8").tobytes(), PIECES.prefix
        flags_H[changed] ^= _STORED
        return [
            (prefix + keys[at : at + 8], _ENCODER.encode(value) if came else None)
            for at, value, came in zip(range(0, len(keys), 8), values, came_N.tolist(), strict=True)
        ]

    def load(self, committed: FactSource) -> None:
        """Become what is committed; no piece waits before `renew`."""
        found = list(PIECES.items(committed))
        pieces_N = np.zeros(len(found), PIECE)
        for name in ("arrival", "doc_no", "start", "end", "num_tokens", "use"):
            pieces_N[name] = [getattr(piece, name) for _, piece in found]
        pieces_N["numbers"] = numbers_from([piece.numbers for _, piece in found])
        self._size = 0
        numbers_N = np.array([number for number, _ in found], np.int64)
        self.add(numbers_N, pieces_N, np.zeros((len(found), self._vectors_HD.shape[1]), np.int8))
        self._flags_H[: self._size] = _HELD | _STORED
