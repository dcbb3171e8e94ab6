"""Numbers come back from their gaps."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernels.gaps import pack_gaps, unpack_gaps


@given(st.lists(st.integers(0, 2**28), max_size=50))
def test_numbers_come_back_from_their_gaps(numbers: list[int]) -> None:
    sorted_X = np.sort(np.array(numbers, np.uint32))
    packed_N, found_X = np.empty(5 * len(numbers), np.uint8), np.empty(5 * len(numbers), np.uint32)
    size = pack_gaps(sorted_X, packed_N)
    assert found_X[: unpack_gaps(packed_N[:size], found_X)].tolist() == sorted_X.tolist()
