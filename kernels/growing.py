"""Arrays that grow where they stand, for indices that grow with every document.

The system moves the pages of a mapping to where it has room (mremap), so nothing is copied, the peak is the new size,
and nothing is left behind. Blocks of the allocator do that only above a threshold, which the process raises for the
sake of its batches (`ops.memory`): there every step of growth leaves a hole, and an index takes twice its bytes.
"""

from __future__ import annotations

import math
import mmap
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item", bound=np.generic)


class GrowingArray(Generic[Item]):
    """`values` has so many rows of this shape, zeros where nothing was written. Keep no view of it over `grow`.

    >>> array = GrowingArray(np.int32, (2,))
    >>> array.grow(3)
    >>> array.values[2] = 7
    >>> array.grow(4)
    >>> array.values.tolist()
    [[0, 0], [0, 0], [7, 7], [0, 0]]
    """

    def __init__(self, kind: type[Item], shape: tuple[int, ...] = ()) -> None:
        self._kind = kind
        self._shape = shape
        self._memory = _mapped(0)
        self.values = self._show(0)

    def grow(self, rows: int) -> None:
        """To `rows` rows, no fewer than there are."""
        before = len(self.values)
        size = max(1, rows * math.prod(self._shape) * np.dtype(self._kind).itemsize)
        self.values = np.zeros((0, *self._shape), self._kind)  # a mapping with a view on it is not moved
        try:
            self._memory.resize(size)
            self.values = self._show(rows)
        except (SystemError, BufferError):  # no mremap on this system, or another view
            old = self._show(before)
            self._memory = _mapped(size)
            self.values = self._show(rows)
            self.values[:before] = old

    def _show(self, rows: int) -> NDArray[Item]:
        if hasattr(mmap, "MADV_HUGEPAGE"):  # rows are read at random
            self._memory.madvise(mmap.MADV_HUGEPAGE)
        count = rows * math.prod(self._shape)
        return np.frombuffer(self._memory, self._kind, count=count).reshape(rows, *self._shape)


def _mapped(size: int) -> mmap.mmap:
    return mmap.mmap(-1, max(1, size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
