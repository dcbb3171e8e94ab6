"""Columns of texts and arrays: what goes in comes out, in every part of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.columns import Ragged, bounds_of, join_texts
from kernels.simd import PADDING_BYTES

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=8)


@given(TEXTS, st.data())
def test_texts_come_back_from_any_part(texts: list[str], data: st.DataObject) -> None:
    joined = join_texts(texts)
    assert list(joined) == texts
    assert joined.num_bytes().tolist() == [len(text.encode()) for text in texts]
    assert not joined.buffer_N[-PADDING_BYTES:].any()
    rows = data.draw(st.lists(st.sampled_from(range(len(texts))))) if texts else []
    assert list(joined.take(rows)) == [texts[row] for row in rows]
    first = data.draw(st.integers(0, len(texts)))
    assert list(joined.take(slice(first, None))) == texts[first:]
    assert list(joined.take(np.arange(len(texts)) % 2 == 0)) == texts[::2]


def test_half_a_surrogate_pair_is_no_text() -> None:
    with pytest.raises(UnicodeEncodeError):
        join_texts(["\ud800"])


@given(st.lists(st.lists(st.integers(0, 9), max_size=4)))
def test_arrays_come_back(arrays: list[list[int]]) -> None:
    ragged = Ragged(
        np.array([value for array in arrays for value in array], np.uint32), bounds_of(list(map(len, arrays)))
    )
    assert [array.tolist() for array in ragged] == arrays
    assert [ragged[b].tolist() for b in range(len(ragged))] == arrays
    assert ragged.lengths().tolist() == [len(array) for array in arrays]
