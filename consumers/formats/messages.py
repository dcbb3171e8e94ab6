"""Messages of a topic to rows: one JSON object, JSON lines, or an Arrow IPC stream or file; a key alone retracts.

What a message holds is seen from its bytes, so that producers may change their mind. Arrow begins with bytes that no
JSON begins with. One JSON value is one document, over however many lines it is printed. Several values, one a line, are
JSON lines; so is what is no JSON as a whole but has a line that is an object by itself, for a damaged line must not
cost the others. JSON is handed on as it came: it is decoded with the rows of all messages, and a line that cannot be
read goes to the dead letters by itself. UTF-16 and UTF-32 become UTF-8 first; the header of a schema registry is passed
over if [input] schema_registry says so, and named if not.

Who a document is: docs/decisions/0008-message-identity.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from consumers.broker import RawDocument
from consumers.formats.codec import is_json
from consumers.formats.dead_letters import ATTEMPTS_HEADER, TIMESTAMP_HEADER, TRACE_HEADER
from consumers.formats.encodings import as_utf8
from consumers.formats.fields import MAX_ID_BYTES
from consumers.formats.framing import json_behind_header, why_framed
from consumers.formats.input_config import InputConfig
from consumers.formats.pages import CONTENT_TYPE_HEADER, HTML_TYPES, Page
from consumers.formats.tables import MAX_ROWS, TOO_MANY, arrow_row, decode_arrow
from curatord.errors import Undecodable
from curatord.records import Retraction

Headers = Sequence[tuple[str, bytes | None]]

MAX_TIMESTAMP_US = 1 << 62

_ARROW_MAGICS = (b"\xff\xff\xff\xff", b"ARROW1")  # of a stream, of a file
_FRAMED = (b"\0", b"\1", b"\3")  # first bytes of the headers of schema registries
_BOM = b"\xef\xbb\xbf"
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{0,64})?")

_NOTHING = Undecodable("empty_message", "the message holds a table without rows: there is no document in it")


def rows_of(
    source: str,
    offset: int,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    timestamp_us: int,
    config: InputConfig,
) -> list[RawDocument]:
    """The rows of one message, at least one. Never raises on content. `timestamp_us` below 0 is unknown."""
    traceparent, attempts = "", 0
    if headers:
        traceparent, attempts, made_us = _context(headers)
        timestamp_us = made_us or timestamp_us
    if not 0 <= timestamp_us <= MAX_TIMESTAMP_US:
        timestamp_us = min(max(timestamp_us, 0), MAX_TIMESTAMP_US)
    if config.schema_registry:
        key, value = _without_header(key), json_behind_header(value or b"") or value
    if value is None:
        retraction = _retraction(key, timestamp_us)
        return [RawDocument(source, offset, retraction, key or b"", None, "", timestamp_us, traceparent, attempts)]
    if value[:1] in _FRAMED and (framed := why_framed(value)) is not None:
        return [RawDocument(source, offset, framed, value, None, _text(key), timestamp_us, traceparent, attempts)]
    if headers and (media := _page_type(headers)):
        page = Page(id=None, text="", content=value, form="html", content_type=media)
        return [RawDocument(source, offset, page, b"", None, _text(key), timestamp_us, traceparent, attempts)]
    value = as_utf8(value)
    rows: list[RawDocument] = []
    problem = TOO_MANY
    if value.startswith(_ARROW_MAGICS):
        problem = _NOTHING
        for index, document in decode_arrow(
            value, config.fields, max_document_bytes=config.max_document_bytes, max_rows=MAX_ROWS
        ):
            if index is None and isinstance(document, Undecodable):
                rows, problem = [], document
                break
            rows.append(RawDocument(source, offset, document, b"", index, "", timestamp_us, traceparent, attempts))
    elif b"\n" not in value or not _holds_lines(value):
        return [RawDocument(source, offset, value, b"", None, _text(key), timestamp_us, traceparent, attempts)]
    elif value.count(b"\n") < MAX_ROWS:
        rows = [
            RawDocument(source, offset, line, b"", index, "", timestamp_us, traceparent, attempts)
            for index, line in enumerate(value.removeprefix(_BOM).split(b"\n"))
            if line and not line.isspace()
        ]
    if rows:
        return rows
    return [RawDocument(source, offset, problem, value, None, "", timestamp_us, traceparent, attempts)]


def part_of(value: bytes, index: int | None) -> bytes:
    """One row of a message as a message of its own; all of it for None, or where there is no such row.

    >>> part_of(b'{"text": "a"}\\n{"text": "b"}', 1)
    b'{"text": "b"}'
    """
    if index is None:
        return value
    if value.startswith(_ARROW_MAGICS):
        return arrow_row(value, index) or value
    value = as_utf8(json_behind_header(value) or value)
    lines = value.removeprefix(_BOM).split(b"\n", index + 1)
    return lines[index] if index < len(lines) else value


def _holds_lines(value: bytes) -> bool:
    """Whether it is several values, one a line."""
    first, newline, rest = value.strip().removeprefix(_BOM).partition(b"\n")
    if not newline:
        return False
    if is_json(first):
        return True
    if is_json(value.removeprefix(_BOM)):
        return False
    # What pretty-printers write inside of an object is indented.
    return any(line.startswith(b"{") and is_json(line) for line in rest.split(b"\n", MAX_ROWS))


def _without_header(key: bytes | None) -> bytes | None:
    """A key without the header of a schema registry, and without the quotes that its JSON has."""
    framed = json_behind_header(key or b"")
    if framed is None:
        return key
    try:
        return msgspec.json.decode(framed, type=str).encode()
    except ValueError:
        return key


def _retraction(key: bytes | None, timestamp_us: int) -> Retraction | Undecodable:
    if not key:
        return Undecodable("empty_message", "neither key nor value: a retraction needs the document's id as its key")
    name = _text(key)
    if not name:
        return Undecodable("bad_field", f"the key of a retraction is no id: UTF-8 of at most {MAX_ID_BYTES} bytes")
    return Retraction(id=name, timestamp_us=timestamp_us)


def _page_type(headers: Headers) -> str:
    """The type of a page, if the message says that it is one; else ""."""
    for name, value in headers:
        if name.lower() == CONTENT_TYPE_HEADER and value and value.lower().startswith(HTML_TYPES):
            return value.decode("ascii", "replace")
    return ""


def _text(key: bytes | None) -> str:
    """A key as an id; "" if it cannot be one, and that costs no document."""
    if not key or len(key) > MAX_ID_BYTES:
        return ""
    try:
        return key.decode()
    except UnicodeDecodeError:
        return ""


def _context(headers: Headers) -> tuple[str, int, int]:
    """The W3C trace context, how often it was replayed, and when it was made at first. What is malformed is nothing."""
    traceparent, attempts, made_us = "", 0, 0
    for name, value in headers:
        if name == TRACE_HEADER and value and not traceparent and _TRACEPARENT.fullmatch(value):
            traceparent = value.decode()
        elif name == ATTEMPTS_HEADER and value and len(value) <= 3 and value.isdigit():
            attempts = int(value)
        elif name == TIMESTAMP_HEADER and value and len(value) <= 19 and value.isdigit():
            made_us = int(value)
    return traceparent, attempts, made_us
