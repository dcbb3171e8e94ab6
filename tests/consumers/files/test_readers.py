"""Reading rows: exact against the plain meaning of each format, restartable anywhere, and honest about damage."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import tracemalloc
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import fsspec
import lz4.frame
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from consumers.files import content as contents
from consumers.files import readers, unpacking
from consumers.files.inputs import KINDS, InputFile, expand
from consumers.files.json_values import HEAD_BYTES
from consumers.files.readers import Row, check_tables, read_rows
from consumers.formats import tables
from consumers.formats.codec import decode_document
from consumers.formats.columns import TableRow
from consumers.formats.fields import FieldNames
from consumers.formats.input_config import InputConfig
from curatord.errors import Undecodable, UsageError
from curatord.records import Document

PACKS: dict[str, Any] = {
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".lz4": lz4.frame.compress,
}


def _read(path: Path | str, start: int = 0, **options: Any) -> list[Row]:
    (file,) = expand([str(path)])
    return [
        Row(row.position, row.value.document()) if isinstance(row.value, TableRow) else row
        for rows in read_rows(file, start, InputConfig(**options))
        for row in rows
    ]


def _shown(row: Row) -> tuple[int, Any]:
    """A row as something that can be compared: exceptions cannot."""
    value = (row.value.reason, str(row.value), row.original) if isinstance(row.value, Undecodable) else row.value
    return row.position, value


def _lines(count: int) -> list[bytes]:
    # Numbers grow, so no two lines are equal and they compress badly enough to be many blocks.
    return [b'{"id":%d,"text":"%s"}' % (at, str(at * 7919).encode() * (at % 50)) for at in range(count)]


def _damage(row: Row) -> Undecodable:
    assert isinstance(row.value, Undecodable)
    assert row.value.reason == "damaged_file"
    return row.value


@pytest.mark.parametrize("end", [b"\n", b"", b"\r\n", b"\n\n  \n"])
def test_lines_are_read_with_or_without_a_last_line_end(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text":"\xe2\x80\xa8\x0c"}\r\n\n \r\n{"text":"b"}' + end)
    first, second = _read(path)
    assert first == Row(0, b'{"text":"\xe2\x80\xa8\x0c"}\r')
    assert (second.position, bytes(second.value).rstrip()) == (3, b'{"text":"b"}')


@pytest.mark.parametrize("content", [b"", b"\n", b"\n\n\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_an_empty_file_has_no_rows(tmp_path: Path, content: bytes) -> None:
    for name in ("a.jsonl", "a.json"):
        (tmp_path / name).write_bytes(content)
        assert _read(tmp_path / name) == []
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(content))
    (tmp_path / "b.jsonl.zst").write_bytes(zstandard.compress(content))
    (tmp_path / "c.jsonl.gz").write_bytes(b"")
    for name in ("a.jsonl.gz", "b.jsonl.zst", "c.jsonl.gz"):
        assert _read(tmp_path / name) == []


@given(
    st.lists(st.binary(max_size=6) | st.sampled_from([b"\n", b"\n\n", b"\r\n", b" ", b"x" * 40, b"\xef\xbb\xbf"])),
    st.lists(st.integers(0, 60), max_size=10),
    st.integers(0, 12),
)
def test_lines_are_those_of_split_however_the_file_comes_in_blocks(
    parts: list[bytes], cuts: list[int], start: int
) -> None:
    content = b"".join(parts)
    blocks = [content[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(content)], strict=True)]
    limit = 30
    expected = [
        (at, line if len(line) <= limit else "too_large")
        for at, line in enumerate(content.split(b"\n"))
        if line and not line.isspace() and at >= start
    ]
    found = []
    for row in (row for rows in readers._line_rows(iter(blocks), start, limit) for row in rows):
        # A long line that lies whole in a block is left to the decoder, which has the same limit.
        value = row.value.reason if isinstance(row.value, Undecodable) else row.value
        found.append((row.position, "too_large" if isinstance(value, bytes) and len(value) > limit else value))
    if expected and expected[0][0] == 0 and isinstance(expected[0][1], bytes):
        without_mark = expected[0][1].removeprefix(b"\xef\xbb\xbf")
        expected[0] = (0, without_mark)
        if not without_mark or without_mark.isspace():
            del expected[0]
    assert found == expected


@pytest.mark.parametrize(
    "name", ["a.jsonl", *(f"a.jsonl{suffix}" for suffix in PACKS), "a.json", "array.json", "a.parquet"]
)
def test_a_restart_at_any_row_gives_the_same_rows(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "BLOCK_BYTES", 200)
    monkeypatch.setattr(unpacking, "BLOCK_BYTES", 200)
    monkeypatch.setattr(readers, "BLOCK_ROWS", 7)
    monkeypatch.setattr(unpacking, "FEED_BYTES", 50)
    lines = _lines(60)
    lines[10:10] = [b"", b"  "]
    content = b"\n".join(lines)
    path = tmp_path / name
    if name == "array.json":
        path.write_bytes(b"[" + b",".join(line for line in lines if line.strip()) + b"]")
    elif name == "a.parquet":
        pq.write_table(pa.table({"id": range(60), "text": [str(i) * i for i in range(60)]}), path, row_group_size=25)
    else:
        path.write_bytes(PACKS.get(path.suffix, bytes)(content))
    whole = _read(path)
    assert len(whole) == 60
    for start in range(64):
        assert _read(path, start) == [row for row in whole if row.position >= start]


@pytest.mark.parametrize("suffix", PACKS)
def test_members_and_frames_read_as_one_stream(tmp_path: Path, suffix: str) -> None:
    pack = PACKS[suffix]
    path = tmp_path / f"a.jsonl{suffix}"
    content = b"\n".join(_lines(500))
    cut = len(content) // 3
    path.write_bytes(pack(content[:cut]) + pack(b"") + pack(content[cut:]))
    assert [row.value for row in _read(path)] == content.split(b"\n")


def test_zero_padding_after_a_gzip_member_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}\n") + bytes(5000) + gzip.compress(b"[]\n") + bytes(512))
    assert [row.value for row in _read(path)] == [b"{}", b"[]"]


def test_skippable_zstd_frames_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"abcd"
    path.write_bytes(skippable + zstandard.compress(b"{}\n") + skippable)
    assert [row.value for row in _read(path)] == [b"{}"]


@pytest.mark.parametrize("suffix", PACKS)
def test_a_truncated_file_gives_what_came_before_and_one_dead_letter(tmp_path: Path, suffix: str) -> None:
    lines = _lines(2000)
    packed = PACKS[suffix](b"\n".join(lines))
    path = tmp_path / f"a.jsonl{suffix}"
    for cut in (1, 5, len(packed) // 3, len(packed) // 2, len(packed) - 1):
        path.write_bytes(packed[:cut])
        *rows, last = _read(path)
        assert [row.value for row in rows] == lines[: len(rows)]
        assert "ends early" in str(_damage(last))
        assert last.position == len(rows)
        assert lines[len(rows)].startswith(last.original) if len(rows) < len(lines) else not last.original
        for start in (last.position - 1, last.position, last.position + 1):
            assert list(map(_shown, _read(path, max(0, start)))) == list(
                map(_shown, [row for row in [*rows, last] if row.position >= start])
            )
    # gzip and xz tell early, zstd and lz4 in blocks of 64 KiB and more, bzip2 in blocks of 900 kB.
    assert len(rows) > {".gz": 1900, ".xz": 1900, ".bz2": -1}.get(suffix, 0)


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2", ".xz"])  # lz4 has no checksum unless asked for one
def test_a_flipped_byte_costs_the_rest_of_the_file_only(tmp_path: Path, suffix: str) -> None:
    lines = _lines(20_000)
    packed = bytearray(PACKS[suffix](b"\n".join(lines)))
    middle = len(packed) // 2
    packed[middle : middle + 40] = bytes(40)
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(packed)
    *rows, last = _read(path)
    assert _damage(last)
    assert [row.value for row in rows[:5000]] == lines[:5000]
    assert last.position == len(rows)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.json.zst", "a.jsonl", "a.json", "a.parquet"])
@pytest.mark.parametrize("pack", [bytes, *PACKS.values(), lambda raw: gzip.compress(zstandard.compress(raw))])
def test_the_first_bytes_say_how_a_file_is_packed_and_not_its_name(tmp_path: Path, name: str, pack: Any) -> None:
    lines = _lines(300)
    (tmp_path / name).write_bytes(pack(b"\n".join(lines)))
    assert [row.value for row in _read(tmp_path / name)] == lines
    (tmp_path / "a.txt.gz").write_bytes(pack("ä".encode()))
    assert _read(tmp_path / "a.txt.gz") == [Row(0, Document(id=str(tmp_path / "a.txt.gz"), text="ä"))]


def test_tables_are_read_under_any_name(tmp_path: Path) -> None:
    table = pa.table({"id": [1, 2], "text": ["a", "b"]})
    expected = [Row(0, Document(id="1", text="a")), Row(1, Document(id="2", text="b"))]
    pq.write_table(table, tmp_path / "a.jsonl")
    with pa.ipc.new_file(tmp_path / "b.parquet", table.schema) as writer:
        writer.write_table(table)
    pq.write_table(table, tmp_path / "c.arrow")
    for name in ("a.jsonl", "b.parquet", "c.arrow"):
        assert _read(tmp_path / name) == expected
    assert check_tables(expand([str(tmp_path)])) == {}


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.txt.gz", "a.json.zst"])
def test_what_is_neither_packed_nor_text_is_one_dead_letter(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x00\x01\x02" * 1000)
    (row,) = _read(tmp_path / name)
    assert row.position == 0
    assert "begins with 00 01 02 00" in str(_damage(row))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz"])
def test_wide_unicode_is_read_with_and_without_a_mark(tmp_path: Path, name: str, encoding: str) -> None:
    pack = gzip.compress if name.endswith("gz") else bytes
    lines = [json.dumps({"text": f"漢😀\u0a0a {number}"}, ensure_ascii=False) for number in range(5000)]
    raw = "\n".join(lines).encode(encoding)
    (tmp_path / name).write_bytes(pack(raw))
    assert [bytes(row.value).decode() for row in _read(tmp_path / name)] == lines
    (tmp_path / name).write_bytes(pack(raw[:-1]))
    *rows, last = _read(tmp_path / name)
    assert [bytes(row.value).decode() for row in rows] == lines[:-1]
    assert _damage(last)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("name", ["a.txt", "a.md.gz"])
def test_a_text_in_wide_unicode_is_read_with_and_without_a_mark(tmp_path: Path, name: str, encoding: str) -> None:
    text = "Hello, world\n漢😀 and more"
    raw = text.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    (row,) = _read(tmp_path / name)
    assert isinstance(row.value, Document)
    assert row.value.text == text


def test_half_a_surrogate_pair_in_wide_unicode_costs_its_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"text":"a"}\n{"text":"\ud800"}\n{"text":"b","n":"\udc00"}\n'.encode("utf-16", "surrogatepass"))
    decoded = [decode_document(row.value) if number != 1 else row for number, row in enumerate(_read(path))]
    assert [decoded[0].text, decoded[2].text] == ["a", "b"]
    with pytest.raises(Undecodable):
        decode_document(decoded[1].value)


def test_an_encoding_that_is_no_unicode_is_read_if_it_is_named_and_asked_for_if_not(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("größer".encode("latin-1"))
    (row,) = _read(tmp_path / "a.txt")
    assert isinstance(row.value, Undecodable)
    assert '[input] encoding, in Western Europe mostly "cp1252"' in str(row.value)
    (row,) = _read(tmp_path / "a.txt", encoding="cp1252")
    assert row.value == Document(id=str(tmp_path / "a.txt"), text="größer")
    for encoding in ("cp1252", "shift_jis", "gb18030"):
        text = "größer" if encoding == "cp1252" else "日本ソ"
        raw = json.dumps({"text": text, "id": text}, ensure_ascii=False).encode(encoding)
        assert decode_document(raw, encoding=encoding) == Document(id=text, text=text)
        utf8 = json.dumps({"text": text}, ensure_ascii=False).encode()
        assert decode_document(utf8, encoding=encoding).text == text


@pytest.mark.parametrize("encoding", ["shift_jis", "big5", "gb18030", "cp1252"])
@pytest.mark.parametrize("indent", [None, 1])
def test_json_that_is_told_apart_by_its_bytes_is_read_in_any_encoding(
    tmp_path: Path, encoding: str, indent: int | None
) -> None:
    text = {"shift_jis": "表", "big5": "功", "gb18030": "乗俓", "cp1252": "ä"}[encoding]
    records = [{"text": f"{number} {text}"} for number in range(3)]
    (tmp_path / "a.json").write_bytes(json.dumps(records, ensure_ascii=False, indent=indent).encode(encoding))
    config = InputConfig(encoding=encoding)
    rows = [row for rows in read_rows(expand([str(tmp_path)])[0], config=config) for row in rows]
    assert [decode_document(bytes(row.value)).text for row in rows] == [record["text"] for record in records]


def test_utf8_stays_utf8_where_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes('[{"text": "ä"}]'.encode())
    (row,) = _read(tmp_path / "a.json", encoding="cp1252")
    assert decode_document(bytes(row.value)).text == "ä"


def test_tables_are_known_by_their_content_and_those_that_are_packed_are_named(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b"]})
    stream, parquet = io.BytesIO(), io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    pq.write_table(table, parquet)
    for name in ("a.jsonl", "b.json", "c.parquet", "d.arrow"):
        (tmp_path / name).write_bytes(stream.getvalue())
        assert [row.value.text for row in _read(tmp_path / name) if isinstance(row.value, Document)] == ["a", "b"]
        for raw in (stream.getvalue(), parquet.getvalue()):
            (tmp_path / name).write_bytes(gzip.compress(raw))
            (row,) = _read(tmp_path / name)
            assert "packed once more" in str(_damage(row))


@pytest.mark.parametrize("window_log", [27, 28, 31])
def test_a_window_of_zstd_is_read_up_to_the_limit_and_named_beyond(tmp_path: Path, window_log: int) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=window_log, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    lines = _lines(1000)
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(
        zstandard.compress(b"\n".join(lines[:500]) + b"\n") + packer.compress(b"\n".join(lines[500:])) + packer.flush()
    )
    assert [row.value for row in _read(path)] == lines
    *rows, last = _read(path, max_window_bytes=1 << 26)
    assert [row.value for row in rows] == lines[:500]
    assert isinstance(last.value, Undecodable)
    assert last.value.reason == "window_too_large"
    assert f"window too large: zstd needs {1 << window_log:,} bytes" in str(last.value)
    assert "[input] max_window_bytes" in str(last.value)


def test_a_line_over_the_limit_is_passed_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    size = 300 << 20
    with zstandard.open(path, "wb") as file:
        file.write(b'{"text":"a"}\n{"text":"')
        for _ in range(300):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n{"text":"b"}\n')
    tracemalloc.start()
    try:
        before, long, after = _read(path, max_document_bytes=4 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (before, after) == (Row(0, b'{"text":"a"}'), Row(2, b'{"text":"b"}'))
    assert isinstance(long.value, Undecodable)
    assert long.value.reason == "too_large"
    assert f"{size + 11:,} bytes" in str(long.value)
    assert long.original == b'{"text":"' + b"x" * (HEAD_BYTES - 9)
    # What one feed unpacks to, a few times over while blocks are joined.
    assert peak < 70 << 20


@pytest.mark.parametrize("suffix", PACKS)
def test_a_bomb_is_one_dead_letter(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(PACKS[suffix](bytes(100 << 20)))
    (row,) = _read(path, max_document_bytes=1 << 20)
    assert isinstance(row.value, Undecodable)
    assert row.value.reason == "too_large"
    assert len(row.original) <= HEAD_BYTES


def test_a_growing_file_is_read_to_the_size_it_had_when_it_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = _lines(20_000)
    path.write_bytes(b"\n".join(lines) + b"\n")
    (file,) = expand([str(path)])
    rows = []
    for chunk in read_rows(file):
        rows += chunk
        with path.open("ab") as growing:
            growing.write(b'{"text":"new"}\n' * 10_000)
    assert [row.value for row in rows] == lines


ARRAY: list[Any] = [{"text": "a"}, {"text": "b]"}, 5, {"id": 3, "text": "c\n"}]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_gives_one_row_an_element(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "a.json"
    path.write_text("\ufeff\n " + json.dumps(ARRAY, indent=indent) + "\n")
    rows = _read(path)
    assert [row.position for row in rows] == [0, 1, 2, 3]
    assert [json.loads(row.value) for row in rows if isinstance(row.value, bytes)] == ARRAY


@pytest.mark.parametrize(("content", "num_rows"), [
    (b'{"text":"a"}', 1),
    (b'{"text":"a"}\n', 1),
    (b'{\n  "text": "a",\n  "k": [1]\n}\n', 1),
    (b'{"text":"a"}\n{"text":"b"}\n', 2),
    (b'\n{"text":"a"}\nbroken\n{"text":"b"}', 3),
    (b'broken\n{"text":"a"}\n', 2),
    (b'[1]\n{"text":"a"}\n', 2),
    (b'{\n "text":"a"\n}\n{\n "text":"b"\n}\n{\n "text":"c"\n}\n', 3),
    (b'{"text":"a"}{"text":"b"}{"text":"c"}', 3),
    (b'\x1e{"text":"a"}\n\x1e{"text":"b"}\n', 2),
    (b'{"text":"a"},\n{"text":"b"},\n', 2),
    (b'[{"text":"a"},{"text":"b"},]', 2),
    (b'[{"text":"a"}]\n[{"text":"b"}]\n', 2),
    (b'[[{"text":"a"}],[{"text":"b"}]]', 2),
    (b"[]", 0),
])  # fmt: skip
def test_a_json_file_may_be_lines_or_values_of_any_form(tmp_path: Path, content: bytes, num_rows: int) -> None:
    for name in ("a.json", "a.jsonl"):
        (tmp_path / name).write_bytes(content)
        assert len(_read(tmp_path / name)) == num_rows


def test_what_is_whole_of_an_array_that_is_cut_off_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'[{"text":"a"},\n{"text":"b"')
    assert _read(path) == [Row(0, b'{"text":"a"}'), Row(1, b'{"text":"b"')]
    path.write_bytes(b"[" * 100_000)
    (row,) = _read(path)
    with pytest.raises(Undecodable, match="nested deeper"):
        decode_document(row.value)
    # Bad bytes inside an element are for the decoder to find.
    path.write_bytes(b'[{"text":\n"\xff"}]')
    assert _read(path) == [Row(0, b'{"text":\n"\xff"}')]
    assert _read(path, 1) == []


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.rst", "a.txt.gz", "a.md.zst"])
def test_a_text_file_is_one_document_named_by_its_path(tmp_path: Path, name: str) -> None:
    pack = {".gz": gzip.compress, ".zst": zstandard.compress}.get(Path(name).suffix, bytes)
    path = tmp_path / name
    path.write_bytes(pack(b"\xef\xbb\xbf one\r\ntwo \x00\n\n"))
    assert _read(path) == [Row(0, Document(id=str(path), text=" one\r\ntwo \x00\n\n"))]
    assert _read(path, 1) == []
    for encoding in ("utf-16", "utf-32"):
        path.write_bytes(pack("漢字\n".encode(encoding)))
        assert _read(path) == [Row(0, Document(id=str(path), text="漢字\n"))]
    path.write_bytes(pack(b"a\xff"))
    (row,) = _read(path)
    assert isinstance(row.value, Undecodable)
    assert (row.value.reason, row.original) == ("not_utf8", b"a\xff")
    path.write_bytes(pack(b"x" * 2000))
    (row,) = _read(path, max_document_bytes=1999)
    assert isinstance(row.value, Undecodable)
    assert row.value.reason == "too_large"


def test_a_table_gives_documents_by_row_group_and_reads_only_the_named_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table(
        {
            "embedding": [[0.5] * 100] * 2500,
            "body": [f"text {number}" for number in range(2500)],
            "id": range(2500),
            "source": ["web"] * 2500,
        }
    )
    pq.write_table(table, path, row_group_size=700)
    names = FieldNames(text="body")
    rows = _read(path, fields=names)
    assert rows == [Row(n, Document(id=str(n), text=f"text {n}", source="web")) for n in range(2500)]


def test_tables_that_cannot_be_used_are_told_before_the_work_starts(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "good.parquet")
    pq.write_table(pa.table({"content": ["a"], "id": [1]}), tmp_path / "other.parquet")
    pq.write_table(pa.table({"text": [[1]]}), tmp_path / "list.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "empty.parquet").write_bytes(b"")
    good = (tmp_path / "good.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(good[: len(good) // 2])
    problems = {Path(uri).stem: problem for uri, problem in check_tables(expand([str(tmp_path)])).items()}
    assert set(problems) == {"other", "list", "broken", "empty", "cut"}
    assert "other.parquet: no text in field 'text'; the fields are 'content', 'id'" in problems["other"]
    assert "list.parquet: column 'text' holds list" in problems["list"]
    for name in ("broken", "empty", "cut"):
        assert f"{name}.parquet: not a readable Parquet file" in problems[name]
    for name, reason in (("other", "no_text"), ("list", "text_not_a_string"), ("cut", "damaged_file")):
        (row,) = _read(tmp_path / f"{name}.parquet")
        assert isinstance(row.value, Undecodable)
        assert (row.position, row.value.reason) == (0, reason)
        assert _read(tmp_path / f"{name}.parquet", 1) == []


def test_a_damaged_row_group_costs_its_own_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [os.urandom(20).hex() for _ in range(3000)]})
    pq.write_table(table, path, row_group_size=1000, compression="zstd", use_dictionary=False)
    column = pq.read_metadata(path).row_group(1).column(0)
    raw = bytearray(path.read_bytes())
    raw[column.data_page_offset + 50 : column.data_page_offset + column.total_compressed_size] = bytes(
        column.total_compressed_size - 50
    )
    path.write_bytes(raw)
    rows = _read(path)
    texts = table.column("text").to_pylist()
    good = [row for row in rows if isinstance(row.value, Document)]
    assert [(row.position, row.value.text) for row in good if isinstance(row.value, Document)] == [
        (n, texts[n]) for n in (*range(1000), *range(2000, 3000))
    ]
    (bad,) = [row for row in rows if not isinstance(row.value, Document)]
    assert bad.position == 1000
    assert "rows 1000 to 1999 are lost" in str(_damage(bad))
    assert [row.position for row in _read(path, 1001)] == list(range(2000, 3000))


def test_a_table_that_unpacks_to_too_much_at_once_is_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MAX_UNPACKED", 5000)
    path = tmp_path / "a.parquet"
    texts = ["x" * 900, "y" * 6000]
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 30 + [1] + [0] * 30, pa.int32()), pa.array(texts))
    pq.write_table(pa.table({"id": range(61), "text": column}), path, row_group_size=40)
    rows = _read(path)
    assert [row.position for row in rows] == list(range(61))
    for row in rows:
        if row.position == 30:
            assert isinstance(row.value, Undecodable)
            assert row.value.reason == "too_large"
        else:
            assert row.value == Document(id=str(row.position), text=texts[0])
    for start in (1, 29, 30, 31, 45, 60, 61):
        assert list(map(_shown, _read(path, start))) == list(map(_shown, rows[start:]))


def test_the_dictionary_of_a_row_group_is_looked_at_once_for_all_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    texts = [None] * 10 + [f"{number} " * 500 for number in range(5000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=4000)  # a page of a dictionary, then of texts
    assert {"PLAIN", "RLE_DICTIONARY"} <= set(pq.read_metadata(path).row_group(0).column(0).encodings)
    lengths, binary_length = [], pc.binary_length
    monkeypatch.setattr(pc, "binary_length", lambda values: lengths.append(len(values)) or binary_length(values))

    rows = _read(path)

    assert [row.value.text for row in rows if isinstance(row.value, Document)] == texts[10:]
    assert len(lengths) == 2


def test_of_two_columns_with_the_name_of_the_text_the_last_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    for first, last in ((["a"], ["b"]), ([1], ["b"])):
        pq.write_table(pa.Table.from_arrays([pa.array(first), pa.array(last)], names=["text", "text"]), path)
        assert _read(path) == [Row(0, Document(id=None, text="b"))]
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array([1])], names=["text", "text"]), path)
    (row,) = _read(path)
    assert "column 'text' holds int64" in str(row.value)


@pytest.mark.parametrize("as_file", [True, False])
def test_arrow_files_and_streams_are_read_from_any_row(
    tmp_path: Path, as_file: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "BLOCK_ROWS", 7)
    table = pa.table({"id": range(60), "text": [str(number) * number for number in range(60)], "l": [[1]] * 60})
    path = tmp_path / "data-00000-of-00001.arrow"
    with (pa.ipc.new_file if as_file else pa.ipc.new_stream)(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=25)
    whole = _read(path)
    assert whole == [Row(n, Document(id=str(n), text=str(n) * n)) for n in range(60)]
    for start in range(62):
        assert _read(path, start) == whole[start:]
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) * 2 // 3])
    *_, last = _read(path)
    assert _damage(last)
    with pa.ipc.new_stream(path, pa.schema([("content", pa.string())])) as writer:
        writer.write_table(pa.table({"content": ["a"]}))
    (row,) = _read(path)
    assert "Another name for it" in str(row.value)


def test_ids_of_any_type_of_column_are_ids(tmp_path: Path) -> None:
    uuid = UUID("12345678-1234-5678-1234-567812345678")
    moment = datetime(2024, 1, 31, 10)
    columns: list[tuple[pa.Array, list[str | None]]] = [
        (pa.array([1.0, None, 3.0]), ["1", None, "3"]),
        (pa.array([1.0, float("nan"), 2.0**53]), ["1", None, str(2**53)]),
        (pa.array([1.0, 2.0, 3.0], pa.float16()), ["1", "2", "3"]),
        (pa.array([uuid.bytes, None, bytes(16)], pa.binary(16)), [str(uuid), None, str(UUID(int=0))]),
        (pa.array([uuid.bytes, None, bytes(16)], pa.uuid()), [str(uuid), None, str(UUID(int=0))]),
        (pa.array([b"\xff" * 20, None, b"abcd" * 5], pa.binary(20)), ["ff" * 20, None, "61626364" * 5]),
        (pa.array([b"\xff\x00", None, "ä".encode()], pa.binary()), ["ff00", None, "ä"]),
        (pa.array([b"\xff\x00", None, b"a"], pa.binary()).view(pa.string()), ["ff00", None, "a"]),
        (pa.array([Decimal("7.00"), None, Decimal("7.50")]), ["7", None, "7.50"]),
        (pa.array([10**50, None, 1], pa.decimal256(60)), [str(10**50), None, "1"]),
        (pa.array([2**64 - 1, None, 0], pa.uint64()), [str(2**64 - 1), None, "0"]),
        (pa.array(["x", None, "y"]).dictionary_encode(), ["x", None, "y"]),
        (pa.array([1.0, None, 2.0]).dictionary_encode(), ["1", None, "2"]),
        (pa.array([moment, None, moment], pa.timestamp("ns")), ["2024-01-31 10:00:00.000000000", None] * 2),
        (pa.array([moment.date(), None, moment.date()]), ["2024-01-31", None, "2024-01-31"]),
        (pa.nulls(3), [None, None, None]),
    ]
    for number, (column, expected) in enumerate(columns):
        path = tmp_path / f"{number}.arrow"
        table = pa.table({"id": column, "text": ["a", "b", "c"]})
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
        documents = [row.value for row in _read(path)]
        assert [document.id for document in documents if isinstance(document, Document)] == expected[:3]
        assert not any(document.id_problem for document in documents if isinstance(document, Document))


def test_an_id_column_that_cannot_be_used_costs_the_ids(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b"], "id": [1.5, 2.0], "list": [[1], [2]], "flag": [True, False]})
    pq.write_table(table, tmp_path / "a.parquet")
    for name, num_problems in (("id", 1), ("flag", 2), ("list", 2)):
        rows = _read(tmp_path / "a.parquet", fields=FieldNames(id=name))
        documents = [row.value for row in rows if isinstance(row.value, Document)]
        assert [document.text for document in documents] == ["a", "b"]
        assert sum(bool(document.id_problem) for document in documents) == num_problems


def test_a_span_of_the_calendar_is_no_id_and_costs_no_document(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b"], "id": pa.array([(1, 2, 3), None], pa.month_day_nano_interval())})
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    documents = [row.value for row in _read(tmp_path / "a.arrow") if isinstance(row.value, Document)]
    assert [(document.text, bool(document.id_problem)) for document in documents] == [("a", True), ("b", True)]


def test_bytes_that_are_no_utf8_beside_the_text_cost_no_row(tmp_path: Path) -> None:
    bad = pa.array([b"\xff", b"a"], pa.binary()).view(pa.string())
    table = pa.table({"text": ["a", "b"], "url": bad, "source": bad, "language": bad, "timestamp": bad})
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    assert [row.value.source for row in _read(tmp_path / "a.arrow") if isinstance(row.value, Document)] == ["", "a"]


def test_files_behind_urls_are_read_like_local_ones() -> None:
    filesystem = fsspec.filesystem("memory")
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["c"]}), sink)
    try:
        filesystem.pipe("/reading/a.jsonl.gz", gzip.compress(b'{"text":"a"}\n{"text":"b"}\n'))
        filesystem.pipe("/reading/b.parquet", sink.getvalue())
        first, _ = expand(["memory://reading"])
        assert [row.value for rows in read_rows(first) for row in rows] == [b'{"text":"a"}', b'{"text":"b"}']
        assert [row.value for row in _read("memory://reading/b.parquet")] == [Document(id=None, text="c")]
    finally:
        filesystem.rm("/reading", recursive=True)


class _Stdin:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_standard_input_is_read_from_its_first_byte(monkeypatch: pytest.MonkeyPatch, pack: Any) -> None:
    lines = _lines(30_000)
    monkeypatch.setattr("sys.stdin", _Stdin(pack(b"\n".join(lines))))
    assert [row.value for row in _read("-")] == lines


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.parquet", "a.json"])
def test_a_file_that_is_gone_is_named(tmp_path: Path, name: str) -> None:
    file = InputFile(uri=str(tmp_path / name), kind=KINDS[Path(name).suffix])
    with pytest.raises(UsageError, match=r"a\..*cannot be opened"):
        list(read_rows(file))


def _tar(path: Path, contents: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as tar:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


@pytest.mark.parametrize("name", ["a.tar", "a.tgz"])
def test_the_members_of_a_tar_are_numbered_through(tmp_path: Path, name: str) -> None:
    lines = _lines(5)
    contents = {
        "a.jsonl.bz2": bz2.compress(b"\n".join(lines)),
        "b.txt": b"a text",
        "picture.png": b"\x89PNG",
        "empty.jsonl": b"",
        "c/d.csv": b"text\none\ntwo\n",
        "inner.tar": b"",
        "e.jsonl.gz": gzip.compress(b"{}\n{}")[:-12],
        "f.parquet": b"PAR1",
    }
    path = tmp_path / name
    _tar(path, contents)
    rows = _read(path)
    assert [row.position for row in rows] == list(range(len(rows)))
    assert [row.value for row in rows[:5]] == lines
    assert rows[5].value == Document(id=f"{path}/b.txt", text="a text")
    assert [row.value.text for row in rows[6:8] if isinstance(row.value, Document)] == ["one", "two"]
    assert "ends early" in str(_damage(rows[-2]))
    (_, message, _) = _shown(rows[-1])[1]
    assert message.count("1 .") == 3
    for start in range(len(rows) + 1):
        assert list(map(_shown, _read(path, start))) == list(map(_shown, rows[start:]))


def test_a_tar_that_ends_early_gives_its_members_and_says_so(tmp_path: Path) -> None:
    _tar(tmp_path / "a.tar", {"a.txt": b"a", "b.txt": b"b" * 5000})
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:4000])
    first, *others = _read(tmp_path / "a.tar")
    assert isinstance(first.value, Document)
    assert others
    assert {_damage(row).reason for row in others} == {"damaged_file"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_a_csv_is_read_from_any_row_in_any_wide_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes('id;text\r\n1;grün\r\n\r\n2;"two\r\nlines"\r\n3;漢\r\n'.encode(encoding))
    rows = _read(path)
    texts = [row.value.text for row in rows if isinstance(row.value, Document)]
    assert texts == ["grün", "two\r\nlines", "漢"]
    for start in range(4):
        assert _read(path, start) == rows[start:]


def test_a_csv_in_a_named_encoding_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text,id\nгрün|,1\n".encode("shift_jis", "replace"))
    (row,) = _read(path, encoding="shift_jis")
    assert isinstance(row.value, Document)
    assert row.value.text.startswith("гр")
