"""Web archives: every record is decided, right or wrong, and positions hold over restarts."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from consumers.files.inputs import expand
from consumers.files.readers import Row, read_rows
from consumers.files.web_archives import records_of
from consumers.formats.input_config import InputConfig, PagesConfig
from consumers.formats.pages import Page
from curatord.errors import Undecodable
from tests.corpus import CORPORA


def record(
    body: bytes, kind: str = "response", length: int = -1, end: bytes = b"\r\n\r\n", version: str = "1.0"
) -> bytes:
    size = len(body) if length < 0 else length
    return f"WARC/{version}\r\nWARC-Type: {kind}\r\nContent-Length: {size}\r\n\r\n".encode() + body + end


def _read(raw: bytes, kind: str = "warc", size: int = 100, limit: int = 1 << 20) -> list[str]:
    """Of each record the end of its content, the reason for which it is none, or "-" for one without a page."""
    blocks = (raw[at : at + size] for at in range(0, len(raw), size))
    found = [value for part in records_of(blocks, kind, limit) for value in part]
    return [
        "-" if value is None else value[0].reason if isinstance(value[0], Undecodable) else chr(value[0].content[-1])
        for value in found
    ]


@pytest.mark.parametrize("size", [1, 3, 100, 1 << 20])
@pytest.mark.parametrize("version", ["0.17", "1.0", "1.1"])
def test_records_that_may_hold_a_page_are_given_and_all_have_a_position(size: int, version: str) -> None:
    kinds = ["warcinfo", "request", "response", "metadata", "revisit", "resource", "conversion"]
    raw = b"".join(record(b"body %d" % at, kind, version=version) for at, kind in enumerate(kinds))
    assert _read(raw, size=size) == ["-", "-", "2", "-", "-", "5", "6"]


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (b"no record at all\r\n\r\n", ["bad_record"]),
        (record(b"b" * 50, length=20), ["bad_record"]),
        (record(b"b" * 50, length=90), ["bad_record"]),
        (b"WARC/1.0\r\nWARC-Type: response\r\n\r\nno length\r\n\r\n", ["bad_record"]),
        (b"WARC/1.0\r\nContent-Length: many\r\n\r\n", ["bad_record"]),
        (record(b"x", end=b""), ["x"]),
        (record(b"x", end=b"\n"), ["x"]),
        (record(b"x", end=b"\r\n" * 5), ["x"]),
        (record(b"x").replace(b"\r\n", b"\n"), ["x"]),
        (b"\r\n\r\n", []),
        (record(b"x" * 3000), ["too_large"]),
        (record(b"x" * 3000, "request"), ["-"]),
    ],
)
def test_a_bad_record_costs_itself(bad: bytes, found: list[str], size: int) -> None:
    raw = record(b"one 1") + bad + record(b"two 2") + record(b"three 3")
    assert _read(raw, size=size, limit=2000) == ["1", *found, "2", "3"]


def test_an_archive_that_ends_early_says_so() -> None:
    raw = record(b"one 1") + record(b"two 2")
    for cut in range(len(record(b"one 1")) + 1, len(raw) - 4):
        found = _read(raw[:cut])
        assert found == ["1", "bad_record"], cut


def test_damage_of_any_kind_never_raises_and_loses_no_whole_record_behind_it() -> None:
    chance = random.Random(7)
    for _ in range(300):
        raw = bytearray(b"".join(record(b"body %d" % at) for at in range(5)))
        for _ in range(3):
            raw[chance.randrange(len(raw) // 2)] = chance.randrange(256)
        assert _read(bytes(raw) + record(b"last 9"), size=chance.choice((1, 50, 1000)))[-1] == "9"


def _arc(body: bytes, length: int = -1) -> bytes:
    size = len(body) if length < 0 else length
    return b"http://a.example/ 1.2.3.4 20140216050221 text/html %d\n%s\n" % (size, body)


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_records_of_an_arc(size: int) -> None:
    head = b"filedesc://a.arc 0.0.0.0 20140216050221 text/plain 6\n1 0 A\n\n"
    raw = head + _arc(b"one 1") + _arc(b"b" * 50, 20) + _arc(b"two 2") + b"rubbish\n" + _arc(b"three 3")
    assert _read(raw, "arc", size) == ["-", "1", "bad_record", "2", "bad_record", "3"]


def _rows(path: Path, start: int = 0) -> list[Row]:
    (file,) = expand([str(path)])
    return [row for part in read_rows(file, start, InputConfig(pages=PagesConfig(max_bytes=1 << 16))) for row in part]


def _shown(rows: list[Row]) -> list[object]:
    return [(row.position, str(row.value) if isinstance(row.value, Undecodable) else row.value) for row in rows]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz", "a.wet.gz", "a.jsonl.gz"])
def test_a_restart_at_any_record_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    kinds = ["warcinfo", "response", "request", "conversion"]
    parts = [record(b"x" * 40_000 + b"%d" % at, kinds[at % 4]) for at in range(60)]
    parts[20:20] = [b"rubbish\r\n", record(b"y" * 2_000_000)]
    path = tmp_path / name
    path.write_bytes(b"".join(map(gzip.compress, parts)) if name.endswith("gz") else b"".join(parts))
    whole = _rows(path)
    assert len(whole) == 32
    for start in range(0, 64, 3):
        assert _shown(_rows(path, start)) == _shown([row for row in whole if row.position >= start])


def test_a_gzip_member_that_is_cut_is_told_with_its_record(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(gzip.compress(record(b"one")) + gzip.compress(record(random.Random(1).randbytes(9000)))[:-3000])
    first, last = _rows(path)
    assert isinstance(first.value, Page)
    assert isinstance(last.value, Undecodable)
    assert last.value.reason == "damaged_file"


@pytest.mark.skipif(not CORPORA.is_dir(), reason="needs the development corpora")
def test_every_sample_of_a_crawler_is_decided() -> None:
    found = {}
    for path in sorted((CORPORA / "crawl" / "warc").iterdir()):
        if path.suffix != ".bad":  # no ending of an archive; a copy of it is read under another name
            rows = _rows(path)
            found[path.name] = (sum(isinstance(row.value, Page) for row in rows), len(rows))
    assert found == {
        "dolma-sample-0000.warc.gz": (24, 24),
        "warcio-bad.arc": (1, 3),
        "warcio-example-bad-non-chunked.warc.gz": (1, 1),
        "warcio-example-iana.org-chunked.warc": (1, 1),
        "warcio-example-resource.warc.gz": (1, 1),
        "warcio-example-space-in-target-uri.warc.gz": (1, 1),
        "warcio-example-trunc.warc": (0, 1),
        "warcio-example-wget-bad-target-uri.warc.gz": (3, 3),
        "warcio-example-wrong-chunks.warc.gz": (1, 1),
        "warcio-example.arc": (1, 1),
        "warcio-example.warc.gz": (1, 1),
    }
