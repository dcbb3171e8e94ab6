"""Plain records are read into columns, and are what the exact decoder finds in them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from consumers.formats.codec import LARGE_BYTES, decode_document
from consumers.formats.columns import read_columns
from consumers.formats.fields import DEFAULT_FIELDS, MAX_DOCUMENT_BYTES, FieldNames
from curatord.records import Document
from tests.corpus import read_zst_jsonl

WEIGHED = FieldNames(weight="w", scores={"b": "n", "a": "id2"})
RENAMED = FieldNames(text="body", id="", url="a", source="text", language="", timestamp="é")


def check(
    records: Sequence[bytes], fields: FieldNames = DEFAULT_FIELDS, max_document_bytes: int = MAX_DOCUMENT_BYTES
) -> list[bool]:
    """Which were read; those are what the exact decoder makes of them, alone and among the others."""
    columns = read_columns(records, fields, max_document_bytes=max_document_bytes)
    for b, record in enumerate(records):
        if columns.is_read_B[b]:
            exact = decode_document(record, fields, max_document_bytes=max_document_bytes)
            found = Document(
                id=columns.ids[b] or None,
                text=columns.texts[b],
                url=columns.urls[b],
                source=columns.sources[b],
                language=columns.languages[b],
                timestamp_us=columns.timestamps_us[b],
                numbers=exact.numbers,
                metadata=exact.metadata,
            )
            assert found == exact
            expected_G = np.array(exact.numbers, np.float32)
            assert np.array_equal(columns.numbers_BG[b], expected_G, equal_nan=True)
        else:
            assert not columns.texts[b] + columns.ids[b] + columns.urls[b] + columns.sources[b] + columns.languages[b]
            assert not columns.timestamps_us[b]
            assert np.isnan(columns.numbers_BG[b]).all()
    read: list[bool] = columns.is_read_B.tolist()
    return read


PLAIN = [
    b'{"text":""}',
    b' { "text" : "a" , "id" : "b" } \r',
    '{"text":"Größe 漢字 😀 \\u00e9\\u6f22\\ud83d\\ude00\\n\\t\\"\\\\\\/\\b\\f\\r","id":"ü"}'.encode(),
    b'{"id":7,"text":"x","timestamp":1700000000,"n":-0.5e+9,"m":[[],{},{"a":[1,null,true,false,"\\u0041"]}]}',
    b'{"text":"x","timestamp":"2024-01-31T00:00:00Z","url":"http://a/","source":"s","language":"de"}',
    b'{"text":"x","id":null,"url":5,"source":null,"timestamp":"never"}',
    b'{"text":"' + b"x" * 63 + b'\\n"}',
    b'{"text":"\x7f","source":"' + b"s" * 300 + b'"}',
]
OTHERS = [
    b"",
    b"{}",
    b"[1]",
    b'{"id":"a"}',
    b'{"text":1}',
    b'{"text":null}',
    b'{"text":"a","text":"b"}',
    b'{"text":"a","id":"b","id":null}',
    b'{"te\\u0078t":"a"}',
    b'{"text":"a","\\u0069d":"b"}',
    b'{"text":"\\ud800"}',
    b'{"text":"\\udc00\\ud800"}',
    b'{"text":"\\ud800\\u0041"}',
    b'{"text":"\\x"}',
    b'{"text":"\\u12"}',
    b'{"text":"\xff"}',
    b'{"text":"\xed\xa0\x80"}',
    b'{"text":"\xc0\x80"}',
    b'{"text":"\xf4\x90\x80\x80"}',
    b'{"text":"a","b":"\xff"}',
    b'{"text":"a\x01"}',
    b'{"text":"a","b":"\n"}',
    b'{"text":"a","b":01}',
    b'{"text":"a","b":NaN}',
    b'{"text":"a","b":[1,]}',
    b'{"text":"a","b":{"c" 1}}',
    b'{"text":"a","b":[}',
    b'{"text":"a",}',
    b'{"text":"a"}}',
    b'{"text":"a"',
    b'{"text":"a',
    b'{"text":"a\\',
    b'{"text":"a"} x',
    b'\xef\xbb\xbf{"text":"a"}',
    b'{"text":"a","id":1.5}',
    b'{"text":"a","id":-1}',
    b'{"text":"a","id":[]}',
    b'{"text":"a","id":"' + b"i" * 1025 + b'"}',
    b'{"text":"a","id":' + b"9" * 19 + b"}",
    b'{"text":"a","b":' + b"[" * 100 + b"]" * 100 + b"}",
]


def test_a_plain_record_is_read_wherever_it_stands() -> None:
    assert check(PLAIN) == [True] * len(PLAIN)
    assert check(OTHERS) == [False] * len(OTHERS)
    mixed = [record for pair in zip(PLAIN * len(OTHERS), OTHERS * len(PLAIN), strict=True) for record in pair]
    assert check(mixed) == [True, False] * (len(mixed) // 2)
    assert check([]) == []


def test_a_long_text_is_read_to_the_byte_around_every_block() -> None:
    texts = [("ü" * before + '"\n\\' + "x" * after) for before in range(70) for after in (0, 1, 61, 62, 63, 64, 65)]
    for ascii_only in (True, False):
        assert all(check([json.dumps({"text": text}, ensure_ascii=ascii_only).encode() for text in texts]))


def test_other_names_are_read_and_dots_are_left_to_the_exact_decoder() -> None:
    record = '{"text":"s","body":"b","id":"i","a":"u","é":5,"":"e"}'.encode()
    assert check([record], RENAMED) == [True]
    assert check([b'{"doc":{"text":"a"},"text":"b"}'], FieldNames(text="doc.text")) == [False]


def test_numbers_are_read_where_they_are_named_and_what_is_none_is_left_to_the_exact_decoder() -> None:
    plain = [
        b'{"text":"a","w":0.25,"n":-7,"id2":1e-3}',
        b'{"text":"a","w":3,"n":null}',
        b'{"text":"a","w":null,"id2":12345678901234567890}',
        b'{"text":"a"}',
        b'{"text":"a","w":0,"n":-0.0}',
    ]
    others = [b'{"text":"a","w":%s}' % value for value in (b"-1", b'"2"', b"true", b"1e39", b"[]", b"{}", b"1.")]
    assert check(plain, WEIGHED) == [True] * len(plain)
    columns = read_columns(plain + others, WEIGHED, max_document_bytes=MAX_DOCUMENT_BYTES)
    assert columns.is_read_B.tolist() == [True] * len(plain) + [False] * len(others)
    assert columns.numbers_BG[0].tolist() == [0.25, np.float32(1e-3), -7.0]  # the weight, then scores by name
    # Where they are not named, they are metadata like any other.
    assert check(plain) == [True] * len(plain)


def test_a_record_over_a_limit_is_left_to_the_exact_decoder() -> None:
    assert check([b'{"text":"' + b"x" * 1100 + b'"}', PLAIN[0]], max_document_bytes=1024) == [False, True]
    assert check([b'{"text":"' + b"x" * LARGE_BYTES + b'"}']) == [False]


STRINGS = st.text(st.characters(exclude_categories=[]), max_size=8)  # half surrogates, too
SCALARS = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | STRINGS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STRINGS, inner, max_size=3), max_leaves=5
)
NAMES = st.sampled_from([*DEFAULT_FIELDS.all, "w", "n", "id2", "body", "a", "é", ""]) | STRINGS
MEMBERS = st.tuples(NAMES, STRINGS | VALUES)


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """An object with any members, printed in any way, and perhaps damaged."""
    members: list[tuple[str, Any]] = draw(st.lists(MEMBERS, max_size=5))
    members.insert(draw(st.integers(0, len(members))), ("text", draw(STRINGS)))
    ascii_only, space = draw(st.booleans()), draw(st.sampled_from(["", " ", "\t\r\n "]))
    parts = [json.dumps(name, ensure_ascii=ascii_only) + space + ":" + space for name, _ in members]
    values = [json.dumps(value, ensure_ascii=ascii_only) for _, value in members]
    whole = "{" + f"{space},{space}".join(key + value for key, value in zip(parts, values, strict=True)) + "}" + space
    raw = bytearray(whole.encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(raw) - 1))
        if draw(st.booleans()):
            raw[place] = draw(st.integers(0, 255))
        else:
            del raw[place : place + draw(st.integers(1, 3))]
        if not raw:
            break
    return bytes(raw)


@given(st.lists(records(), max_size=4), st.sampled_from([DEFAULT_FIELDS, RENAMED, WEIGHED]))
@example(PLAIN, RENAMED)
def test_any_record_that_is_read_is_what_the_exact_decoder_finds(raw: list[bytes], fields: FieldNames) -> None:
    check(raw, fields)


@given(st.binary(max_size=40))
def test_any_bytes_in_a_string_are_read_as_the_exact_decoder_does(raw: bytes) -> None:
    check([b'{"text":"' + raw + b'"}', b'{"text":"a","b":"' + raw + b'"}', b'{"text":"a","b":' + raw + b"}", raw])


@pytest.mark.parametrize("name", ["cases", "encodings"])
def test_the_hostile_cases_are_what_the_exact_decoder_finds(corpora: Path, name: str) -> None:
    for case in read_zst_jsonl(corpora / "hostile" / f"{name}.jsonl.zst"):
        raw = base64.b64decode(case["b64"])
        check([raw, b'{"text":"' + raw + b'"}', b'{"text":"a","' + raw + b'":' + raw + b"}"])
        if "text" in case:
            plain = {"id": case["id"], "text": case["text"]}
            assert all(check([json.dumps(plain, ensure_ascii=ascii_only).encode() for ascii_only in (True, False)]))


def test_the_hostile_lines_are_what_the_exact_decoder_finds(corpora: Path) -> None:
    with (corpora / "hostile" / "raw_lines.bin.zst").open("rb") as file:
        raw = zstandard.ZstdDecompressor().stream_reader(file).read()
    check(raw.split(b"\n"))
