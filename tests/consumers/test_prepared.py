"""Rows that workers send again are dropped by their positions, in messages of any cut; a gap is refused."""

from __future__ import annotations

import random

import pytest

from consumers.broker import RawDocument
from consumers.formats.prepared import Covers, PreparedMessage
from consumers.prepared import Coverage
from curatord.errors import StateError

SOURCE = "documents-0"


def message(first: int, end: int, *, without: tuple[int, ...] = (), source: str = SOURCE) -> PreparedMessage:
    """A message that covers [first, end): a row at each position, but for those that have none."""
    positions = [position for position in range(first, end) if position not in without]
    return PreparedMessage([RawDocument(source, position, b"") for position in positions], Covers(source, first, end))


def take(coverage: Coverage, *messages: PreparedMessage) -> list[int]:
    return [row.position for each in messages for row in coverage.take(each, SOURCE, "prepared-0@7")]


def test_duplicates_are_dropped_and_the_rest_of_an_overlap_is_taken() -> None:
    coverage = Coverage({SOURCE: 10}.get)

    assert take(coverage, message(0, 10)) == []
    assert take(coverage, message(5, 14)) == [10, 11, 12, 13]
    assert take(coverage, message(10, 14), message(8, 12)) == []
    assert take(coverage, message(14, 16)) == [14, 15]
    assert coverage.num_repeated == 10 + 5 + 4 + 4
    assert coverage.reached == {SOURCE: 16}


def test_any_order_of_deaths_gives_each_row_once_and_in_order() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        coverage, sent, covered = Coverage({}.get), [], 0
        for _ in range(40):
            # Where a worker begins again lies at or behind what is covered.
            first = rng.randint(max(0, covered - 30), covered)
            end = first + rng.randrange(20)
            sent.append(message(first, end))
            covered = max(covered, end)

        assert take(coverage, *sent) == list(range(sent[0].covers.first if sent[0].covers else 0, covered)), seed


def test_positions_without_a_row_are_covered_too() -> None:
    coverage = Coverage({SOURCE: 0}.get)

    assert take(coverage, message(0, 5, without=(3, 4)), message(5, 9, without=(5, 6, 7, 8)), message(9, 10)) == [
        0,
        1,
        2,
        9,
    ]
    assert coverage.of(SOURCE) == 10


def test_the_first_message_of_an_input_says_where_it_begins() -> None:
    coverage = Coverage({}.get)

    assert take(coverage, message(100, 102), message(101, 103)) == [100, 101, 102]
    assert coverage.of("documents-1") is None


def test_a_gap_is_refused_with_its_numbers_and_a_way_out() -> None:
    coverage = Coverage({SOURCE: 1_000}.get)

    with pytest.raises(
        StateError, match=r"prepared-0@7 .* from 1,250 on.* up to 1,000: 250 positions are missing"
    ) as told:
        take(coverage, message(1_250, 1_300))
    assert "curatord prepare --again" in str(told.value)
    assert told.value.exit_code == 65
    assert coverage.of(SOURCE) == 1_000


@pytest.mark.parametrize(
    "wrong",
    [
        message(0, 3, source="others-0"),
        message(0, 3, source="documents-1"),
        PreparedMessage([RawDocument(SOURCE, 1, b"")], None),
        PreparedMessage([RawDocument(SOURCE, 5, b"")], Covers(SOURCE, 0, 5)),
        PreparedMessage([RawDocument(SOURCE, 2, b""), RawDocument(SOURCE, 1, b"")], Covers(SOURCE, 0, 5)),
        PreparedMessage([RawDocument("documents-1", 2, b"")], Covers(SOURCE, 0, 5)),
        PreparedMessage([], Covers(SOURCE, 5, 4)),
    ],
)
def test_messages_that_contradict_themselves_are_refused(wrong: PreparedMessage) -> None:
    with pytest.raises(StateError, match="prepared-0@7 says that it covers"):
        take(Coverage({SOURCE: 0}.get), wrong)
