"""A run: a file of sorted rows that is never changed, and its directory (`kernels.sorted_rows`).

    header, the first row of each cell, the rests, the rows themselves: each from a multiple of 64 bytes on

The file is mapped: the system keeps in memory what is read, as far as there is room. The directory, which every look-up
reads, may be held in memory of our own.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curatord.errors import StateError

HEADER = np.dtype(
    [
        ("magic", "S8"),
        *((name, "<i8") for name in ("num_rows", "width", "cell_bits", "rest_bits", "rests", "rows", "end")),
    ]
)
MAGIC = b"curunv1"
CELLS = HEADER.itemsize  # where the cells begin


def mapped(path: Path) -> mmap.mmap:
    """A whole file, to be read here and there. Raises `StateError`."""
    try:
        with path.open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise StateError(f"{path} cannot be read: {error}") from error
    if hasattr(mmap, "MADV_RANDOM"):  # the neighbours of what is read are not wanted
        memory.madvise(mmap.MADV_RANDOM)
    return memory


def make_header(num_rows: int, width: int, cell_bits: int, rest_bits: int) -> NDArray[np.void]:
    """The header of a run of so many rows of `width` words, with the places of its parts."""

    def aligned(place: int) -> int:
        return -(-place // 64) * 64

    rests = aligned(CELLS + 4 * ((1 << cell_bits) + 1))
    rows = aligned(rests + 8 * (-(-num_rows * rest_bits // 64) + 1))
    end = rows + 8 * width * num_rows
    return np.array([(MAGIC, num_rows, width, cell_bits, rest_bits, rests, rows, end)], HEADER)


class RunFile:
    """One run. Raises `StateError` if the file is not the one that was written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._memory = mapped(path)
        if len(self._memory) >= HEADER.itemsize:
            (self.header,) = np.frombuffer(self._memory, HEADER, count=1)
        if (
            len(self._memory) < HEADER.itemsize
            or self.header["magic"] != MAGIC
            or self.header["end"] != len(self._memory)
        ):
            raise StateError(f"{path} is not what was written there")
        self.directory = self.mapped_directory()

    def __len__(self) -> int:
        return int(self.header["num_rows"])

    def mapped_directory(self) -> NDArray[np.uint8]:
        """Cells and rests, as they lie in the file."""
        return np.frombuffer(self._memory, np.uint8, count=int(self.header["rows"]) - CELLS, offset=CELLS)

    def rows(self) -> NDArray[np.uint64]:
        """The rows, [N, W]."""
        num_rows, width = len(self), int(self.header["width"])
        words = np.frombuffer(self._memory, np.uint64, count=num_rows * width, offset=int(self.header["rows"]))
        return words.reshape(num_rows, width)

    def find(self, word: int) -> NDArray[np.uint64]:
        """The rows that begin with a word: by halving, for one that is looked for on its own."""
        rows_NW = self.rows()

        def first_not_below(limit: int) -> int:
            low, high = 0, len(rows_NW)
            while low < high:
                middle = (low + high) // 2
                if int(rows_NW[middle, 0]) < limit:
                    low = middle + 1
                else:
                    high = middle
            return low

        return rows_NW[first_not_below(word) : first_not_below(word + 1)]
