"""A tier: all rows of one kind that are no longer in memory, in a few runs on disk.

Rows are sealed as a run when they are many. A run is merged with the one before it unless that is many times as long,
so there are few, and a row is written a few times in its life. Runs are never changed: those that replace them are
named by the next manifest, and they are deleted after that (`curation.dedup.sealed`).
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curation.dedup.run_file import CELLS, HEADER, RunFile, make_header
from kernels import sorted_rows as kernel
from ops.memory import lookup_table
from state.durable import sync

RATIO = 4  # a run is merged into one that is less than so many times as long


class Tier:
    """The runs of one kind, oldest first.

    `value_bits` are the upper bits of the first word that rows are found by; 0 for as many as tell keys apart.
    """

    def __init__(self, kind: str, *, width: int, value_bits: int = 0) -> None:
        self.kind = kind
        self._width = width
        self._value_bits = value_bits
        self.runs: list[RunFile] = []
        self.columns_RC = np.zeros((0, kernel.NUM_COLUMNS), np.int64)  # for kernels
        self.held_bytes = 0

    def open(self, paths: list[Path]) -> None:
        """The runs of a manifest. Raises `StateError` if one is not there as it was written."""
        self.runs = [RunFile(path) for path in paths]

    def seal(
        self, rows_NW: NDArray[np.uint64], folder: Path, number: int, *, oldest: int, gone_P: NDArray[np.uint8]
    ) -> None:
        """Sorted rows become the newest run; `number` tells its file from those before.

        Runs that are merged lose the rows whose number is below `oldest`, or gone.
        """
        newer_NW, empty_NW = rows_NW, np.zeros((0, self._width), np.uint64)
        merged: list[RunFile] = []
        while self.runs and len(self.runs[-1]) < RATIO * len(newer_NW):
            older = self.runs.pop()
            path = folder / f"{self.kind}-{number}-{len(merged)}.run"
            merged.append(self._write(path, older.rows(), newer_NW, oldest, gone_P))
            newer_NW = merged[-1].rows()
        if not merged and len(rows_NW):
            merged.append(self._write(folder / f"{self.kind}-{number}-0.run", empty_NW, rows_NW, oldest, gone_P))
        for step in merged[:-1]:
            step.path.unlink()
        self.runs += [run for run in merged[-1:] if len(run)]

    def _write(
        self,
        path: Path,
        older_NW: NDArray[np.uint64],
        newer_NW: NDArray[np.uint64],
        oldest: int,
        gone_P: NDArray[np.uint8],
    ) -> RunFile:
        """The merged rows as a file that is on the disk."""
        most = len(older_NW) + len(newer_NW)
        num_cell_bits = kernel.cell_bits(most)
        num_rest_bits = self._value_bits - num_cell_bits if self._value_bits else kernel.REST_BITS
        header = make_header(most, self._width, num_cell_bits, num_rest_bits)
        rests, rows, end = (int(header[name][0]) for name in ("rests", "rows", "end"))
        with path.open("w+b") as file:
            file.truncate(end)
            memory = mmap.mmap(file.fileno(), 0)
            words = np.frombuffer(memory, np.uint64, offset=rows).reshape(most, self._width)
            num_rows = kernel.merge(older_NW, newer_NW, oldest, gone_P, words)
            cells = np.frombuffer(memory, np.uint32, count=(1 << num_cell_bits) + 1, offset=CELLS)
            packed = np.frombuffer(memory, np.uint64, count=(rows - rests) // 8, offset=rests)
            kernel.fill_directory(words[:num_rows], num_cell_bits, num_rest_bits, cells, packed)
            header["num_rows"], header["end"] = num_rows, rows + 8 * self._width * num_rows
            memory[: HEADER.itemsize] = header.tobytes()
            del words, cells, packed
            memory.close()
            file.truncate(int(header["end"][0]))
        sync(path)
        return RunFile(path)

    def hold(self, budget: int) -> None:
        """Hold directories in memory, the newest first, as far as the bytes reach."""
        used = 0
        for run in reversed(self.runs):
            size = len(run.directory)
            fits = used + size <= budget
            used += size if fits else 0
            if not fits:
                run.directory = run.mapped_directory()
            elif not run.directory.flags.writeable:  # it is mapped
                run.directory = lookup_table((size,), np.uint8)
                run.directory[:] = run.mapped_directory()
        self.columns_RC = np.array([_columns(run) for run in self.runs], np.int64).reshape(-1, kernel.NUM_COLUMNS)
        self.held_bytes = used

    def directory_bytes(self) -> int:
        """Size of all directories, wherever they lie."""
        return sum(len(run.directory) for run in self.runs)


def _columns(run: RunFile) -> list[int]:
    """A run as kernels take it: numbers of bits, and addresses."""
    directory, header = run.directory.ctypes.data, run.header
    columns = [0] * kernel.NUM_COLUMNS
    columns[kernel.CELL_BITS], columns[kernel.REST] = int(header["cell_bits"]), int(header["rest_bits"])
    columns[kernel.CELLS], columns[kernel.RESTS] = directory, directory + int(header["rests"]) - CELLS
    columns[kernel.ROWS] = run.rows().ctypes.data
    return columns
