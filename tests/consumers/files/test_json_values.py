"""JSON values that are not one a line: told apart wherever blocks end, however they are written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.files.json_values import holds_lines, values_of
from curatord.errors import Undecodable

RECORDS = st.lists(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
        ),
        max_size=4,
    ),
    max_size=6,
)


def found(raw: bytes, cut: int = 1 << 20, max_bytes: int = 1 << 20) -> list[Any]:
    blocks = iter([raw[at : at + cut] for at in range(0, len(raw), cut)])
    return [
        value.reason if isinstance(value, Undecodable) else value
        for values in values_of(blocks, max_bytes)
        for value, _ in values
    ]


@given(
    RECORDS,
    st.sampled_from([None, 0, 2, 4]),
    st.sampled_from(["array", "lines", "together", "commas", "rfc7464", "arrays"]),
    st.booleans(),
    st.integers(1, 30),
)
def test_values_are_told_apart_however_they_are_written_and_wherever_blocks_end(
    records: list[dict[str, Any]], indent: int | None, form: str, ensure_ascii: bool, cut: int
) -> None:
    printed = [json.dumps(record, indent=indent, ensure_ascii=ensure_ascii) for record in records]
    text = {
        "array": "[" + ",\n".join(printed) + "]",
        "lines": "\n".join(printed) + "\n",
        "together": "".join(printed),
        "commas": "\ufeff" + ",\n".join(printed) + ",\n",
        "rfc7464": "".join(f"\x1e{one}\n" for one in printed),
        "arrays": "".join(f"[{one}]" for one in printed),
    }[form]
    assert found(text.encode("utf-8", "surrogatepass"), cut) == [
        one.encode("utf-8", "surrogatepass") for one in printed
    ]


@given(st.lists(st.sampled_from([b"{", b"}", b"[", b"]", b'"', b"\\", b"\n", b",", b":", b"a", b" ", b"\x1e", b"1"])))
def test_where_blocks_end_leaves_no_trace(parts: list[bytes]) -> None:
    raw = b"".join(parts)
    whole = found(raw)
    for cut in (1, 2, 3, 7):
        assert found(raw, cut) == whole


def test_a_value_begins_anew_where_a_block_does() -> None:
    raw = b'["cut\n{}\n{}\n'
    assert found(raw, 6) == found(raw) == [b'"cut\n', b"{}", b"{}"]


def test_a_damaged_value_costs_no_other() -> None:
    values = [{"text": "a", "list": [{"b": 1}]}, {"text": "b"}, {"text": "c"}]
    printed = [json.dumps(value, indent=2) for value in values]
    for damaged in ('{\n  "text": "cut', '{\n  "text": "cut\n', '{\n  "a": 1', '{\n  "a": [1, {"b": "x"}', "nonsense"):
        for at in range(3):
            text = "\n".join([*printed[:at], damaged, *printed[at:]])
            for cut in (1, 5, 1000):
                others = [one for one in found(text.encode(), cut) if one.decode().strip() in printed]
                assert len(others) == 3, text


def test_a_value_over_the_limit_is_passed_without_being_held() -> None:
    raw = b'{"a":1}{"text":"' + b"x" * 3000 + b'"}\n{"b":2}'
    for cut in (10, 10_000):
        assert found(raw, cut, max_bytes=1000) == [b'{"a":1}', "too_large", b'{"b":2}']


@pytest.mark.parametrize(
    ("head", "named_jsonl", "named_json"),
    [
        (b'{"a":1}\n{"b":2}\n', True, True),
        (b'\xef\xbb\xbf\n {"a":1}\n', True, True),
        (b'{"a":\n{"b":2}\n', True, True),
        (b'{"a":NaN}\n{"b":2}\n', True, True),
        (b'{"a":1},\n{"b":2}\n', False, False),
        (b'{\n "a":1\n}\n{\n "b":2\n}\n', False, False),
        (b'{"a":1}{"b":2}', False, False),
        (b"[1,2]\n[3]\n", False, False),
        (b'\x1e{"a":1}\n', False, False),
        (b"id,text\n1,a\n", True, True),
        (b'"a"\n"b"\n', True, False),
        (b'{"a":"' + b"x" * (1 << 20), True, False),
    ],
)
def test_the_first_bytes_say_whether_there_is_a_value_a_line(head: bytes, named_jsonl: bool, named_json: bool) -> None:
    assert holds_lines(head, named_lines=True) == named_jsonl
    assert holds_lines(head, named_lines=False) == named_json
