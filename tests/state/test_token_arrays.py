"""Token arrays."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.token_arrays import TokenArrays


@given(st.lists(st.lists(st.integers(0, 2**16 - 1)), min_size=1), st.sampled_from([np.uint16, np.uint32]), st.data())
def test_arrays_come_back_as_they_were(
    lists: list[list[int]], kind: type[np.unsignedinteger], data: st.DataObject
) -> None:
    if kind is np.uint32:
        lists = [*lists, data.draw(st.lists(st.integers(0, 2**32 - 1)))]
    arrays = [np.array(one, kind) for one in lists]
    packed = msgspec.msgpack.encode(TokenArrays.pack(arrays))
    again = msgspec.msgpack.decode(packed, type=TokenArrays).unpack()

    assert [one.tolist() for one in again] == lists
    assert {one.dtype for one in again} == {np.dtype(kind)}


def test_no_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one array"):
        TokenArrays.pack([])
