"""JSON records: what is UTF-8, and which values of a line are found where."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernels.columns import PADDING, bounds_of
from kernels.json_records import ABSENT, INTEGER, SLACK_BYTES, STRING, is_utf8, read_records

NAMES = [b"text", b"", b"id"]


def fields_of(lines: list[bytes]) -> list[list[tuple[int, bytes]]]:
    """Kind and bytes of each field of each line."""
    buffer_N = np.frombuffer(b"".join([*lines, PADDING]), np.uint8)
    out_N = np.empty(len(buffer_N) + SLACK_BYTES, np.uint8)
    spans_BF2, kinds_BF = np.empty((len(lines), 3, 2), np.int64), np.empty((len(lines), 3), np.uint8)
    bounds_B1, names_N = bounds_of(list(map(len, lines))), np.frombuffer(b"".join(NAMES), np.uint8)
    bounds_F1 = bounds_of(list(map(len, NAMES)))
    written = read_records(buffer_N, bounds_B1, names_N, bounds_F1, out_N, spans_BF2, kinds_BF)
    assert 0 <= written <= len(buffer_N)
    return [
        [(int(kind), out_N[first:last].tobytes()) for kind, (first, last) in zip(kinds_F, spans_F2, strict=True)]
        for kinds_F, spans_F2 in zip(kinds_BF, spans_BF2.tolist(), strict=True)
    ]


def test_each_line_has_the_fields_that_it_names_and_a_field_without_a_name_is_nowhere() -> None:
    nothing = [(ABSENT, b"")] * 3
    assert fields_of([b'{"id":12,"text":"a\\u00fcb","":"x"}', b'{"text":"cut', b"{}", b'{"a":[{}],"text":""}']) == [
        [(STRING, "aüb".encode()), (ABSENT, b""), (INTEGER, b"12")],
        nothing,
        nothing,
        [(STRING, b""), (ABSENT, b""), (ABSENT, b"")],
    ]


def test_every_character_is_read_from_its_bytes_and_from_its_escapes() -> None:
    every = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    texts = ["".join(every[first : first + 4096]) for first in range(0, len(every), 4096)]
    for ascii_only in (True, False):
        lines = [json.dumps({"text": text}, ensure_ascii=ascii_only).encode() for text in texts]
        assert [line[0] for line in fields_of(lines)] == [(STRING, text.encode()) for text in texts]


@given(
    st.binary(max_size=8) | st.text(st.characters(exclude_categories=[])).map(lambda t: t.encode("utf-8", "replace"))
)
def test_bytes_are_utf8_if_python_reads_them(raw: bytes) -> None:
    try:
        raw.decode()
        expected = True
    except UnicodeDecodeError:
        expected = False
    for before in (b"", b"a" * 62):
        whole = before + raw
        assert is_utf8(np.frombuffer(whole + b"\x80" * 64, np.uint8), 0, len(whole)) is expected
