"""Pages of every input become documents, in one process and in many, with the fields that stand beside them."""

from __future__ import annotations

import json
import pickle

import pyarrow as pa
import pytest

from consumers.broker import RawDocument, row_bytes
from consumers.files.inputs import expand
from consumers.files.readers import read_rows
from consumers.formats.documents import Arrivals, decode_rows
from consumers.formats.fields import FieldNames
from consumers.formats.input_config import InputConfig, PagesConfig
from consumers.formats.messages import rows_of
from consumers.formats.pages import Page
from consumers.formats.prepared import DEAD_LETTER, DOCUMENT
from consumers.formats.tables import documents_of
from curatord.records import DeadLetter
from daemon.pages import page_reader
from tests.curation.acquisition.test_main_text import ARTICLE
from tests.curation.acquisition.test_records import record
from tests.daemon.prepared.parts import usual

PAGE = (
    f"<html><head><meta charset=koi8-r></head><body><nav>Menu</nav>{ARTICLE}<p>grün, ja, das ist es.</p></body></html>"
)
READ = page_reader(InputConfig())


def _decoded(rows: list[RawDocument], config: InputConfig | None = None) -> Arrivals:
    config = config or InputConfig()
    return decode_rows(rows, 0, config, 50, READ if config == InputConfig() else page_reader(config))


def _is_the_article(text: str) -> bool:
    return text.count("The first sentence") == 6 and "Menu" not in text and "grün" in text


def test_a_field_of_html_is_read_where_there_is_no_text() -> None:
    values = [
        {"html": PAGE, "id": "a", "url": "http://a/", "language": "de", "timestamp": "2026-01-02"},
        {"text": "its text", "html": PAGE},
        {"html": 5},
        {"text": None, "html": PAGE},
    ]
    arrivals = _decoded([RawDocument("f", at, json.dumps(value).encode()) for at, value in enumerate(values)])
    documents = arrivals.documents
    assert documents.ids == ("a", "f:1", "f:3")
    assert [_is_the_article(text) for text in documents.texts] == [True, False, True]
    assert (documents.urls[0], documents.languages[0], documents.written_us_B[0] > 0) == ("http://a/", "de", True)
    assert {place: letter.reason for place, letter in arrivals.others.items()} == {2: "no_text"}


def test_the_field_has_another_name_or_none() -> None:
    rows = [RawDocument("f", 0, json.dumps({"page": PAGE}).encode())]
    assert _is_the_article(_decoded(rows, InputConfig(fields=FieldNames(html="page"))).documents.texts[0])
    (letter,) = _decoded(
        [RawDocument("f", 0, b'{"html": "<p>a"}')], InputConfig(fields=FieldNames(html=""))
    ).others.values()
    assert letter.reason == "no_text"


@pytest.mark.parametrize("raw", [PAGE, PAGE.replace("koi8-r", "cp1252").encode("cp1252")])
def test_a_table_without_texts_has_pages(raw: str | bytes) -> None:
    table = pa.table({"html": [raw], "id": ["a"]})
    (page,) = documents_of(table.to_batches()[0], InputConfig().fields)
    assert isinstance(page, Page)
    arrivals = _decoded([RawDocument("t", 0, page)])
    assert arrivals.documents.ids == ("a",)
    assert _is_the_article(arrivals.documents.texts[0])


def test_a_message_with_the_type_of_a_page_is_one() -> None:
    raw = PAGE.replace("koi8-r", "none").replace("grün, ja", "привет, мир").encode("cp1251")
    headers = [("Content-Type", b"text/html; charset=windows-1251")]
    rows = rows_of("t-0", 7, b"key", raw, headers, 5_000_000, InputConfig())
    arrivals = _decoded(rows)
    assert arrivals.documents.ids == ("key",)
    assert "привет" in arrivals.documents.texts[0]
    (other,) = rows_of("t-0", 7, b"key", b'{"text": "a"}', [("content-type", b"application/json")], 0, InputConfig())
    assert not isinstance(other.value, Page)


def test_a_record_names_the_document_and_a_page_that_is_none_is_a_dead_letter() -> None:
    good, bad = (
        record(PAGE.replace("koi8-r", "utf-8").encode(), "Content-Type: text/html\r\n"),
        record(b"gone", "", "404 No"),
    )
    rows = [
        RawDocument("w", at, Page(id=None, text="", content=raw, form="warc")) for at, raw in enumerate((good, bad))
    ]
    assert row_bytes(rows[0]) == len(good)
    arrivals = _decoded(rows)
    assert (arrivals.documents.ids, arrivals.documents.urls) == (("urn:uuid:1",), ("http://a.example/",))
    assert arrivals.documents.written_us_B[0] == 1_767_323_045_000_000
    (letter,) = arrivals.others.values()
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.original, letter.truncated) == ("not_a_page", bad[:50], True)
    assert arrivals.num_bytes(1) == len(bad)


def test_a_file_of_html_is_named_by_its_path(tmp_path) -> None:
    path = tmp_path / "a.html"
    path.write_bytes(PAGE.replace("koi8-r", "utf-8").encode())
    (file,) = expand([str(path)])
    rows = [RawDocument(file.uri, row.position, row.value) for part in read_rows(file) for row in part]
    documents = _decoded(rows).documents
    assert documents.ids == (str(path),)
    assert _is_the_article(documents.texts[0])


def test_a_notice_is_refused_where_that_is_asked_for() -> None:
    raw = record(PAGE.encode(), "Content-Type: text/html\r\nTDM-Reservation: 1\r\n")
    rows = [RawDocument("w", 0, Page(id=None, text="", content=raw, form="warc"))]
    assert len(_decoded(rows).documents) == 1
    (letter,) = _decoded(rows, InputConfig(pages=PagesConfig(refuse=("tdm",)))).others.values()
    assert letter.reason == "reserved"


def test_prepared_rows_are_those_of_one_process() -> None:
    good = record(PAGE.replace("koi8-r", "utf-8").encode(), "Content-Type: text/html\r\n")
    pages = [Page(id=None, text="", content=raw, form="warc") for raw in (good, record(b"gone", "", "404 No"))]
    rows = [RawDocument("w", at, pickle.loads(pickle.dumps(page))) for at, page in enumerate(pages)]
    batch = usual().prepare(rows)
    arrivals = _decoded(rows)
    assert batch.column("kind").to_pylist() == [DOCUMENT, DEAD_LETTER]
    assert batch.column("id").to_pylist() == ["urn:uuid:1", None]
    assert batch.column("num_bytes").to_pylist() == [len(arrivals.documents.texts[0].encode()), arrivals.num_bytes(1)]
    assert batch.column("reason").to_pylist() == [None, "not_a_page"]
