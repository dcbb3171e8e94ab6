"""Ranges without loss: what they say of tokens, and which are none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curatord.no_loss import are_ranges, without_loss


@given(st.lists(st.booleans(), max_size=40))
def test_ranges_say_of_every_token_whether_it_has_a_loss(muted: list[bool]) -> None:
    edges = [at for at in range(len(muted) + 1) if (at < len(muted) and muted[at]) != (at > 0 and muted[at - 1])]
    ranges_R2 = np.array(edges, np.uint32).reshape(-1, 2)

    assert are_ranges(ranges_R2, len(muted))
    assert without_loss(ranges_R2, len(muted)).tolist() == muted


@pytest.mark.parametrize("ranges", [[[2, 2]], [[3, 2]], [[0, 7]], [[0, 2], [2, 4]], [[3, 4], [0, 1]], [[1, 4], [3, 5]]])
def test_what_is_empty_meets_another_or_lies_outside_is_no_range(ranges: list[list[int]]) -> None:
    assert not are_ranges(np.array(ranges, np.uint32), 6)
