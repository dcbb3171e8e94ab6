"""The hostile corpus: every row ends as a document or as a dead letter with a reason."""

from __future__ import annotations

import base64
import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from consumers.broker import RawDocument
from consumers.files.inputs import expand
from consumers.files.readers import Row, read_rows
from consumers.formats.codec import decode_document
from consumers.formats.dead_letters import dead_letter
from consumers.formats.undecodable import REASONS
from curatord.errors import Undecodable
from curatord.records import Document
from tests.corpus import read_zst_jsonl


def _decided(row: Row) -> Document | Undecodable:
    if not isinstance(row.value, bytes):
        return row.value
    try:
        return decode_document(row.value)
    except Undecodable as error:
        return error


def _ended_well(outcome: Document | Undecodable, original: bytes) -> bool:
    """A document can be written as UTF-8; anything else makes a bounded dead letter."""
    if isinstance(outcome, Document):
        return len(outcome.text.encode()) + len((outcome.id or "").encode()) >= 0
    letter = dead_letter(outcome, RawDocument("s", 0, original))
    return outcome.reason in REASONS and bool(letter.message) and len(letter.original) <= 64 << 10


@pytest.fixture(scope="module")
def cases(corpora: Path) -> list[dict[str, Any]]:
    """The cases, with their bytes."""
    found = list(read_zst_jsonl(corpora / "hostile" / "cases.jsonl.zst"))
    for case in found:
        case["raw"] = base64.b64decode(case["b64"])
    return found


def _rows(path: Path) -> Iterator[Row]:
    (file,) = expand([str(path)])
    for rows in read_rows(file):
        yield from rows


def test_every_text_of_the_cases_comes_through_a_record_exactly(cases: list[dict[str, Any]]) -> None:
    count = 0
    for case in cases:
        if "text" in case:
            text = case["text"]
            for ensure_ascii in (True, False):
                raw = json.dumps({"id": case["id"], "text": text}, ensure_ascii=ensure_ascii).encode()
                assert decode_document(raw) == Document(id=case["id"], text=text)
            count += 1
    assert count > 1400


def test_the_raw_bytes_of_every_case_end_as_a_decision_in_every_place(cases: list[dict[str, Any]]) -> None:
    for case in cases:
        raw = case["raw"]
        places = [raw]
        if len(raw) < 1 << 16:
            places += [
                b'{"text":' + raw + b"}",
                b'{"text":"' + raw + b'"}',
                b'{"text":"a","' + raw + b'":' + raw + b"}",
            ]
        for place in places:
            assert _ended_well(_decided(Row(0, place)), place), case["id"]
        # JSON that is valid but no object with a text is said to be just that; JSON that is not, is not read.
        if case["expect"] in ("valid-json", "invalid-json"):
            outcome = _decided(Row(0, raw))
            assert isinstance(outcome, Undecodable), case["id"]
            if case["expect"] == "valid-json":
                assert outcome.reason in ("not_an_object", "no_text"), case["id"]
            else:
                assert outcome.reason in ("not_json", "not_utf8", "too_deep"), (case["id"], outcome.reason)


def test_the_raw_bytes_of_every_case_as_a_text_file_are_a_document_exactly_if_they_are_unicode(
    cases: list[dict[str, Any]], tmp_path: Path
) -> None:
    for case in cases:
        raw = case["raw"]
        if raw.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):  # packed: it is read as what it holds
            continue
        path = tmp_path / "case.txt"
        path.write_bytes(raw)
        (row,) = _rows(path)
        expected = _read_by_its_mark(raw)
        if isinstance(row.value, Document):
            assert row.value.text == expected, case["id"]
        else:
            assert isinstance(row.value, Undecodable)
            assert row.value.reason == "not_utf8"
            assert expected is None, case["id"]


@pytest.mark.parametrize("kind", ["jsonl", "json", "jsonl.gz", "jsonl.zst", "txt.gz", "txt.zst", "json.zst"])
def test_every_case_as_a_file_of_any_kind_ends_as_decisions(
    cases: list[dict[str, Any]], tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"case.{kind}"
    for case in cases:
        raw = case["raw"]
        if len(raw) < 1 << 16:
            path.write_bytes(raw)
            assert all(_ended_well(_decided(row), row.original) for row in _rows(path)), case["id"]


def test_the_raw_lines_are_read_as_expected_line_by_line(corpora: Path, tmp_path: Path) -> None:
    packed = corpora / "hostile" / "raw_lines.bin.zst"
    expected = [
        json.loads(line) for line in (corpora / "hostile" / "raw_lines.expect.jsonl").read_text("utf-8").splitlines()
    ]
    path = tmp_path / "raw.jsonl"
    with packed.open("rb") as source, path.open("wb") as target:
        zstandard.ZstdDecompressor().copy_stream(source, target)
    lines = path.read_bytes().split(b"\n")
    outcomes = {row.position: _decided(row) for row in _rows(path)}
    assert len(expected) == len(lines) == 410
    for at, line in enumerate(expected):
        outcome = outcomes.get(at)
        if line["ok"] is not None:
            assert isinstance(outcome, Document) == line["ok"], line
        # Only blank lines are passed over without a word.
        assert (outcome is None) == (not lines[at].strip()), line
        if isinstance(outcome, Document):
            assert msgspec.json.encode(outcome.text) in lines[at] or outcome.text == json.loads(lines[at])["text"], line
        elif outcome is not None:
            assert outcome.reason in REASONS
    # What the expectations leave open, decided.
    decided = {
        line["why"]: outcomes[at].reason if isinstance(outcomes[at], Undecodable) else "document"
        for at, line in enumerate(expected)
        if line["ok"] is None and at >= 385
    }
    assert decided == {
        "BOM": "document",
        "duplicate keys": "document",
        "id not a string": "document",
        "no id": "document",
        "lone surrogate escape": "lone_surrogate",
        "NUL escape": "document",
        "100,000-deep nesting": "document",
        "20 MB line": "document",
        "number overflow": "document",
        "NaN": "document",
    }


def test_pages_in_forty_charsets_are_documents_only_where_they_are_unicode(corpora: Path, tmp_path: Path) -> None:
    found: dict[bool, int] = {True: 0, False: 0}
    for page in read_zst_jsonl(corpora / "hostile" / "encodings.jsonl.zst"):
        raw = base64.b64decode(page["b64"])
        path = tmp_path / "page.txt"
        path.write_bytes(raw)
        (row,) = _rows(path)
        expected = page["text"] if page["label"].startswith(("UTF-16", "UTF-32")) else _read_by_its_mark(raw)
        if expected is None:
            assert isinstance(row.value, Undecodable)
            assert row.value.reason == "not_utf8"
        else:
            assert isinstance(row.value, Document), page["id"]
            assert row.value.text == expected
        found[isinstance(row.value, Document)] += 1
    assert min(found.values()) > 10


def _read_by_its_mark(raw: bytes) -> str | None:
    """The text as its byte-order mark says, else as UTF-8; None where it is neither."""
    if raw.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return raw.decode("utf-32", "replace")
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", "replace")
    try:
        return raw.decode().removeprefix("\ufeff")
    except UnicodeDecodeError:
        return None
