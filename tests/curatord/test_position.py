"""The state of a training job: one number and the ranges that it leaves out, which every rank moves alike."""

from __future__ import annotations

from itertools import count, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curatord.errors import StreamError
from curatord.position import StreamState, state_from

ranges = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 8)), max_size=5)


def with_skips(first: int, ranges: list[tuple[int, int]]) -> StreamState:
    """A state that leaves out as many of the ranges, from its number on, as do not overlap."""
    state = StreamState(generation=0, next_seq_no=first)
    for begin, length in ranges:
        if not any(state.leaves_out(seq_no) for seq_no in range(first + begin, first + begin + length)):
            state = state.skipping(first + begin, first + begin + length)
    return state


def consumed(state: StreamState, number: int) -> list[int]:
    """The numbers of the next sequences that a job takes, one by one."""
    return list(islice((n for n in count(state.next_seq_no) if not state.leaves_out(n)), number))


@given(st.integers(0, 20), ranges, st.lists(st.integers(0, 12), max_size=6))
def test_any_steps_lead_through_the_same_sequences(first: int, ranges: list[tuple[int, int]], steps: list[int]) -> None:
    state = with_skips(first, ranges)
    expected = consumed(state, sum(steps))

    taken: list[int] = []
    for step in steps:
        taken += consumed(state, step)
        state = state.advanced(step)

    assert taken == expected
    assert state.next_seq_no == first or all(seq_no < state.next_seq_no for seq_no in taken)
    assert all(begin >= state.next_seq_no for begin, _ in state.skips)


def test_ranges_that_overlap_are_refused() -> None:
    state = StreamState(generation=0, next_seq_no=0).skipping(4, 8)

    with pytest.raises(ValueError, match="some of the sequences 7 to 8 are skipped already"):
        state.skipping(7, 9)
    assert state.skipping(8, 9).skips == [(4, 8), (8, 9)]


def test_a_state_of_another_kind_is_refused_with_a_way_out() -> None:
    state = StreamState(generation=1, next_seq_no=7, skips=[(9, 12)], source="topic")
    values = {"generation": 1, "next_seq_no": 7, "skips": [[9, 12]], "source": "topic"}

    assert state_from(values) == state
    for wrong in ({}, {**values, "version": 2}, {**values, "epoch": 3}, {**values, "next_seq_no": "7"}):
        with pytest.raises(StreamError, match="give what state_dict"):
            state_from(wrong)
