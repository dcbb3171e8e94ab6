"""Bits of retracted documents are a set of numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curation.dedup.retracted import Retracted


@given(st.lists(st.lists(st.integers(0, 5000))), st.lists(st.integers(0, 9000)))
def test_they_are_a_set(steps: list[list[int]], asked: list[int]) -> None:
    retracted, expected = Retracted(), set[int]()
    for numbers in steps:
        retracted.add(numbers)
        expected.update(numbers)
    found = retracted.among(np.array(asked, np.int64))
    assert found.tolist() == [number in expected for number in asked]
    assert retracted.num_bytes() < 800
