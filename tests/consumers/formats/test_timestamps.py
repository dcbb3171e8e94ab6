"""Times are read by their form and size, and none raises."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.formats.timestamps import parse_timestamp

MOMENT_US = 1_706_695_200_000_000  # 2024-01-31T10:00:00Z


@pytest.mark.parametrize(
    ("value", "expected_us"),
    [
        (1_706_695_200, MOMENT_US),
        (1_706_695_200_000, MOMENT_US),
        (MOMENT_US, MOMENT_US),
        (MOMENT_US * 1000, MOMENT_US),
        (1_706_695_200.25, MOMENT_US + 250_000),
        ("1706695200", MOMENT_US),
        ("1706695200.25", MOMENT_US + 250_000),
        ("2024-01-31T10:00:00Z", MOMENT_US),
        ("2024-01-31 11:00:00+01:00", MOMENT_US),
        (" 2024-01-31T10:00:00.000001 ", MOMENT_US + 1),
        ("2024-01-31", MOMENT_US - 36_000_000_000),
        ("20240131", MOMENT_US - 36_000_000_000),
        (datetime(2024, 1, 31, 10), MOMENT_US),
        (datetime(2024, 1, 31, 10, tzinfo=UTC), MOMENT_US),
        (datetime(2024, 1, 31, 12, tzinfo=timezone(timedelta(hours=2))), MOMENT_US),
        (date(2024, 1, 31), MOMENT_US - 36_000_000_000),
        (-5, 0),
        ("1969-12-31", 0),
        ("yesterday", 0),
        ("", 0),
        ("9" * 5000, 0),
        (True, 0),
        (None, 0),
        ([2024], 0),
        (float("nan"), 0),
        (float("-inf"), 0),
    ],
)
def test_times_are_read_by_their_form_and_size(value: object, expected_us: int) -> None:
    assert parse_timestamp(value) == expected_us


@given(st.one_of(st.text(), st.integers(), st.floats(), st.datetimes(), st.text("0123456789-:.TZ+W ")))
def test_no_timestamp_raises_and_all_fit_64_bits(value: object) -> None:
    assert 0 <= parse_timestamp(value) < 2**63


@given(st.integers(0, 4_000_000_000_000_000))
def test_iso_8601_is_exact_to_the_microsecond(moment_us: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment_us)
    assert parse_timestamp(moment.isoformat()) == moment_us
