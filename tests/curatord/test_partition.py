"""A record says its place by headers, and one without them is no sequence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.consumer.fetcher import ConsumerRecord

from curatord.partition import END_HEADER, headed_record, whole_from

HEADERS = [("gen", b"1"), ("seq_no", b"42"), ("q", b"8")]


def message(headers: list[tuple[str, bytes]]) -> ConsumerRecord:
    fields: dict[str, Any] = dict.fromkeys(ConsumerRecord._fields)
    return ConsumerRecord(
        **fields | {"topic": "sequences", "partition": 3, "offset": 7, "headers": headers, "value": b"v"}
    )


def test_headers_give_place_quantum_and_end() -> None:
    record, end = headed_record(message(HEADERS)), headed_record(message([*HEADERS, (END_HEADER, b"1")]))

    assert (record.place, record.quantum, record.offset) == ((1, 42), 8, 7)
    assert (record.is_end, end.is_end) == (False, True)


@pytest.mark.parametrize("headers", [[], HEADERS[:2], [*HEADERS[:2], ("q", b"many")]])
def test_a_record_without_them_is_named_by_its_place(headers: list[tuple[str, bytes]]) -> None:
    with pytest.raises(ValueError, match="sequences-3 at offset 7"):
        headed_record(message(headers))


@given(st.integers(0, 1000), st.integers(1, 16), st.data())
def test_a_partition_is_whole_behind_the_last_that_it_lacks(seq_no: int, num: int, data: st.DataObject) -> None:
    partition = data.draw(st.integers(0, num - 1))
    lacking = [number for number in range(seq_no) if number % num == partition]
    assert whole_from(seq_no, partition, num) == (lacking[-1] + 1 if lacking else 0)
