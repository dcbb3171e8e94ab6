"""Sketches and numbers of the survivors that are no longer in memory: two files that only grow at their end.

Row by row, in the order of the documents, each with checksums that are held against it when it is read. A manifest says
how many rows count; what a file has beyond them is of a process that ended before it could tell of them, and is written
over.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.dedup.run_file import explain_damage, mapped
from curatord.errors import StateError
from kernels import sealed_survivors as kernel

GROWTH_PARTS = 4  # a file that is full grows by so much of itself
MIN_GROWTH = 1 << 16  # rows


class SurvivorFiles:
    """The rows of all survivors that were sealed, mapped."""

    def __init__(self, sketch_bytes: int) -> None:
        self._num_rows = 0
        self._sketches = _GrowingFile("sketches", np.uint8, sketch_bytes)
        self._survivors = _GrowingFile("survivors", np.uint32, 4)
        self._folder = Path()
        self.damaged_1 = np.full(1, -1, np.int64)  # a row that a kernel met

    def __len__(self) -> int:
        return self._num_rows

    @property
    def sketches(self) -> NDArray[np.uint8]:
        """Sketches, [S, Q]."""
        return self._sketches.rows[: self._num_rows]

    @property
    def numbers(self) -> NDArray[np.uint32]:
        """Document number, symbols, and two checksums, [S, 4]."""
        return self._survivors.rows[: self._num_rows]

    def open(self, folder: Path, num_rows: int) -> None:
        """The first rows of the files. Raises `StateError` if there are fewer."""
        for file in (self._sketches, self._survivors):
            file.open(folder, num_rows)
        self._num_rows, self._folder = num_rows, folder
        self.damaged_1.fill(-1)

    def append(self, folder: Path, sketches_SQ: NDArray[np.uint8], survivors_S2: NDArray[np.uint32]) -> None:
        """More rows, which are on the disk then."""
        survivors_S4 = np.zeros((len(survivors_S2), 4), np.uint32)
        survivors_S4[:, :2] = survivors_S2
        kernel.fill_sums(np.ascontiguousarray(sketches_SQ), survivors_S4, self._num_rows)
        self._sketches.write(folder, sketches_SQ, self._num_rows)
        self._survivors.write(folder, survivors_S4, self._num_rows)
        self._num_rows, self._folder = self._num_rows + len(survivors_S2), folder

    def check(self) -> None:
        """Raise `StateError` if a kernel met a row that is not as it was written."""
        if self.damaged_1[0] >= 0:
            raise explain_damage(self._folder / "survivors or sketches", f"row {self.damaged_1[0]:,}")


class _GrowingFile:
    """Rows of one kind. The file has room for more, so that its mapping, and the pages known to it, last."""

    def __init__(self, name: str, kind: type[np.generic], columns: int) -> None:
        self._name, self._kind, self._columns = name, kind, columns
        self._row_bytes = columns * np.dtype(kind).itemsize
        self.rows = _frozen(np.zeros((0, columns), kind))

    def open(self, folder: Path, num_rows: int) -> None:
        """Map the whole file, if any of its rows count."""
        path = folder / self._name
        if not num_rows:
            self.rows = _frozen(np.zeros((0, self._columns), self._kind))
            return
        memory = mapped(path)
        capacity = len(memory) // self._row_bytes
        if capacity < num_rows:
            raise StateError(f"{path} lost its end")
        words = np.frombuffer(memory, self._kind, count=capacity * self._columns)
        self.rows = words.reshape(capacity, self._columns)

    def write(self, folder: Path, rows: NDArray[Any], first: int) -> None:
        """These become the rows from `first` on."""
        if not len(rows):
            return
        path, needed = folder / self._name, first + len(rows)
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.seek(first * self._row_bytes)
            file.write(np.ascontiguousarray(rows).data)
            if needed > len(self.rows):
                file.truncate((needed + max(needed // GROWTH_PARTS, MIN_GROWTH)) * self._row_bytes)
            file.flush()
            os.fsync(file.fileno())
        if needed > len(self.rows):
            self.open(folder, needed)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False  # as what is mapped: kernels are compiled once
    return array
