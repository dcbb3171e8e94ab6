"""Retracted: which documents were taken back, a bit each. Their rows stay in runs on disk, and count no more."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from kernels.growing import GrowingArray

GROWTH = 9 / 8


class Retracted:
    """Numbers of documents that were taken back, or replaced.

    >>> retracted = Retracted()
    >>> retracted.add([3])
    >>> retracted.among(np.array([2, 3, 70])).tolist()
    [False, True, False]
    """

    def __init__(self) -> None:
        self._bits = GrowingArray(np.uint8)

    @property
    def bits(self) -> NDArray[np.uint8]:
        """The bits, eight documents a byte, as far as any is set."""
        return self._bits.values

    def add(self, doc_nos: Iterable[int]) -> None:
        """These, too."""
        numbers = np.fromiter(doc_nos, np.int64)
        if not len(numbers):
            return
        needed = int(numbers.max() >> 3) + 1
        if needed > len(self.bits):
            self._bits.grow(int(needed * GROWTH) + 1)
        np.bitwise_or.at(self.bits, numbers >> 3, (1 << (numbers & 7)).astype(np.uint8))

    def among(self, doc_nos_B: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these documents were taken back."""
        at_B = doc_nos_B >> 3
        known_B = at_B < len(self.bits)
        found_B = np.zeros(len(doc_nos_B), np.bool_)
        found_B[known_B] = self.bits[at_B[known_B]] >> (doc_nos_B[known_B] & 7).astype(np.uint8) & 1
        return found_B

    def num_bytes(self) -> int:
        """Memory of the bits."""
        return self.bits.nbytes
