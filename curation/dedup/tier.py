"""A tier: all rows of one kind that are no longer in memory, in a few runs on disk.

Rows are sealed as a run when they are many. A run is merged with those before it that are less than twice as long, so
there are few, and a row is written a few times in its life (O'Neil and others: The log-structured merge-tree, 1996).
Runs are never changed: those that replace them are named by a later manifest, and they are deleted after that
(`curation.dedup.sealing`). Where a row stands decides nothing, so runs are merged on a thread beside the loop
(`curation.dedup.merging`), one merge of a kind at a time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curation.dedup.merging import RUN, Living, Merge, Rows, check_blocks, write_run
from curation.dedup.run_file import CELLS, RunFile, num_blocks_of
from kernels import checksums
from kernels import sorted_rows as kernel
from ops.memory import lookup_table

RATIO = 2  # a run is merged into one that is less than so many times as long


class Tier:
    """The runs of one kind, oldest first.

    `value_bits` are the upper bits of a value that rows are found by; 0 for as many as tell keys apart.
    """

    def __init__(self, kind: str, *, width: int, value_bits: int = 0) -> None:
        self.kind = kind
        self._width = width
        self._value_bits = value_bits
        self.runs: list[RunFile] = []
        self._merge: Merge | None = None  # of runs that follow each other
        self.columns_RC = np.zeros((0, kernel.NUM_COLUMNS), np.int64)  # for kernels
        self.held_bytes = 0

    def open(self, paths: list[Path]) -> None:
        """The runs of a manifest. Raises `StateError` if the directory of one is not as it was written."""
        self.runs = [RunFile(path) for path in paths]
        for run in self.runs:
            check_blocks(run, num_blocks_of(int(run.header["rows"])))

    def check(self) -> None:
        """Raise `StateError` if a kernel met rows that are not as they were written."""
        for run in self.runs:
            if run.seen_K1[-1] == checksums.DAMAGED:
                raise run.explain(int(np.argmax(run.seen_K1 == checksums.DAMAGED)))

    def seal(self, newest: Rows, folder: Path, number: int, *, oldest: int, gone_P: NDArray[np.uint8]) -> None:
        """Rows become the newest run; `number` tells its file from those before.

        Runs are merged beside the loop, until `take_merged`. What they become has lost the rows whose number is below
        `oldest`, or gone.
        """
        living = Living(oldest, gone_P if gone_P.any() else gone_P[:0])
        nothing = Rows(np.zeros((0, self._width), np.uint64), np.zeros_like(newest.bounds_H))
        path = folder / f"{self.kind}-{number}{RUN}"
        run = write_run(path, nothing, newest, living, value_bits=self._value_bits)
        self.runs += [run] if len(run) else []
        self._begin_merge(living)

    def has_merged(self) -> bool:
        """Whether there is a merged run to take."""
        return self._merge is not None and self._merge.is_done()

    def take_merged(self) -> None:
        """A merged run takes the place of those that it came from; it is waited for if it is under way.

        Raises `StateError` if one of them was damaged, and `OSError`.
        """
        merge, self._merge = self._merge, None
        if merge is None:
            return
        merged = merge.result()
        first = self.runs.index(merge.runs[0])
        self.runs[first : first + len(merge.runs)] = [merged] if len(merged) else []
        self._begin_merge(merge.living)

    def settle(self) -> None:
        """Wait until no run is to be merged. Raises as `take_merged`."""
        while self._merge is not None:
            self.take_merged()

    def _begin_merge(self, living: Living) -> None:
        """Merge the newest run with those before it that are not long enough, if no merge is under way."""
        if self._merge is not None or not self.runs:
            return
        first, size = len(self.runs) - 1, len(self.runs[-1])
        while first > 0 and len(self.runs[first - 1]) < RATIO * size:
            first -= 1
            size += len(self.runs[first])
        if first < len(self.runs) - 1:
            self._merge = Merge(self.runs[first:], living, self._value_bits)

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
    columns[kernel.FILE], columns[kernel.WORDS] = run.words.ctypes.data, len(run.words)
    columns[kernel.SUMS], columns[kernel.SEEN] = run.sums_K.ctypes.data, run.seen_K1.ctypes.data
    return columns
