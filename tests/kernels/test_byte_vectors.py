"""Products of bytes are the exact ones, for all extremes and any number of blocks."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from kernels.byte_vectors import BIAS, BLOCK_ELEMENTS, SIDE_BY_SIDE, add_products, pair_products, round_to_bytes


@njit
def add(biased_SD, chosen_S, signed_D, correction, dots_S):  # type: ignore[no-untyped-def]
    add_products(biased_SD, len(signed_D), chosen_S, 0, signed_D, correction, dots_S)


@pytest.mark.parametrize("num_blocks", [1, 2, 3, 8])
@pytest.mark.parametrize("extreme", [None, -127, 127])
def test_products_are_added_to_those_of_the_chosen(num_blocks: int, extreme: int | None) -> None:
    rng = np.random.default_rng(num_blocks)
    vectors_SD = rng.integers(-127, 128, (9, num_blocks * BLOCK_ELEMENTS)).astype(np.int8)
    if extreme is not None:
        vectors_SD[:4], vectors_SD[4:] = extreme, -127
    chosen_S = np.array([7, 1, 4, 0][:SIDE_BY_SIDE], np.int32)
    dots_S = np.arange(9) * 1000
    expected_S = dots_S.copy()
    expected_S[chosen_S] += vectors_SD[chosen_S].astype(np.int64) @ vectors_SD[8].astype(np.int64)

    biased_SD = (vectors_SD.astype(np.int16) + BIAS).astype(np.uint8)
    add(biased_SD, chosen_S, vectors_SD[8], BIAS * int(vectors_SD[8].sum(dtype=np.int64)), dots_S)

    assert dots_S.tolist() == expected_S.tolist()


def test_pairs_of_a_row_are_counted_both_ways() -> None:
    vectors_ND = np.random.default_rng(3).integers(-127, 128, (6, BLOCK_ELEMENTS)).astype(np.int8)
    products_NN = vectors_ND.astype(np.int64) @ vectors_ND.T.astype(np.int64)
    expected = [2 * int(products_NN[0, 1]), 0, 2 * int(products_NN[3, 4] + products_NN[3, 5] + products_NN[4, 5]), 0]
    assert pair_products(vectors_ND, np.array([0, 2, 3, 6, 6])).tolist() == expected


def test_bytes_are_the_nearest_ones_and_halves_go_to_even() -> None:
    vectors_ND = np.array([[0.5, 1.5, -2.5, 126.6, 500.0, -500.0, -0.4]], np.float32)
    bytes_ND = np.zeros((1, 7), np.int8)
    round_to_bytes(vectors_ND, np.float32(1.0), bytes_ND)
    assert bytes_ND[0].tolist() == [0, 2, -2, 127, 127, -127, 0]
