"""A tier: all rows of one kind that are no longer in memory, in a few runs on disk.

Rows are sealed as a run when they are many. A run is merged with those before it that are less than twice as long, so
there are few, and a row is written a few times in its life (O'Neil and others: The log-structured merge-tree, 1996).
Runs are never changed: those that replace them are named by the next manifest, and they are deleted after that
(`curation.dedup.sealing`).
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curation.dedup.run_file import CELLS, HEADER, RunFile, make_header, num_blocks_of
from kernels import checksums
from kernels import sorted_rows as kernel
from ops.memory import lookup_table
from state.durable import sync

RATIO = 2  # a run is merged into one that is less than so many times as long
BLOCK_ROWS = 1 << 16  # that are merged at a time


class Rows(NamedTuple):
    """Rows that are sorted on each shelf."""

    words_NW: NDArray[np.uint64]
    bounds_H: NDArray[np.int64]  # the first row of each shelf, and the end

    def __len__(self) -> int:
        return len(self.words_NW)

    def shelf(self, number: int) -> NDArray[np.uint64]:
        """The rows of one shelf."""
        return self.words_NW[self.bounds_H[number] : self.bounds_H[number + 1]]


def on_one_shelf(words_NW: NDArray[np.uint64]) -> Rows:
    """Sorted rows."""
    return Rows(words_NW, np.array([0, len(words_NW)]))


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
        """The runs of a manifest. Raises `StateError` if the directory of one is not as it was written."""
        self.runs = [RunFile(path) for path in paths]
        for run in self.runs:
            _check(run, num_blocks_of(int(run.header["rows"])))

    def check(self) -> None:
        """Raise `StateError` if a kernel met rows that are not as they were written."""
        for run in self.runs:
            if run.seen_K1[-1] == checksums.DAMAGED:
                raise run.explain(int(np.argmax(run.seen_K1 == checksums.DAMAGED)))

    def seal(self, newest: Rows, folder: Path, number: int, *, oldest: int, gone_P: NDArray[np.uint8]) -> None:
        """Rows become the newest run; `number` tells its file from those before.

        Runs that are merged lose the rows whose number is below `oldest`, or gone. Raises `StateError` if one of them
        is damaged.
        """
        first, size = len(self.runs), len(newest.words_NW)
        while first > 0 and len(self.runs[first - 1]) < RATIO * size:
            first -= 1
            size += len(self.runs[first])
            _check(self.runs[first], len(self.runs[first].sums_K))
        parts = [Rows(run.rows(), run.bounds()) for run in self.runs[first:]] + [newest]
        merging = _Merging(folder / f"{self.kind}-{number}.run", oldest, gone_P if gone_P.any() else gone_P[:0])
        while len(parts) > 2:
            newer, older = parts.pop(), parts.pop()
            parts.append(merging.between(older, newer))
        nothing = Rows(np.zeros((0, self._width), np.uint64), np.zeros_like(newest.bounds_H))
        parts = [nothing] * (2 - len(parts)) + parts
        del self.runs[first:]
        if size:
            run = merging.final(*parts, value_bits=self._value_bits)
            self.runs += [run] if len(run) else []

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


@dataclass(frozen=True, slots=True)
class _Merging:
    """Runs become one."""

    path: Path
    oldest: int
    gone_P: NDArray[np.uint8]

    def between(self, older: Rows, newer: Rows) -> Rows:
        """The rows of two, in a file without a name."""
        width = newer.words_NW.shape[1]
        with TemporaryFile(dir=self.path.parent) as file:
            bounds_H = self._write(file, older, newer)
            num_rows = int(bounds_H[-1])
            if not num_rows:
                return Rows(np.zeros((0, width), np.uint64), bounds_H)
            memory = mmap.mmap(file.fileno(), 8 * width * num_rows, access=mmap.ACCESS_READ)
        return Rows(np.frombuffer(memory, np.uint64).reshape(num_rows, width), bounds_H)

    def final(self, older: Rows, newer: Rows, *, value_bits: int) -> RunFile:
        """The rows of two as a run that is on the disk."""
        most, width = len(older) + len(newer), newer.words_NW.shape[1]
        num_cell_bits = kernel.cell_bits(most)
        num_rest_bits = value_bits - num_cell_bits if value_bits else kernel.REST_BITS
        header = make_header(older.bounds_H + newer.bounds_H, width, num_cell_bits, num_rest_bits)
        rests, rows, shelf_bits = (int(header[name][0]) for name in ("rests", "rows", "shelf_bits"))
        with self.path.open("w+b") as file:
            file.seek(rows)
            bounds_H = self._write(file, older, newer)
            num_rows = int(bounds_H[-1])
            header = make_header(bounds_H, width, num_cell_bits, num_rest_bits, most)
            sums = int(header["sums"][0])
            file.truncate(int(header["end"][0]))
            memory = mmap.mmap(file.fileno(), 0)
            words = np.frombuffer(memory, np.uint64, count=width * num_rows, offset=rows).reshape(num_rows, width)
            cells = np.frombuffer(memory, np.uint32, count=(1 << num_cell_bits) + 1, offset=CELLS)
            packed = np.frombuffer(memory, np.uint64, count=(rows - rests) // 8, offset=rests)
            kernel.fill_directory(words, bounds_H, shelf_bits, num_cell_bits, num_rest_bits, cells, packed)
            memory[: HEADER.itemsize] = header.tobytes()
            everything = np.frombuffer(memory, np.uint64, count=sums // 8)
            sums_K = np.frombuffer(memory, np.uint64, count=num_blocks_of(sums), offset=sums)
            checksums.sum_blocks(everything.ctypes.data, len(everything), sums_K)
            del words, cells, packed, everything, sums_K
            memory.close()
        sync(self.path)
        return RunFile(self.path)

    def _write(self, file: BinaryIO, older: Rows, newer: Rows) -> NDArray[np.int64]:
        """The merged rows, from where the file stands; their bounds."""
        bounds_H = np.zeros_like(newer.bounds_H)
        block_NW = np.empty((BLOCK_ROWS, newer.words_NW.shape[1]), np.uint64)
        for shelf in range(len(bounds_H) - 1):
            places_2, num_rows = np.zeros(2, np.int64), 0
            parts = older.shelf(shelf), newer.shelf(shelf)
            while kept := kernel.merge(*parts, places_2, self.oldest, self.gone_P, block_NW):
                file.write(block_NW[:kept].data)
                num_rows += kept
            bounds_H[shelf + 1] = bounds_H[shelf] + num_rows
        file.flush()
        return bounds_H


def _check(run: RunFile, num_blocks: int) -> None:
    """Raise `StateError` if the first blocks of a run are not as they were written."""
    block = int(checksums.first_damaged(run.words.ctypes.data, len(run.words), run.sums_K[:num_blocks]))
    if block >= 0:
        raise run.explain(block)


def _columns(run: RunFile) -> list[int]:
    """A run as kernels take it: numbers of bits, and addresses."""
    directory, header = run.directory.ctypes.data, run.header
    columns = [0] * kernel.NUM_COLUMNS
    columns[kernel.CELL_BITS], columns[kernel.REST] = int(header["cell_bits"]), int(header["rest_bits"])
    columns[kernel.CELLS], columns[kernel.RESTS] = directory, directory + int(header["rests"]) - CELLS
    columns[kernel.ROWS] = run.rows().ctypes.data
    columns[kernel.FILE], columns[kernel.WORDS] = run.words.ctypes.data, len(run.words)
    columns[kernel.SUMS], columns[kernel.SEEN] = run.sums_K.ctypes.data, run.seen_K1.ctypes.data
    return columns
