"""Ticks: the same documents come together wherever a poll ended."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from curation.ticks import TICK_ORDINALS, TickBuffer, Waiting, boundaries


def waiting(ordinal: int) -> Waiting:
    return Waiting(ordinal, ordinal + 7, 0, "", 1.0, 10)


@given(
    st.sets(st.integers(0, 6 * TICK_ORDINALS), max_size=80),
    st.lists(st.integers(1, 2 * TICK_ORDINALS), max_size=20),
)
def test_the_ends_of_polls_leave_no_trace(accepted: set[int], polls: list[int]) -> None:
    """Documents of some ordinals, read in polls of these sizes: every tick is whole, and none is taken early."""
    buffer, read, ticks = TickBuffer(), 0, list[list[int]]()
    for size in polls:
        for ordinal in sorted(accepted):
            if read <= ordinal < read + size:
                buffer.add(waiting(ordinal))
        for boundary in boundaries(read, read + size):
            ticks += [[document.ordinal for document in tick] for tick in buffer.take(boundary)]
        read += size

    last = read // TICK_ORDINALS
    by_tick = [[at for at in sorted(accepted) if at // TICK_ORDINALS == number] for number in range(last)]
    assert ticks == [tick for tick in by_tick if tick]
    assert [document.ordinal for document in buffer] == [
        o for o in sorted(accepted) if last * TICK_ORDINALS <= o < read
    ]


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_boundaries_are_passed_once(first: int, count: int) -> None:
    found = list(boundaries(first, first + count))

    assert found == [at for at in range(first + 1, first + count + 1) if at % TICK_ORDINALS == 0]


def test_a_retracted_document_is_in_no_tick() -> None:
    buffer = TickBuffer()
    for ordinal in range(4):
        buffer.add(waiting(ordinal))

    assert buffer.remove(9)
    assert not buffer.remove(9)

    assert buffer.count(before=3) == 2
    assert [document.doc_no for document in buffer.take(before=TICK_ORDINALS)[0]] == [7, 8, 10]
    assert not len(buffer)
