"""Sketches and numbers of the survivors that are no longer in memory: two files that only grow at their end.

Row by row, in the order of the documents. A manifest says how many rows count; what a file has beyond them is of a
process that ended before it could tell of them, and is written over.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curatord.errors import StateError


class SurvivorFiles:
    """The rows of all survivors that were sealed, mapped."""

    def __init__(self, sketch_bytes: int) -> None:
        self._sketch_bytes = sketch_bytes
        self.sketches_SQ = _frozen(np.zeros((0, sketch_bytes), np.uint8))
        self.survivors_S2 = _frozen(np.zeros((0, 2), np.uint32))  # document number, symbols

    def __len__(self) -> int:
        return len(self.survivors_S2)

    def open(self, folder: Path, num_rows: int) -> None:
        """The first rows of the files. Raises `StateError` if there are fewer."""
        self.sketches_SQ = _mapped(folder / "sketches", np.uint8, num_rows, self._sketch_bytes)
        self.survivors_S2 = _mapped(folder / "survivors", np.uint32, num_rows, 2)

    def append(self, folder: Path, sketches_SQ: NDArray[np.uint8], survivors_S2: NDArray[np.uint32]) -> None:
        """More rows, which are on the disk then."""
        for name, rows, row_bytes in (("sketches", sketches_SQ, self._sketch_bytes), ("survivors", survivors_S2, 8)):
            with (folder / name).open("r+b" if (folder / name).exists() else "w+b") as file:
                file.truncate(len(self) * row_bytes)
                file.seek(0, os.SEEK_END)
                file.write(np.ascontiguousarray(rows).data)
                file.flush()
                os.fsync(file.fileno())
        self.open(folder, len(self) + len(survivors_S2))


def _mapped(path: Path, kind: type[np.generic], num_rows: int, columns: int) -> NDArray[Any]:
    size = num_rows * columns * np.dtype(kind).itemsize
    if not num_rows:
        return _frozen(np.zeros((0, columns), kind))
    try:
        with path.open("rb") as file:
            memory = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise StateError(f"{path} cannot be read, or lost its end: {error}") from error
    if hasattr(mmap, "MADV_RANDOM"):
        memory.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(memory, kind, count=num_rows * columns).reshape(num_rows, columns)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False  # as what is mapped: kernels are compiled once
    return array
