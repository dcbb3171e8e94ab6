"""Records: HTTP as crawlers write it, right and wrong."""

from __future__ import annotations

import gzip
import zlib

import pytest

from curation.acquisition.records import NoPage, kind_of, read_record

PAGE = b"<!doctype html><p>a page</p>"
LIMIT = 1 << 20


def record(body: bytes, headers: str = "", status: str = "200 OK", kind: str = "response") -> bytes:
    http = f"HTTP/1.1 {status}\r\n{headers}\r\n".encode() + body
    head = (
        f"WARC/1.1\r\nWARC-Type: {kind}\r\nWARC-Target-URI: <http://a.example/>\r\nWARC-Date: 2026-01-02T03:04:05Z\r\n"
        f"WARC-Record-ID: <urn:uuid:1>\r\nContent-Type: application/http; msgtype=response\r\n"
        f"Content-Length: {len(http)}\r\n\r\n"
    )
    return head.encode() + http


def chunked(raw: bytes, size: int = 7) -> bytes:
    parts = [raw[at : at + size] for at in range(0, len(raw), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ("", PAGE),
        ("Content-Encoding: gzip\r\n", gzip.compress(PAGE, mtime=0)),
        ("Content-Encoding: deflate\r\n", zlib.compress(PAGE)),
        ("Transfer-Encoding: chunked\r\n", chunked(PAGE)),
        ("Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n", chunked(gzip.compress(PAGE, mtime=0))),
        ("Content-Encoding: gzip\r\n", PAGE),
        ("Transfer-Encoding: chunked\r\n", PAGE),
        ("Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n", gzip.compress(PAGE, mtime=0)),
        ("Content-Encoding: identity\r\n", PAGE),
    ],
)
def test_content_is_read_in_the_codings_that_are_there(headers: str, body: bytes) -> None:
    payload = read_record(record(body, f"Content-Type: text/html; charset=utf-8\r\n{headers}"), LIMIT)
    assert payload.content == PAGE
    assert payload.content_type == "text/html; charset=utf-8"
    assert (payload.url, payload.record_id, payload.date) == ("http://a.example/", "urn:uuid:1", "2026-01-02T03:04:05Z")


@pytest.mark.parametrize("status", ["301 Moved", "404 Not Found", "503 Busy", "304 Not Modified"])
def test_an_answer_that_is_no_page_is_named(status: str) -> None:
    with pytest.raises(NoPage, match=status[:3]) as caught:
        read_record(record(PAGE, "", status), LIMIT)
    assert caught.value.reason == "not_a_page"


def test_what_unpacks_to_more_than_the_limit_is_not_held() -> None:
    with pytest.raises(NoPage) as caught:
        read_record(record(gzip.compress(bytes(64 << 20)), "Content-Encoding: gzip\r\n"), LIMIT)
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("raw", [b"", b"no record", record(PAGE)[1:]])
def test_no_record_is_named(raw: bytes) -> None:
    with pytest.raises(NoPage):
        read_record(raw, LIMIT)


@pytest.mark.parametrize(
    ("content", "content_type", "expected"),
    [
        (PAGE, "text/html", "html"),
        (PAGE, "application/xhtml+xml; charset=x", "html"),
        (PAGE, "", "html"),
        (b"  <!-- a -->\n<html>", "text/plain", "html"),
        (b"a text", "text/plain; charset=utf-8", "text"),
        (b"a text that is long enough", "", "text"),
    ],
)
def test_what_is_read_is_told_by_type_and_first_bytes(content: bytes, content_type: str, expected: str) -> None:
    assert kind_of(content, content_type) == expected


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", ""),
        (b"{}", "application/json"),
        (b"", "text/html"),
    ],
)
def test_what_is_no_text_is_named(content: bytes, content_type: str) -> None:
    with pytest.raises(NoPage) as caught:
        kind_of(content, content_type)
    assert caught.value.reason == "not_a_page"
