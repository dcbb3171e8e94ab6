"""Messages become rows that know their place, also those that no process is to decode."""

from __future__ import annotations

from typing import Any

from kafka.consumer.fetcher import ConsumerRecord

from consumers.formats.input_config import InputConfig
from consumers.formats.undecodable import TOOK_PROCESS_DOWN
from consumers.kafka.inbox import message_set_aside, rows_of_message
from curatord.errors import Undecodable


def message(value: bytes | None, timestamp_ms: int = 5) -> ConsumerRecord:
    fields: dict[str, Any] = dict.fromkeys(ConsumerRecord._fields)
    fields |= {"topic": "my-documents", "partition": 3, "offset": 42, "timestamp": timestamp_ms, "headers": []}
    return ConsumerRecord(**fields | {"key": b"k", "value": value})


def test_rows_of_a_message_share_its_place_and_its_time() -> None:
    rows = rows_of_message(message(b'{"text": "a"}\n{"text": "b"}'), InputConfig())

    assert [row.index for row in rows] == [0, 1]
    assert {(row.source, row.position) for row in rows} == {("my-documents-3", 42)}
    assert {row.timestamp_us for row in rows} == {5000}


def test_a_message_that_is_set_aside_is_one_row_with_its_bytes_and_the_reason() -> None:
    row = message_set_aside(message(b"\x00fatal", timestamp_ms=-1), "signal 9 (SIGKILL)")

    assert (row.source, row.position, row.original, row.timestamp_us) == ("my-documents-3", 42, b"\x00fatal", 0)
    assert isinstance(row.value, Undecodable)
    assert row.value.reason == TOOK_PROCESS_DOWN
    assert "signal 9 (SIGKILL)" in str(row.value)
