"""Columns of values that differ in length: texts and arrays of tokens, each as one buffer and where its parts lie.

Shape legend: B documents, N bytes of text, T tokens; B1 is B + 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from kernels.simd import PADDING_BYTES

Rows = NDArray[np.integer[Any]] | NDArray[np.bool_] | slice | list[int]
V = TypeVar("V", bound=np.generic, covariant=True)

PADDING = bytes(PADDING_BYTES)  # behind the last of the texts of a buffer


@dataclass(frozen=True, slots=True)
class Texts:
    """B texts as UTF-8 in one buffer, which ends in 64 bytes of padding. Parts share the buffer.

    >>> texts = join_texts(["one", "zwölf"])
    >>> len(texts), texts[1], list(texts.take(slice(0, 1)))
    (2, 'zwölf', ['one'])
    """

    buffer_N: NDArray[np.uint8]
    starts_B: NDArray[np.int64]  # first byte of each
    ends_B: NDArray[np.int64]  # one past its last byte

    def __len__(self) -> int:
        return len(self.starts_B)

    def __getitem__(self, b: int) -> str:
        return self.buffer_N[self.starts_B[b] : self.ends_B[b]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        bytes_N = self.buffer_N.data
        for first, last in zip(self.starts_B.tolist(), self.ends_B.tolist(), strict=True):
            yield str(bytes_N[first:last], "utf-8")

    def num_bytes(self) -> NDArray[np.int64]:
        """Length of each, (B,)."""
        return self.ends_B - self.starts_B

    def take(self, rows: Rows) -> Texts:
        """Some of them, over the same buffer."""
        return Texts(self.buffer_N, self.starts_B[rows], self.ends_B[rows])

    def beginning(self, b: int, num_characters: int) -> str:
        """The first characters of one, at the cost of those alone."""
        start, end = self.starts_B[b], self.ends_B[b]
        raw = self.buffer_N[start : min(end, start + 4 * num_characters)].tobytes()
        return raw.decode(errors="ignore")[:num_characters]  # the last character may be cut

    def replaced(self, texts: Mapping[int, str]) -> Texts:
        """The same with other texts in some places. Raises UnicodeEncodeError for half a surrogate pair."""
        more, places = join_texts(texts.values()), list(texts)
        kept = int(self.ends_B.max(initial=0))
        starts_B, ends_B = self.starts_B.copy(), self.ends_B.copy()
        starts_B[places], ends_B[places] = more.starts_B + kept, more.ends_B + kept
        buffer_N = more.buffer_N
        if kept:
            buffer_N = np.concatenate((self.buffer_N[:kept], buffer_N))
            buffer_N.flags.writeable = False  # as that of `join_texts`: kernels are compiled for one kind
        return Texts(buffer_N, starts_B, ends_B)


def join_texts(texts: Iterable[str]) -> Texts:
    """Texts in one padded buffer. Raises UnicodeEncodeError for half a surrogate pair."""
    encoded = [text.encode() for text in texts]
    ends_B = np.cumsum(np.fromiter(map(len, encoded), np.int64, count=len(encoded)), dtype=np.int64)
    starts_B = np.concatenate((np.zeros(min(1, len(encoded)), np.int64), ends_B[:-1]))
    encoded.append(PADDING)
    return Texts(np.frombuffer(b"".join(encoded), np.uint8), starts_B, ends_B)


@dataclass(frozen=True, slots=True)
class Ragged(Generic[V]):
    """B arrays, one behind the other.

    >>> ragged = Ragged(np.array([1, 2, 3]), bounds_of([2, 1]))
    >>> len(ragged), ragged[0].tolist(), ragged.lengths().tolist()
    (2, [1, 2], [2, 1])
    """

    values_T: NDArray[V]
    bounds_B1: NDArray[np.int64]  # array b is values_T[bounds_B1[b] : bounds_B1[b + 1]]

    def __len__(self) -> int:
        return len(self.bounds_B1) - 1

    def __getitem__(self, b: int) -> NDArray[V]:
        return self.values_T[self.bounds_B1[b] : self.bounds_B1[b + 1]]

    def __iter__(self) -> Iterator[NDArray[V]]:
        for first, last in pairwise(self.bounds_B1.tolist()):
            yield self.values_T[first:last]

    def lengths(self) -> NDArray[np.int64]:
        """Number of values of each, (B,)."""
        return np.diff(self.bounds_B1)

    def take(self, rows_B: NDArray[np.int64]) -> Ragged[V]:
        """Some of the arrays, copied; all of them in their order as they are."""
        if len(rows_B) == len(self):
            return self
        parts = [self[row] for row in rows_B.tolist()]
        values_T = np.concatenate(parts) if parts else self.values_T[:0]
        return Ragged(values_T, bounds_of(self.lengths()[rows_B]))


def bounds_of(lengths_B: NDArray[np.int64] | Sequence[int]) -> NDArray[np.int64]:
    """bounds_B1 of arrays of these lengths."""
    bounds_B1 = np.zeros(len(lengths_B) + 1, np.int64)
    np.cumsum(lengths_B, out=bounds_B1[1:])
    return bounds_B1
