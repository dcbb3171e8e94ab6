"""Messages of a topic to rows: one JSON object, JSON lines, or an Arrow IPC stream; a key without a value retracts.

What a message holds is seen from its bytes. An Arrow stream begins with a continuation marker that no JSON begins with;
JSON lines are several lines of which the first is an object by itself, so that one object over many lines stays one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from consumers.broker import RawDocument
from consumers.codec import FieldNames, decode_lines
from consumers.tables import decode_arrow
from curatord.errors import Undecodable
from curatord.records import Document, Retraction

ARROW_STREAM = b"\xff\xff\xff\xff"
ARROW_FILE = b"ARROW1"
TRACE_HEADER = "traceparent"
MAX_KEY_BYTES = 1024
MAX_TRACE_BYTES = 128


def rows_of(
    source: str,
    offset: int,
    key: bytes | None,
    value: bytes | None,
    headers: Any,
    timestamp_us: int,
    fields: FieldNames,
    max_document_bytes: int,
) -> list[RawDocument]:
    """The rows of one message, at least one. Never raises on content."""
    trace = _trace(headers) if headers else ""
    if value is None:
        return [RawDocument(source, offset, _retraction(key, timestamp_us), timestamp_us=timestamp_us, trace=trace)]
    documents: Iterator[tuple[int, Document | Undecodable]]
    if value.startswith((ARROW_STREAM, ARROW_FILE)):
        documents = decode_arrow(value, fields, max_document_bytes=max_document_bytes)
    elif _holds_lines(value):
        documents = decode_lines(value, fields, max_document_bytes=max_document_bytes)
    else:
        return [RawDocument(source, offset, value, key=_text(key), timestamp_us=timestamp_us, trace=trace)]
    rows = [
        RawDocument(source, offset, document, index=index, timestamp_us=timestamp_us, trace=trace)
        for index, document in documents
    ]
    if not rows:
        nothing = Undecodable("empty_message", "the message holds no document: no line, or no row of a table")
        rows.append(RawDocument(source, offset, nothing, value, timestamp_us=timestamp_us, trace=trace))
    return rows


def _holds_lines(value: bytes) -> bool:
    first, newline, rest = value.partition(b"\n")
    first = first.strip()
    return bool(newline) and first.startswith(b"{") and first.endswith(b"}") and bool(rest.strip())


def _retraction(key: bytes | None, timestamp_us: int) -> Retraction | Undecodable:
    if not key:
        return Undecodable("empty_message", "neither key nor value: a retraction needs the document's id as its key")
    name = _text(key)
    if not name:
        return Undecodable("bad_field", f"the key of a retraction is no id: UTF-8 of at most {MAX_KEY_BYTES} bytes")
    return Retraction(id=name, timestamp_us=timestamp_us)


def _text(key: bytes | None) -> str:
    """A key as an id; "" if it cannot be one, and that costs no document."""
    if not key or len(key) > MAX_KEY_BYTES:
        return ""
    try:
        return key.decode()
    except UnicodeDecodeError:
        return ""


def _trace(headers: Any) -> str:
    """The W3C trace context of the message, to be carried on."""
    for name, value in headers:
        if name == TRACE_HEADER and value and len(value) <= MAX_TRACE_BYTES and value.isascii():
            return str(value.decode())
    return ""
