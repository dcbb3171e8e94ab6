"""Products of vectors: right, and the same bits whichever way they are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.products import chosen_products, dots, products, row_products


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(("num_rows", "num_columns", "num_chosen"), [(1, 1, 1), (3, 5, 2), (17, 40, 3), (8, 9, 9)])
def test_chosen_products_have_the_bits_of_all(kind: type, num_rows: int, num_columns: int, num_chosen: int) -> None:
    rng = np.random.default_rng(num_rows)
    rows_ND = rng.standard_normal((num_rows, 37)).astype(kind)
    columns_KD = rng.standard_normal((num_columns, 37)).astype(kind)
    chosen_NC = rng.integers(0, num_columns, (num_rows, num_chosen))

    all_NK = products(rows_ND, columns_KD)

    assert all_NK.dtype == kind
    assert np.allclose(all_NK, rows_ND.astype(np.float64) @ columns_KD.astype(np.float64).T, atol=1e-4)
    assert (chosen_products(rows_ND, columns_KD, chosen_NC) == np.take_along_axis(all_NK, chosen_NC, 1)).all()
    assert (row_products(rows_ND[0], columns_KD) == all_NK[0]).all()


def test_nothing_has_no_products() -> None:
    assert products(np.zeros((0, 3)), np.zeros((2, 3))).shape == (0, 2)
    assert chosen_products(np.zeros((0, 3)), np.zeros((2, 3)), np.zeros((0, 2), np.int64)).shape == (0, 2)
    assert dots(np.zeros((0, 3)), np.zeros((0, 3))).shape == (0,)


def test_dots_are_those_of_numpy() -> None:
    left, right = np.random.default_rng(0).standard_normal((2, 5, 6, 41))
    assert np.allclose(dots(left, right), np.einsum("abd,abd->ab", left, right))
