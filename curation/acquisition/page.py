"""A page, from its bytes to its text. Pure: the same bytes and options give the same."""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import version
from typing import NamedTuple

from curation.acquisition.charset import decode_page
from curation.acquisition.main_text import main_text
from curation.acquisition.notices import notice
from curation.acquisition.records import NoPage, Payload, kind_of, read_record

# All that the text of a page hangs on beside its bytes and options; the number grows with every change of this package.
DEFINITION = ", ".join(("1", *(f"{name} {version(name)}" for name in ("fastwarc", "lxml", "resiliparse"))))
ARC_AS_WARC = b"WARC/1.0\r\nWARC-Type: response\r\nContent-Type: application/http; msgtype=response\r\n"


class Text(NamedTuple):
    """The text of a page, and what its record says of it: "" where it says nothing."""

    text: str
    record_id: str = ""
    url: str = ""
    date: str = ""


def read_page(form: str, raw: bytes, content_type: str, max_bytes: int, refused: Collection[str]) -> Text:
    """The text of a page in "html", or of a record in "warc" or "arc". Raises `NoPage`."""
    if form == "html":
        if len(raw) > max_bytes:
            raise NoPage("too_large", f"{len(raw):,} bytes, where [input.pages] max_bytes allows {max_bytes:,}")
        payload = Payload(content=raw, content_type=content_type)
    else:
        payload = read_record(_as_warc(raw) if form == "arc" else raw, max_bytes)
    kind = "html" if form == "html" else kind_of(payload.content, payload.content_type)
    if payload.url.startswith("metadata:"):
        raise NoPage("not_a_page", "a note of the crawler about itself")
    page = decode_page(payload.content, payload.content_type)
    if refused and (found := notice(page, payload.headers, refused)):
        raise NoPage("reserved", f"the page keeps itself out of training: {found}; [input.pages] refuse")
    text = main_text(page) if kind == "html" else page
    return Text(text, payload.record_id, payload.url, payload.date)


def _as_warc(raw: bytes) -> bytes:
    """A record of an ARC as one of a WARC. Raises `NoPage`."""
    head, _, body = raw.partition(b"\n")
    fields = head.split(b" ")
    if len(fields) < 5:
        raise NoPage("bad_record", "the record has no header of an ARC")
    date = next((name for name in fields[1:] if len(name) == 14 and name.isdigit()), b"")
    iso = b"%s-%s-%sT%s:%s:%sZ" % (date[:4], date[4:6], date[6:8], date[8:10], date[10:12], date[12:]) if date else b""
    return b"%sWARC-Target-URI: %s\r\nWARC-Date: %s\r\nContent-Length: %d\r\n\r\n%s\r\n\r\n" % (
        ARC_AS_WARC, fields[0], iso, len(body), body,
    )  # fmt: skip
