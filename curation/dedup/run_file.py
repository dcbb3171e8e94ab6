"""A run: a file of sorted rows that is never changed, and its directory (`kernels.sorted_rows`).

    header, the first row of each cell, the rests, the rows themselves: each from a multiple of 64 bytes on; checksums

The header has the first row of each shelf, and the end.

The file is mapped: the system keeps in memory what is read, as far as there is room. The directory, which every look-up
reads, may be held in memory of our own. Each block of 4 KiB has a checksum (`kernels.checksums`), which is held against
it when it is first read: a start need not read all that was ever seen.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curatord.errors import StateError

MAX_SHELVES = 64
HEADER = np.dtype(
    [
        ("magic", "S8"),
        *((name, "<i8") for name in ("num_rows", "width", "cell_bits", "rest_bits", "rests", "rows", "sums", "end")),
        ("shelf_bits", "<i8"),
        ("bounds", "<i8", MAX_SHELVES + 1),
    ]
)
MAGIC = b"curunv3"
CELLS = 10 * 64  # where the cells begin
# As in kernels.checksums, which a command that looks for one id does not load.
BLOCK_WORDS, SEED, FACTOR = 512, 0x243F6A8885A308D3, 0x9E3779B97F4A7C15


def explain_damage(path: Path, where: str) -> StateError:
    """The error of a file of the indices that is not as it was written, with the way out."""
    return StateError(
        f"{path} is damaged: {where} is not as it was written. Check the disk, delete the folder {path.parent}, and "
        "start again: the indices are made anew from the documents in the state"
    )


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


def num_blocks_of(num_bytes: int) -> int:
    """Blocks of a file, the last of which may be shorter."""
    return -(-num_bytes // (8 * BLOCK_WORDS))


def make_header(
    bounds_H: NDArray[np.int64], width: int, cell_bits: int, rest_bits: int, most: int = 0
) -> NDArray[np.void]:
    """The header of a run of rows of `width` words on shelves with these bounds, with the places of its parts.

    The directory has room for `most` rows, if those are more.
    """
    num_rows, num_shelves = int(bounds_H[-1]), len(bounds_H) - 1
    most = max(most, num_rows)

    def aligned(place: int) -> int:
        return -(-place // 64) * 64

    rests = aligned(CELLS + 4 * ((1 << cell_bits) + 1))
    rows = aligned(rests + 8 * (-(-most * rest_bits // 64) + 1))
    sums = rows + 8 * width * num_rows
    end = sums + 8 * num_blocks_of(sums)
    bounds = np.full(MAX_SHELVES + 1, num_rows)
    bounds[: len(bounds_H)] = bounds_H
    shelf_bits = num_shelves.bit_length() - 1
    places = rests, rows, sums, end
    return np.array([(MAGIC, num_rows, width, cell_bits, rest_bits, *places, shelf_bits, bounds)], HEADER)


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
        sums = int(self.header["sums"])
        self.words = np.frombuffer(self._memory, np.uint64, count=sums // 8)  # all that have checksums
        self.sums_K = np.frombuffer(self._memory, np.uint64, count=num_blocks_of(sums), offset=sums)
        self.seen_K1 = np.zeros(len(self.sums_K) + 1, np.uint8)  # as kernels.checksums writes it
        self._check_block(0)
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

    def bounds(self) -> NDArray[np.int64]:
        """The first row of each shelf, and the end, [H + 1]."""
        return np.array(self.header["bounds"][: (1 << int(self.header["shelf_bits"])) + 1])

    def explain(self, block: int) -> StateError:
        """The error of a damaged block."""
        first = 8 * BLOCK_WORDS * block
        return explain_damage(self.path, f"something from byte {first:,} to {first + 8 * BLOCK_WORDS:,}")

    def _check_block(self, block: int) -> None:
        """Raise `StateError` if a block is not as it was written."""
        words = self.words[BLOCK_WORDS * block : BLOCK_WORDS * (block + 1)]
        factors = np.arange(1, len(words) + 1, dtype=np.uint64) * np.uint64(FACTOR) | np.uint64(1)
        found = ((words ^ (words >> np.uint64(32))) * factors).sum(dtype=np.uint64, initial=np.uint64(SEED))
        if found != self.sums_K[block]:
            raise self.explain(block)

    def _check_rows(self, first: int, end: int) -> None:
        width, rows = int(self.header["width"]), int(self.header["rows"]) // 8
        for block in range(
            (rows + width * first) // BLOCK_WORDS, (rows + width * max(end, first + 1) - 1) // BLOCK_WORDS + 1
        ):
            self._check_block(block)

    def find(self, word: int) -> NDArray[np.uint64]:
        """The rows that begin with a word: by halving, for one that is looked for on its own. Raises `StateError`."""
        rows_NW = self.rows()

        def first_not_below(limit: int) -> int:
            low, high = 0, len(rows_NW)
            while low < high:
                middle = (low + high) // 2
                self._check_rows(middle, middle + 1)
                if int(rows_NW[middle, 0]) < limit:
                    low = middle + 1
                else:
                    high = middle
            return low

        first, end = first_not_below(word), first_not_below(word + 1)
        if end > first:
            self._check_rows(first, end)
        return rows_NW[first:end]
