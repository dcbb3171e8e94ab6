"""Retention: what the first records of partitions say of the sequences that are left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from curatord.partition import whole_from


@given(st.data())
def test_from_the_number_on_nothing_is_missing_and_before_it_something_is(data: st.DataObject) -> None:
    num_partitions = data.draw(st.integers(1, 5))
    next_seq_no = data.draw(st.integers(0, 30))
    ends = data.draw(st.sets(st.integers(0, next_seq_no)))
    numbers: set[int] = set()
    found = 0
    for partition in range(num_partitions):
        # A sequence is on one partition, an end on all, before the sequence that has its number.
        records = sorted(
            [(number, True) for number in range(partition, next_seq_no, num_partitions)]
            + [(number, False) for number in ends]
        )
        kept = records[data.draw(st.integers(0, len(records))) :]
        numbers |= {number for number, is_sequence in kept if is_sequence}
        first = kept[0][0] if kept else next_seq_no
        found = max(found, whole_from(first, partition, num_partitions))
    assert set(range(found, next_seq_no)) <= numbers
    assert found == 0 or found - 1 not in numbers
