"""Directory and merge of sorted rows against sets and sorting."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels import sorted_rows


def directory(
    rows_NW: NDArray[np.uint64], bounds_H: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], tuple[NDArray[np.generic], ...]]:
    """A run over rows in memory, found by 32 bits on each shelf, and the arrays that it points into."""
    if bounds_H is None:
        bounds_H = np.array([0, len(rows_NW)])
    shelf_bits = (len(bounds_H) - 1).bit_length() - 1
    cell_bits = sorted_rows.cell_bits(len(rows_NW))
    rest_bits = 32 + shelf_bits - cell_bits
    cells = np.zeros((1 << cell_bits) + 1, np.uint32)
    rests = np.zeros(len(rows_NW) * rest_bits // 64 + 2, np.uint64)
    sorted_rows.fill_directory(rows_NW, bounds_H, shelf_bits, cell_bits, rest_bits, cells, rests)
    columns = [cell_bits, rest_bits, cells.ctypes.data, rests.ctypes.data, rows_NW.ctypes.data, 0, 0, 0, 0]
    return np.array([columns], np.int64), (cells, rests, rows_NW)


@pytest.mark.parametrize("count", [1, 7, 100, 5000])
@pytest.mark.parametrize("spread", [1 << 32, 50])
def test_a_value_of_32_bits_is_found_if_it_is_there_and_not_otherwise(count: int, spread: int) -> None:
    rng = np.random.default_rng(count)
    values = np.sort(rng.integers(0, spread, count, dtype=np.uint64) * np.uint64((1 << 32) // spread))
    rows_NW = (values << np.uint64(32) | np.arange(count, dtype=np.uint64))[:, None]
    run, kept = directory(rows_NW)
    absent = rng.integers(0, 1 << 32, 2000, dtype=np.uint64)
    for value in [*values[:2000].tolist(), *absent.tolist(), 0, (1 << 32) - 1]:
        first, end = sorted_rows.find_rows(run, 0, np.uint64(value << 32))
        expected = np.searchsorted(values, value), np.searchsorted(values, value, side="right")
        assert (first, end) == expected or (first == end and expected[0] == expected[1])
    assert kept


@pytest.mark.parametrize("count", [1, 5, 300, 8000])
def test_a_value_is_found_on_its_own_shelf_and_on_no_other(count: int) -> None:
    rng = np.random.default_rng(count)
    shelves = np.sort(rng.choice([0, 0, 1, 5, 7], count))  # some have nothing
    values = rng.integers(0, 20 if count < 1000 else 3000, count).astype(np.uint64) * np.uint64(1_000_003)
    order = np.lexsort((values, shelves))
    values = values[order]
    rows_NW = (values << np.uint64(32) | np.arange(count, dtype=np.uint64))[:, None]
    bounds_H = np.searchsorted(shelves, np.arange(9))
    run, kept = directory(rows_NW, bounds_H)
    for shelf in range(8):
        there = values[bounds_H[shelf] : bounds_H[shelf + 1]]
        for value in np.unique(values)[:500].tolist():
            word = np.uint64(sorted_rows.shelved(np.uint64(value << 32), shelf, 3))
            first, end = sorted_rows.find_rows(run, 0, word)
            assert end - first == (there == value).sum()
            assert first == end or first == bounds_H[shelf] + np.searchsorted(there, value)
    assert kept


def test_runs_that_are_merged_in_blocks_are_sorted_and_lose_old_and_gone_rows() -> None:
    rng = np.random.default_rng(0)
    for width in (1, 3):
        rows = rng.integers(0, 40, (900, width), dtype=np.uint64)
        rows[:, -1] = np.arange(900) + (rows[:, -1] << np.uint64(32) if width == 1 else 0)
        parts = [part[np.lexsort(part.T[::-1])] for part in (rows[:300], rows[300:])]
        gone_P = np.zeros(20, np.uint8)
        gone_P[10] = 0b101  # 80 and 82
        blocks, places_2, block_NW = [], np.zeros(2, np.int64), np.empty((64, width), np.uint64)
        while kept := sorted_rows.merge(*parts, places_2, 50, gone_P, block_NW):
            blocks.append(block_NW[:kept].copy())
        living = np.delete(rows, [*range(50), 80, 82], axis=0)
        assert (np.concatenate(blocks) == living[np.lexsort(living.T[::-1])]).all()
