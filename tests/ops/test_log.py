"""Logs: one JSON object a line, libraries included, and no flood."""

from __future__ import annotations

import io
import json
import logging
from datetime import datetime

import pytest
from kafka.errors import UnstableOffsetCommitError

from ops.log import MAX_KEYS, LogConfig, RateLimit, libraries_log_to, open_log


def lines(file: io.BytesIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.getvalue().splitlines()]


def test_a_line_has_time_level_event_and_fields() -> None:
    file = io.BytesIO()
    open_log(LogConfig(), file).info("started", lane="main", epoch=3)

    (line,) = lines(file)
    assert datetime.fromisoformat(str(line.pop("timestamp"))).utcoffset() is not None
    assert line == {"event": "started", "level": "info", "lane": "main", "epoch": 3}


def test_below_the_level_nothing_is_written() -> None:
    file = io.BytesIO()
    log = open_log(LogConfig(level="warning"), file)
    log.info("started")
    log.warning("broker_away")

    assert [line["event"] for line in lines(file)] == ["broker_away"]


@pytest.mark.parametrize("value", [1 << 70, float("nan"), b"\xff", object, {"a": {1, 2}}, "\udc80"])
def test_no_value_keeps_a_line_from_being_written(value: object) -> None:
    file = io.BytesIO()
    open_log(LogConfig(), file).info("odd", value=value)

    assert lines(file)[0]["event"] == "odd"


def test_a_chatty_client_is_heard_once_in_ten_seconds_with_a_count() -> None:
    file, now = io.BytesIO(), [0.0]
    kafka = logging.getLogger("kafka.client")

    with libraries_log_to(open_log(LogConfig(), file), RateLimit(clock=lambda: now[0])):
        for attempt in range(240):
            kafka.warning("Node %s connection failed (attempt %d)", "kafka:9092", attempt)
            kafka.info("connecting")
            now[0] += 0.125
        try:
            raise TimeoutError("too late")
        except TimeoutError:
            kafka.exception("Poll failed")

    first, second, third, last = lines(file)
    assert first["event"] == "library_message"
    assert (first["logger"], first["level"]) == ("kafka.client", "warning")
    assert first["message"] == "Node kafka:9092 connection failed (attempt 0)"
    assert second["suppressed"] == third["suppressed"] == 79
    assert (last["level"], last["error"]) == ("error", "TimeoutError('too late')")


def test_the_wait_for_a_transaction_of_the_owner_before_is_no_error() -> None:
    file = io.BytesIO()
    with libraries_log_to(open_log(LogConfig(), file)):
        logging.getLogger("kafka.coordinator.consumer").error(
            "Unknown error fetching offsets for %s: %s", "journal-0", UnstableOffsetCommitError()
        )
        logging.getLogger("kafka.coordinator.consumer").error("Unknown error fetching offsets for %s: %s", "x", "y")

    assert [line["message"] for line in lines(file)] == ["Unknown error fetching offsets for x: y"]


def test_afterwards_libraries_log_as_before() -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level

    with libraries_log_to(open_log(LogConfig(), io.BytesIO())):
        assert root.handlers != before[0]

    assert (root.handlers, root.level) == before


def test_a_message_that_cannot_be_put_together_ends_nothing() -> None:
    file = io.BytesIO()
    with libraries_log_to(open_log(LogConfig(), file)):
        logging.getLogger("kafka").warning("%d brokers", "many")
        logging.getLogger("kafka").warning("still here")

    assert [line["message"] for line in lines(file)] == ["%d brokers", "still here"]


def test_the_limit_remembers_a_bounded_number_of_kinds() -> None:
    limit = RateLimit(clock=lambda: 0.0)
    for number in range(MAX_KEYS + 500):
        assert limit.admit("broker_away", str(number)) == 0

    assert len(limit._seen) == MAX_KEYS
    assert limit.admit("broker_away", str(MAX_KEYS)) is None


def test_what_goes_on_is_told_less_and_less_often_and_anew_after_a_pause() -> None:
    now = [0.0]
    limit = RateLimit(10.0, clock=lambda: now[0])

    def told(until_s: float) -> list[float]:
        found = []
        while now[0] < until_s:
            if limit.admit("scorer_failed", longest_s=60.0) is not None:
                found.append(now[0])
            now[0] += 0.5
        return found

    assert told(220) == [0, 10, 30, 70, 130, 190]
    now[0] = 400
    assert told(500) == [400, 410, 430, 470]
