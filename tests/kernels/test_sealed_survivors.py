"""Rows of survivors are found by their numbers, and one that is not as it was written is noted."""

from __future__ import annotations

import numpy as np

from kernels import sealed_survivors


def test_numbers_are_found_and_a_damaged_row_is_noted() -> None:
    rng = np.random.default_rng(0)
    sketches_SQ = rng.integers(0, 256, (100, 64), dtype=np.uint8)
    survivors_S4 = np.zeros((100, 4), np.uint32)
    survivors_S4[:, sealed_survivors.NUMBER] = 3 * np.arange(100)
    sealed_survivors.fill_sums(sketches_SQ, survivors_S4, 0)
    damaged_1, gone_P = np.full(1, -1), np.zeros(13, np.uint8)
    assert sealed_survivors.first_row_not_before(survivors_S4, 31, damaged_1) == 11
    assert sealed_survivors.mark_gone(survivors_S4, np.array([30, 31, 297, 30]), gone_P, damaged_1) == 2
    assert np.flatnonzero(np.unpackbits(gone_P, bitorder="little")).tolist() == [10, 99]
    assert damaged_1[0] == -1
    survivors_S4[50, sealed_survivors.SYMBOLS] ^= 1
    sealed_survivors.first_row_not_before(survivors_S4, 31, damaged_1)
    assert damaged_1[0] == 50  # where the search began
