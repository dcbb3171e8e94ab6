"""A page, from bytes to text."""

from __future__ import annotations

import pytest

from curation.acquisition.page import read_page
from curation.acquisition.records import NoPage
from tests.curation.acquisition.test_main_text import ARTICLE
from tests.curation.acquisition.test_records import record

LIMIT = 1 << 20


def test_a_page_and_its_record_give_the_same_text() -> None:
    raw = f"<html><body>{ARTICLE}<p>grün ist die Farbe, die hier in einem Satz vorkommt.</p></body></html>".encode(
        "cp1252"
    )
    alone = read_page("html", raw, "text/html; charset=cp1252", LIMIT, ())
    inside = read_page("warc", record(raw, "Content-Type: text/html; charset=cp1252\r\n"), "", LIMIT, ())
    assert "grün" in alone.text
    assert inside == (alone.text, "urn:uuid:1", "http://a.example/", "2026-01-02T03:04:05Z")


@pytest.mark.parametrize(
    "fields", [b"1.2.3.4 20260102030405 text/html", b"1.2.3.4 20260102030405 text/html 200 - - 0 a.arc"]
)
def test_a_record_of_an_arc_is_read_in_both_versions(fields: bytes) -> None:
    http = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\njust a text"
    found = read_page("arc", b"http://a.example/ %s %d\n%s" % (fields, len(http), http), "", LIMIT, ())
    assert found == ("just a text", "", "http://a.example/", "2026-01-02T03:04:05Z")


def test_text_of_a_wet_record_stays_as_it_is() -> None:
    raw = record(b"", kind="conversion").partition(b"Content-Type")[0]
    text = "one\n\ntwo  ü".encode()
    raw += b"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)
    assert read_page("warc", raw, "", LIMIT, ()).text == "one\n\ntwo  ü"


def test_a_page_that_keeps_itself_out_is_refused_where_that_is_asked_for() -> None:
    raw = record(ARTICLE.encode(), "Content-Type: text/html\r\nX-Robots-Tag: noai\r\n")
    assert read_page("warc", raw, "", LIMIT, ("tdm",)).text
    with pytest.raises(NoPage) as caught:
        read_page("warc", raw, "", LIMIT, ("noai",))
    assert caught.value.reason == "reserved"


def test_a_page_over_the_limit_and_a_note_of_the_crawler_are_none() -> None:
    with pytest.raises(NoPage, match="max_bytes"):
        read_page("html", b"x" * (LIMIT + 1), "", LIMIT, ())
    note = record(b"a log", "Content-Type: text/plain\r\n").replace(b"http://a.example/", b"metadata://log/")
    with pytest.raises(NoPage, match="crawler"):
        read_page("warc", note, "", LIMIT, ())
