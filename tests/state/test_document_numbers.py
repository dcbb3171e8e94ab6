"""The numbers of documents come back from bytes, record by record, those of states of before weights, too."""

from __future__ import annotations

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from state.document_numbers import DOCUMENT, as_bytes, joined_numbers, make_numbers, named, numbers_from

SINGLE = st.floats(0, 1, width=32)
NUMBERS = st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), SINGLE, st.floats(0, 8, width=32), SINGLE)


@given(st.lists(NUMBERS))
def test_records_come_back(numbers: list[tuple[int, int, float, float, float]]) -> None:
    columns = zip(*numbers, strict=True) if numbers else ((), (), (), (), ())
    clusters_B, versions_B, propensities_B, weights_B, qualities_B = (np.array(column) for column in columns)
    made_B = make_numbers(clusters_B, versions_B, propensities_B, weights_B, qualities_B)
    parts = as_bytes(made_B)
    assert parts == [record.tobytes() for record in made_B]
    for found_B in (numbers_from(parts), joined_numbers(b"".join(parts), len(parts))):
        assert found_B.tolist() == numbers
        assert [tuple(named(record).values()) for record in found_B] == numbers
    assert DOCUMENT.itemsize == 20


@given(st.lists(NUMBERS, min_size=1))
def test_records_of_before_weights_have_a_weight_of_one_and_no_quality(
    numbers: list[tuple[int, int, float, float, float]],
) -> None:
    old = [struct.pack("<iif", *record[:3]) for record in numbers]
    new = np.array(numbers, DOCUMENT)
    for found_B in (numbers_from(old), joined_numbers(b"".join(old), len(old))):
        assert [record[:3] for record in found_B.tolist()] == [record[:3] for record in numbers]
        assert (found_B["weight"] == 1).all()
        assert np.isnan(found_B["quality"]).all()
    mixed_B = numbers_from([*old, *as_bytes(new)])
    assert mixed_B["weight"].tolist() == [1.0] * len(old) + new["weight"].tolist()
