"""The numbers of documents come back from bytes, record by record."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from state.document_numbers import DOCUMENT, as_bytes, make_numbers, named, numbers_from

NUMBERS = st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), st.floats(0, 1, width=32))


@given(st.lists(NUMBERS))
def test_records_come_back(numbers: list[tuple[int, int, float]]) -> None:
    columns = zip(*numbers, strict=True) if numbers else ((), (), ())
    clusters_B, versions_B, propensities_B = (np.array(column) for column in columns)
    made_B = make_numbers(clusters_B, versions_B, propensities_B)
    parts = as_bytes(made_B)
    assert parts == [record.tobytes() for record in made_B]
    found_B = numbers_from(b"".join(parts))
    assert found_B.tolist() == numbers
    assert [tuple(named(record).values()) for record in found_B] == numbers
    assert DOCUMENT.itemsize == 12
