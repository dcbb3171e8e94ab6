"""Encodings of Unicode are told by the first bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.formats.encodings import as_utf8, wide_encoding

ENCODINGS = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]


@given(st.dictionaries(st.text(min_size=1), st.text()), st.sampled_from(ENCODINGS))
def test_json_in_any_encoding_of_unicode_is_the_same_in_utf8(record: dict[str, str], encoding: str) -> None:
    raw = json.dumps(record, ensure_ascii=False)
    assert as_utf8(raw.encode(encoding, "surrogatepass")) == raw.encode("utf-8", "surrogatepass")
    assert as_utf8(raw.encode("utf-8", "surrogatepass")) == raw.encode("utf-8", "surrogatepass")


@given(st.binary(max_size=40))
def test_no_bytes_raise(raw: bytes) -> None:
    as_utf8(raw)


@pytest.mark.parametrize(
    "raw", [b"", b"\0", bytes(20), b"\0\0\0\0\x07{", b"\0\0\0{\x01{", b"\xff\xff\xff\xff\x10\0", b"PAR1"]
)
def test_other_bytes_with_zeros_are_left_alone(raw: bytes) -> None:
    assert wide_encoding(raw[:8]) == ""
    assert as_utf8(raw) == raw
