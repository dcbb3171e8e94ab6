"""Merging: sorted rows of two runs or more become one run, a file that is on the disk when it has its name.

A merge runs on a thread of its own: kernels hold no interpreter lock, and the largest takes as long as a lane needs for
its next hundred thousand documents. Its file has another ending until it counts, so that what a process left behind
that ended meanwhile is known (`curation.dedup.sealing`).
"""

from __future__ import annotations

import atexit
import mmap
import secrets
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curation.dedup.run_file import CELLS, HEADER, RunFile, make_header, num_blocks_of
from kernels import checksums
from kernels import sorted_rows as kernel
from state.durable import sync

RUN: Final = ".run"
MERGING: Final = ".merging"  # the ending of a file that does not count yet
BLOCK_ROWS: Final = 1 << 16  # that are merged at a time


class Rows(NamedTuple):
    """Rows that are sorted on each shelf."""

    words_NW: NDArray[np.uint64]
    bounds_H: NDArray[np.int64]  # the first row of each shelf, and the end

    def __len__(self) -> int:
        return len(self.words_NW)

    def shelf(self, number: int) -> NDArray[np.uint64]:
        """The rows of one shelf."""
        return self.words_NW[self.bounds_H[number] : self.bounds_H[number + 1]]


class Living(NamedTuple):
    """Which rows are kept, by their number."""

    oldest: int
    gone_P: NDArray[np.uint8]


class Stopped(Exception):  # no error
    """The process ends before a merge does."""


def on_one_shelf(words_NW: NDArray[np.uint64]) -> Rows:
    """Sorted rows."""
    return Rows(words_NW, np.array([0, len(words_NW)]))


class Merge:
    """Runs that follow each other are merged, on a thread that begins now."""

    def __init__(self, runs: Sequence[RunFile], living: Living, value_bits: int) -> None:
        self.runs = runs
        self.living = living
        self._value_bits = value_bits
        self._path = runs[-1].path.with_suffix(f".{secrets.token_hex(4)}{MERGING}")
        self._stop = threading.Event()
        self._merged: RunFile | Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"merge {self._path.stem}", daemon=True)
        _UNDER_WAY.add(self)
        self._thread.start()

    def is_done(self) -> bool:
        """Whether `result` would not wait."""
        return not self._thread.is_alive()

    def result(self) -> RunFile:
        """The run that they became. Raises `StateError` if one was damaged, `OSError` as files do."""
        self._thread.join()
        if not isinstance(self._merged, RunFile):
            assert self._merged is not None
            raise self._merged
        self._merged.path = self._path.rename(self._path.with_suffix(RUN))
        return self._merged

    def stop(self) -> None:
        """End soon, without a result."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            parts = []
            for run in self.runs:
                check_blocks(run, len(run.sums_K))
                parts.append(Rows(run.rows(), run.bounds()))
            while len(parts) > 2:
                newer, older = parts.pop(), parts.pop()
                parts.append(self._between(older, newer))
            older, newer = parts
            self._merged = write_run(
                self._path, older, newer, self.living, value_bits=self._value_bits, stop=self._stop
            )
        except Exception as error:  # it is raised where the result is asked for
            self._merged = error

    def _between(self, older: Rows, newer: Rows) -> Rows:
        """The rows of two, in a file without a name."""
        width = newer.words_NW.shape[1]
        with TemporaryFile(dir=self._path.parent) as file:
            bounds_H = _write_rows(file, older, newer, self.living, self._stop)
            num_rows = int(bounds_H[-1])
            if not num_rows:
                return Rows(np.zeros((0, width), np.uint64), bounds_H)
            memory = mmap.mmap(file.fileno(), 8 * width * num_rows, access=mmap.ACCESS_READ)
        return Rows(np.frombuffer(memory, np.uint64).reshape(num_rows, width), bounds_H)


_UNDER_WAY: weakref.WeakSet[Merge] = weakref.WeakSet()


def _stop_all() -> None:
    for merge in list(_UNDER_WAY):
        merge.stop()


atexit.register(_stop_all)  # a thread in a kernel must not outlive the memory that it reads


def write_run(
    path: Path, older: Rows, newer: Rows, living: Living, *, value_bits: int, stop: threading.Event | None = None
) -> RunFile:
    """The living rows of two as a run that is on the disk. Raises `Stopped`, and `OSError`."""
    most, width = len(older) + len(newer), newer.words_NW.shape[1]
    num_cell_bits = kernel.cell_bits(most)
    num_rest_bits = value_bits - num_cell_bits if value_bits else kernel.REST_BITS
    header = make_header(older.bounds_H + newer.bounds_H, width, num_cell_bits, num_rest_bits)
    rests, rows, shelf_bits = (int(header[name][0]) for name in ("rests", "rows", "shelf_bits"))
    with path.open("w+b") as file:
        file.seek(rows)
        bounds_H = _write_rows(file, older, newer, living, stop)
        _check_not(stop)
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
    _check_not(stop)
    sync(path)
    return RunFile(path)


def _check_not(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise Stopped


def _write_rows(
    file: BinaryIO, older: Rows, newer: Rows, living: Living, stop: threading.Event | None
) -> NDArray[np.int64]:
    """The merged rows, from where the file stands; their bounds."""
    bounds_H = np.zeros_like(newer.bounds_H)
    block_NW = np.empty((BLOCK_ROWS, newer.words_NW.shape[1]), np.uint64)
    for shelf in range(len(bounds_H) - 1):
        places_2, num_rows = np.zeros(2, np.int64), 0
        parts = older.shelf(shelf), newer.shelf(shelf)
        while kept := kernel.merge(*parts, places_2, *living, block_NW):
            _check_not(stop)
            file.write(block_NW[:kept].data)
            num_rows += kept
        bounds_H[shelf + 1] = bounds_H[shelf] + num_rows
    file.flush()
    return bounds_H


def check_blocks(run: RunFile, num_blocks: int) -> None:
    """Raise `StateError` if the first blocks of a run are not as they were written."""
    block = int(checksums.first_damaged(run.words.ctypes.data, len(run.words), run.sums_K[:num_blocks]))
    if block >= 0:
        raise run.explain(block)
