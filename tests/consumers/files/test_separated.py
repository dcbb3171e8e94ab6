"""CSV and TSV: held against Python's own writer, and honest about rows that are amiss."""

from __future__ import annotations

import csv
import io
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consumers.files.separated import records_of
from consumers.formats.fields import FieldNames
from consumers.formats.input_config import InputConfig
from curatord.errors import Undecodable
from curatord.records import Document

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


def _read(raw: bytes | list[bytes | Undecodable], kind: str = "csv", **options: Any) -> list[Any]:
    blocks = raw if isinstance(raw, list) else [raw[at : at + 7] for at in range(0, len(raw), 7)]
    return [value for part in records_of(iter(blocks), kind, InputConfig(**options)) for value, _ in part]


def _written(rows: list[list[str]], **options: Any) -> bytes:
    sink = io.StringIO(newline="")
    csv.writer(sink, **options).writerows(rows)
    return sink.getvalue().encode()


@given(
    st.lists(st.tuples(TEXT, TEXT), max_size=8), st.sampled_from([",", ";", "\t", "|"]), st.sampled_from(["\n", "\r\n"])
)
def test_every_text_comes_back(rows: list[tuple[str, str]], separator: str, end: str) -> None:
    raw = _written([["url", "text"], *map(list, rows)], delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL)
    found = _read(raw)
    assert [(document.url, document.text) for document in found] == rows


def test_fields_are_read_as_those_of_json() -> None:
    fields = FieldNames(text="body", weight="w", scores={"edu": "e"})
    header = ["id", "body", "timestamp", "language", "w", "e", "more"]
    row = ["7", "a text", "1700000000", "de", "0.5", "", "x"]
    (found,) = _read(_written([header, row]), fields=fields)
    assert (found.id, found.text, found.language, found.timestamp_us) == ("7", "a text", "de", 1_700_000_000_000_000)
    assert found.numbers[0] == 0.5
    assert found.numbers[1] != found.numbers[1], "no score"
    (bad,) = _read(_written([header, ["7", "a", "", "", "heavy", "", ""]]), fields=fields)
    assert bad.reason == "bad_weight"


def test_a_mark_and_blank_lines_are_passed_over() -> None:
    assert [found.text for found in _read(b"\xef\xbb\xbf\r\ntext\r\n\r\na\r\n\r\nb")] == ["a", "b"]
    assert [found.text for found in _read(b"text\tid\na\t1\n", "tsv")] == ["a"]


def test_a_file_without_a_text_is_one_dead_letter_and_an_empty_one_none() -> None:
    (found,) = _read(b"id,body\n1,a\n")
    assert found.reason == "no_text"
    assert "'body'" in str(found)
    assert _read(b"") == _read(b"\n\n") == []


def test_a_row_with_other_fields_than_the_header_costs_itself() -> None:
    found = _read(b"id,text\n1,a\n2,b,c\n3\n4,d\n")
    assert [value.text if isinstance(value, Document) else value.reason for value in found] == [
        "a",
        "not_csv",
        "not_csv",
        "d",
    ]


def test_a_quote_that_is_never_closed_is_told() -> None:
    first, last = _read(b'id,text\n1,a\n2,"b\n3,c\n')
    assert first.text == "a"
    assert (last.reason, "never closed" in str(last)) == ("not_csv", True)


def test_what_is_cut_is_not_taken_for_a_row() -> None:
    problem = Undecodable("damaged_file", "the gzip data ends early")
    for cut in (b"2,bc", b'2,"b\nc', b"2"):
        first, last = _read([b"id,text\n1,a\n" + cut, problem])
        assert (first.text, last) == ("a", problem)


def test_bytes_that_are_no_utf8_cost_their_row() -> None:
    first, bad, last = _read("id,text\n1,a\n2,é\n3,ü\n".encode().replace("é".encode(), b"\xe9"))
    assert (first.text, bad.reason, last.text) == ("a", "not_utf8", "ü")


def test_a_field_over_the_limit_costs_its_row() -> None:
    found = _read(b'text\n"' + b"x" * 5000 + b'"\nshort\n', max_document_bytes=1024)
    assert isinstance(found[0], Undecodable)
    assert found[-1].text == "short"
