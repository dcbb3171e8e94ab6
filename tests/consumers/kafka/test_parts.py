"""A message in parts is the message again, also if other workers send beside it or die in the middle of theirs."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import count

import pytest

from consumers.kafka.parts import FRAME_BYTES, Parts, in_parts
from state.journal import PART_BYTES


@dataclass(frozen=True)
class Record:
    """A record, as a reader of the topic sees it."""

    offset: int
    value: bytes
    headers: list[tuple[str, bytes]]


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 5432])
def test_parts_fit_the_topic_and_make_the_message_again(size: int) -> None:
    value = random.Random(size).randbytes(size)
    sent = [Record(n, *part) for n, part in enumerate(in_parts(value, 9, FRAME_BYTES + 1000))]

    assert all(len(record.value) <= 1000 for record in sent)
    parts = Parts()
    assert [parts.add(record) for record in sent] == [(None, 0)] * (len(sent) - 1) + [(value, 0)]
    assert parts.start() is None


def test_a_part_is_never_larger_than_a_batch_of_the_producer() -> None:
    assert max(len(part) for part, _ in in_parts(bytes(3_000_000), 1, 1 << 30)) == PART_BYTES


def test_two_workers_that_send_at_the_same_time_do_not_mix() -> None:
    offset = count()
    ones, others = ([*in_parts(letter * 2500, 9, FRAME_BYTES + 1000)] for letter in (b"a", b"b"))
    parts = Parts()

    found = [parts.add(Record(next(offset), *part)) for pair in zip(ones, others, strict=True) for part in pair]

    assert [message for message in found if message[0]] == [(b"a" * 2500, 0), (b"b" * 2500, 1)]


def test_a_message_that_was_left_incomplete_is_kept_as_long_as_it_may_be_needed() -> None:
    parts = Parts()
    first, *_ = in_parts(b"a" * 2500, 100, FRAME_BYTES + 1000)
    assert parts.add(Record(40, *first)) == (None, 40)

    parts.forget(99)
    assert parts.start() == 40
    parts.forget(100)
    assert parts.start() is None


def test_the_end_of_a_message_whose_beginning_is_gone_is_no_message() -> None:
    parts = Parts()
    _, second, third = in_parts(b"a" * 2500, 100, FRAME_BYTES + 1000)

    assert parts.add(Record(41, *second)) == (None, 0)
    assert parts.add(Record(42, *third)) == (None, 0)
    assert parts.start() is None
