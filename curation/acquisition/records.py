"""Records of web archives and messages of HTTP: what they hold, or why it is no page.

fastwarc takes records and HTTP apart, chunks and content codings included. Where a coding that is named is not there,
as some crawlers write it, the bytes are read as they lie.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field

from fastwarc.warc import ArchiveIterator
from resiliparse.parse.encoding import detect_mime

HTML_TYPES = ("text/html", "application/xhtml+xml")
TEXT_TYPES = ("text/plain",)
SNIFF_BYTES = 1024
_HTML = re.compile(
    rb"\s{0,99}(?:<!--.{0,400}?-->\s{0,99})?<(?:!doctype html|html|head|body|title|meta|script|h1|div|p|table)[\s>]",
    re.IGNORECASE | re.DOTALL,
)


class NoPage(Exception):
    """It holds no text that can be read; `reason` is one of those of dead letters."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """A payload, and what its record says of it."""

    content: bytes
    content_type: str
    headers: dict[str, str] = field(default_factory=dict)  # of HTTP, names in lower case
    record_id: str = ""
    url: str = ""
    date: str = ""


def read_record(raw: bytes, max_bytes: int) -> Payload:
    """The payload of a record of type response, resource or conversion. Raises `NoPage`."""
    try:
        record = next(ArchiveIterator(io.BytesIO(raw), parse_http=False, strict_mode=False))
        headers = {name.lower(): value for name, value in record.headers}
        content_type = headers.get("content-type", "")
        http: dict[str, str] = {}
        if not content_type.replace(" ", "").lower().startswith("application/http"):
            content = record.reader.read(max_bytes + 1)
        else:
            content, http = _http(raw, max_bytes)
            content_type = http.get("content-type", "")
    except (OSError, ValueError, StopIteration) as error:
        raise NoPage("bad_record", f"the record cannot be taken apart: {error}") from None
    if len(content) > max_bytes:
        raise NoPage("too_large", f"more than {max_bytes:,} bytes, where [input.pages] max_bytes allows no more")
    return Payload(
        content=content,
        content_type=content_type,
        headers=http,
        record_id=headers.get("warc-record-id", "").strip("<> "),
        url=headers.get("warc-target-uri", "").strip("<> "),
        date=headers.get("warc-date", ""),
    )


def _http(raw: bytes, max_bytes: int) -> tuple[bytes, dict[str, str]]:
    """Content and headers of a response. Raises `NoPage`, and OSError for what is no HTTP."""
    for decode in ("all", "content", "none"):
        try:
            record = next(ArchiveIterator(io.BytesIO(raw), parse_http=False, strict_mode=False))
            record.parse_http(auto_decode=decode, strict_mode=False)
            http = record.http_headers
            status = http.status_code
            if status is not None and not 200 <= status < 300:
                raise NoPage("not_a_page", f"the server answered {status}, so this is no page of the address")
            headers = {name.lower(): value for name, value in http}
            content = record.reader.read(max_bytes + 1)
        except (OSError, ValueError):
            if decode == "none":
                raise
            continue
        return content, headers
    raise OSError("no HTTP")


def kind_of(content: bytes, content_type: str) -> str:
    """ "html" or "text". Raises `NoPage` for anything else."""
    media = content_type.partition(";")[0].strip().lower()
    if not content:
        raise NoPage("not_a_page", "the record is empty")
    if media in HTML_TYPES:
        return "html"
    if media in ("", "application/octet-stream", "unknown/unknown", *TEXT_TYPES):
        if _HTML.match(content[:SNIFF_BYTES]):
            return "html"
        if media in TEXT_TYPES or detect_mime(content[:SNIFF_BYTES]).startswith("text/"):
            return "text"
    shown = media[:60] or "of no type that can be told"
    raise NoPage("not_a_page", f"it holds {shown}, where text/html and text/plain are read")
