"""Ticks: the same documents come together wherever a poll ended."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curation.ticks import TICK_ORDINALS, Accepted, TickBuffer, boundaries


def accepted_at(*ordinals: int) -> Accepted:
    ordinals_B = np.array(ordinals, np.int64)
    return Accepted(
        ordinals_B=ordinals_B,
        doc_nos_B=ordinals_B + 7,
        keys_B=ordinals_B.astype(np.uint64),
        sources=tuple(f"source {ordinal}" for ordinal in ordinals),
        languages=("en",) * len(ordinals),
        qualities_B=np.ones(len(ordinals), np.float32),
        scores_BM=np.zeros((len(ordinals), 1), np.float32),
        num_tokens_B=np.full(len(ordinals), 10),
    )


@given(
    st.sets(st.integers(0, 6 * TICK_ORDINALS), max_size=80),
    st.lists(st.integers(1, 2 * TICK_ORDINALS), max_size=20),
)
def test_the_ends_of_polls_leave_no_trace(accepted: set[int], polls: list[int]) -> None:
    """Documents of some ordinals, read in polls of these sizes: every tick is whole, and none is taken early."""
    buffer, read, ticks = TickBuffer(), 0, list[list[int]]()
    for size in polls:
        buffer.add(accepted_at(*(ordinal for ordinal in sorted(accepted) if read <= ordinal < read + size)))
        for boundary in boundaries(read, read + size):
            ticks += [tick.ordinals_B.tolist() for tick in buffer.take(boundary)]
        read += size

    last = read // TICK_ORDINALS
    by_tick = [[at for at in sorted(accepted) if at // TICK_ORDINALS == number] for number in range(last)]
    assert ticks == [tick for tick in by_tick if tick]
    left = [ordinal for ordinal in sorted(accepted) if last * TICK_ORDINALS <= ordinal < read]
    assert buffer.until().ordinals_B.tolist() == left
    assert buffer.until().sources == tuple(f"source {ordinal}" for ordinal in left)


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_boundaries_are_passed_once(first: int, count: int) -> None:
    found = list(boundaries(first, first + count))

    assert found == [at for at in range(first + 1, first + count + 1) if at % TICK_ORDINALS == 0]


def test_a_retracted_document_is_in_no_tick() -> None:
    buffer = TickBuffer()
    buffer.add(accepted_at(0, 1))
    buffer.add(accepted_at(2, 3))

    assert 9 in buffer
    assert buffer.remove(9)
    assert not buffer.remove(9)

    assert 9 not in buffer
    assert len(buffer.until(3)) == 2
    assert buffer.take(before=TICK_ORDINALS)[0].doc_nos_B.tolist() == [7, 8, 10]
    assert not len(buffer)
