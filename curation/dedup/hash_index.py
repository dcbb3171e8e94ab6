"""HashIndex: 128-bit keys to document numbers, in memory."""

from __future__ import annotations

import numpy as np
import xxhash
from numpy.typing import NDArray

from kernels import hash_index as kernel
from ops.memory import lookup_table

INITIAL_SLOTS = 1 << 16


def hash_keys(values: list[bytes]) -> NDArray[np.uint64]:
    """xxh3 of each value as two halves: keys_B2."""
    digest = xxhash.xxh3_128_digest
    return np.frombuffer(b"".join([digest(value) for value in values]), np.uint64).reshape(-1, 2)


class HashIndex:
    """Which document has a key. Numbers are below 2**32 - 1.

    >>> index = HashIndex()
    >>> keys_B2 = hash_keys([b"a", b"b", b"a"])
    >>> index.find_or_insert(keys_B2, np.array([5, 6, 7])).tolist()
    [-1, -1, 5]
    >>> index.find(hash_keys([b"b", b"c"])).tolist()
    [6, -1]
    """

    def __init__(self) -> None:
        self._allocate(INITIAL_SLOTS)

    def _allocate(self, num_slots: int) -> None:
        self._high_S = lookup_table((num_slots,), np.uint64)
        self._low_S = lookup_table((num_slots,), np.uint64)
        self._numbers_S = lookup_table((num_slots,), np.uint32)
        self._num_taken = 0

    def _reserve(self, num_keys: int) -> None:
        """Keep the load at or below one half after `num_keys` more."""
        if (self._num_taken + num_keys) * 2 <= len(self._low_S):
            return
        old = (self._high_S, self._low_S, self._numbers_S)
        num_slots = len(self._low_S)
        while (self._num_taken + num_keys) * 2 > num_slots:
            num_slots *= 2
        self._allocate(num_slots)
        self._num_taken = kernel.rehash(*old, self._high_S, self._low_S, self._numbers_S)

    def find(self, keys_B2: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Number of each key, -1 where there is none."""
        found_B = np.empty(len(keys_B2), np.int64)
        kernel.find(self._high_S, self._low_S, self._numbers_S, keys_B2, found_B)
        return found_B

    def find_or_insert(
        self,
        keys_B2: NDArray[np.uint64],
        doc_nos_B: NDArray[np.int64],
        wanted_B: NDArray[np.bool_] | None = None,
        oldest_B: NDArray[np.int64] | None = None,
    ) -> NDArray[np.int64]:
        """In order: the number that a key already has, or -1 and it gets `doc_nos_B`. Unwanted rows are skipped.

        A number below that of `oldest_B` counts as none.
        """
        if wanted_B is None:
            wanted_B = np.ones(len(keys_B2), np.bool_)
        if oldest_B is None:
            oldest_B = np.zeros(len(keys_B2), np.int64)
        self._reserve(len(keys_B2))
        found_B = np.empty(len(keys_B2), np.int64)
        self._num_taken += kernel.find_or_insert(
            self._high_S, self._low_S, self._numbers_S, keys_B2, doc_nos_B, wanted_B, oldest_B, found_B
        )
        return found_B

    def assign(self, keys_B2: NDArray[np.uint64], doc_nos_B: NDArray[np.int64]) -> None:
        """Set the number of each key, replacing what was there."""
        self._reserve(len(keys_B2))
        self._num_taken += kernel.assign(self._high_S, self._low_S, self._numbers_S, keys_B2, doc_nos_B)

    def drop(self, keys_B2: NDArray[np.uint64], doc_nos_B: NDArray[np.int64]) -> None:
        """Free the keys that still belong to these documents."""
        mine_B = self.find(keys_B2) == doc_nos_B
        absent_B = np.full(int(mine_B.sum()), kernel.ABSENT, np.int64)
        self.assign(keys_B2[mine_B], absent_B)

    def num_bytes(self) -> int:
        """Memory of the table."""
        return self._high_S.nbytes + self._low_S.nbytes + self._numbers_S.nbytes

    def rows(self) -> NDArray[np.uint64]:
        """Every key that has a number, with it, [N, 3], sorted."""
        rows_N3 = np.empty((self._num_taken, 3), np.uint64)
        num_rows = kernel.rows_of(self._high_S, self._low_S, self._numbers_S, rows_N3)
        return sorted_rows(rows_N3[:num_rows])

    def clear(self) -> None:
        """Forget all keys, and keep the memory for those to come."""
        for array in (self._high_S, self._low_S, self._numbers_S):
            array.fill(0)
        self._num_taken = 0


def sorted_rows(rows_N3: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Rows of keys and numbers in their order; those of one key come in the order of their numbers."""
    rows_N3 = rows_N3[np.argsort(rows_N3[:, 0], kind="stable")]
    is_tie_N = rows_N3[1:, 0] == rows_N3[:-1, 0]
    if (rows_N3[1:, 1] != rows_N3[:-1, 1])[is_tie_N].any():  # the first halves of two keys are equal
        rows_N3 = rows_N3[np.lexsort((rows_N3[:, 2], rows_N3[:, 1], rows_N3[:, 0]))]
    return rows_N3
