"""Bytes to documents. Every input ends as a `Document` or as an `Undecodable` with one reason of a closed set.

The rules, where JSON or the data leave room:

- One thing must be right, the text; anything beside it never costs a document. A url, source or language that is no
  string, and a timestamp that cannot be read, count as unknown and stay in the metadata under their own name. What JSON
  does not know but Python writes (NaN, half a surrogate pair) is read beside the text: `consumers.formats.lenient`.
- The text is kept exactly as received: escapes decoded, nothing normalised; NUL and the other controls (as escapes),
  noncharacters and every line separator are text. An empty text is a document (and for the quality rules to judge).
- A lone surrogate (`"\\ud800"`) is no text: it has no UTF-8, so no tokenizer and no writer could take it.
- An id is a string or a whole number (becomes its decimal string; 7.0 is 7, as pandas writes integers with gaps); null,
  NaN or "" means none. At most 1,024 bytes of UTF-8. One that cannot be used costs the id, not the document, which is
  then named by its place: `Document.id_problem` says why.
- A name with dots, `doc.body.text`, looks into objects where no field has that name as it is.
- A weight, where one is read, is a number of 0 or more: it says how much is learned from the text, so no other value is
  passed over. A score that is no number is none.
- A source or language of more than 256 bytes of UTF-8 is cut there, between characters: both are remembered by name.
- A key that comes twice: the last one counts. A byte-order mark before the record is skipped.
- Metadata is bounded: a value nested deeper than MAX_DEPTH is left out, and beside a text in a record of more than
  LARGE_BYTES so is a value of more than 1 MiB, since it would take many times that as objects.

Cost: one pass of msgspec, 3 to 5 µs for 4 KB, the same for any field names; only failures are looked at closely.
"""

from __future__ import annotations

import math
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec

from consumers.formats.fields import (
    DEFAULT_FIELDS,
    MAX_DOCUMENT_BYTES,
    MAX_ID_BYTES,
    MAX_NAME_BYTES,
    MAX_NUMBER,
    FieldNames,
)
from consumers.formats.lenient import MAX_DEPTH, half_surrogate, read_object, with_whole_characters
from consumers.formats.pages import Page
from consumers.formats.timestamps import parse_timestamp
from consumers.formats.undecodable import (
    bad_text,
    bad_weight,
    explain,
    kind_of_value,
    not_an_object,
    not_utf8,
    too_large,
)
from curatord.errors import Undecodable
from curatord.records import Document
from state.document_numbers import WEIGHT

LARGE_BYTES = 4 << 20  # of a record; a larger one is not made into objects as a whole
MAX_EXACT = 1 << 53  # integers up to this are exact in a double

_BOM = b"\xef\xbb\xbf"

_decode = msgspec.json.Decoder().decode
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode


def decode_document(
    raw: bytes,
    fields: FieldNames = DEFAULT_FIELDS,
    *,
    max_document_bytes: int = MAX_DOCUMENT_BYTES,
    encoding: str = "",
) -> Document:
    """The document in one JSON object, in `encoding` if it is no UTF-8.

    Raises Undecodable, and nothing else, for any bytes.
    """
    if len(raw) > max_document_bytes:
        raise too_large(len(raw), max_document_bytes)
    try:
        record = _decode(raw) if len(raw) <= LARGE_BYTES else None
    except (ValueError, RecursionError) as error:
        if encoding and not _is_utf8(raw):
            return decode_document(raw.decode(encoding, "replace").encode(), fields, max_document_bytes=4 * len(raw))
        return _decode_again(raw, error, fields)
    if record is None:
        return _decode_again(raw, None, fields)
    if type(record) is not dict:
        raise not_an_object(record)
    return document_of(record, fields)


def document_of(record: dict[str, Any], fields: FieldNames, *, keep_metadata: bool = True) -> Document:
    """The document in a decoded record, which is used up. Raises Undecodable."""
    text = _take(record, fields.text)
    page = None if text is not None or not fields.html else record.get(fields.html)
    if type(page) in (str, bytes):
        del record[fields.html]
        text = ""
    if type(text) is not str:
        raise bad_text(text, record, fields)
    name = _take(record, fields.id) if fields.id else None
    id_problem = ""
    if name is not None:
        name, id_problem = _usable_id(name)
    url = _text_or_unknown(record, fields.url)
    source = cut_name(_text_or_unknown(record, fields.source))
    language = cut_name(_text_or_unknown(record, fields.language))
    timestamp_us = 0
    if fields.timestamp and (moment := _take(record, fields.timestamp)) is not None:
        timestamp_us = parse_timestamp(moment)
        if not timestamp_us:
            record[fields.timestamp] = moment
    numbers = _numbers(record, fields) if fields.weight or fields.scores else ()
    if not keep_metadata:
        record = {}
    for key, value in list(record.items()) if record else ():
        if type(value) in (dict, list) and _deeper_than(value, MAX_DEPTH - 1):
            del record[key]
    made = Document if page is None else partial(Page, **_page(page))
    return made(
        id=name,
        text=text,
        url=url,
        source=source,
        language=language,
        timestamp_us=timestamp_us,
        numbers=numbers,
        metadata=record,
        id_problem=id_problem,
    )


def _page(page: str | bytes) -> dict[str, Any]:
    """The fields of a page: characters stay as they are, and bytes are in the charset that they name."""
    if isinstance(page, bytes):
        return {"content": page, "form": "html"}
    return {"content": page.encode("utf-8", "replace"), "form": "html", "content_type": "text/html; charset=utf-8"}


def _decode_again(raw: bytes, error: Exception | None, fields: FieldNames) -> Document:
    """The document in a record that msgspec refuses, or is not to make into objects. Raises Undecodable."""
    whole = raw.removeprefix(_BOM)
    record = read_object(whole, fields)
    if record is None:
        try:
            value = _decode(whole)
        except (ValueError, RecursionError) as second_error:
            raise explain(whole, second_error if error is None or whole is not raw else error) from None
        raise not_an_object(value)
    document = document_of(record, fields)
    if half_surrogate(document.text):
        try:
            raw.decode()
        except UnicodeDecodeError as utf8_error:
            raise not_utf8(raw, utf8_error) from None
        raise Undecodable(
            "lone_surrogate", "the text holds half a surrogate pair, as in \\ud800: it is not Unicode text"
        )
    return msgspec.structs.replace(document, metadata=with_whole_characters(document.metadata))


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_json(raw: bytes) -> bool:
    """Whether it is one JSON value, or an object as `consumers.formats.lenient` reads it."""
    try:
        _decode_raw(raw)
    except (ValueError, RecursionError):
        return read_object(raw, DEFAULT_FIELDS) is not None
    return True


def _take(record: dict[str, Any], name: str) -> Any:
    """The value of a field, taken out of the record; where there is none of that name, dots lead into objects."""
    value = record.pop(name, None)
    if value is not None or "." not in name:
        return value
    *outer, last = name.split(".")
    inner: Any = record
    for part in outer:
        inner = inner.get(part)
        if type(inner) is not dict:
            return None
    return inner.pop(last, None)


def _usable_id(value: object) -> tuple[str | None, str]:
    """A value as an id, None if there is none; and why it cannot be used, or ""."""
    if type(value) is float:
        if math.isnan(value):
            return None, ""
        if not value.is_integer() or abs(value) > MAX_EXACT:
            return None, f"the id is {value!r}, a fractional number or one that is not exact"
        value = int(value)
    if type(value) is int:
        # Longer than an id may be; Python refuses to print much longer ones.
        if value.bit_length() > MAX_ID_BYTES * 3:
            return None, f"the id is an integer of {value.bit_length():,} bits"
        value = str(value)
    if type(value) is not str:
        return None, f"the id is {kind_of_value(value)}; it must be a string or a whole number"
    if 4 * len(value) > MAX_ID_BYTES or not value.isascii():
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            return None, "the id is no Unicode text: it holds half a surrogate pair"
        if size > MAX_ID_BYTES:
            return None, f"the id has {size:,} bytes, where {MAX_ID_BYTES:,} are allowed"
    return value or None, ""


def _text_or_unknown(record: dict[str, Any], name: str) -> str:
    """The string in field `name`, taken out of the record; anything else stays there and gives ""."""
    value = record.get(name)
    if type(value) is str and name:
        del record[name]
        return value
    if value is None and "." in name:
        value = _take(record, name)
        if type(value) is str:
            return value
        if value is not None:
            record[name] = value
    return ""


def _numbers(record: dict[str, Any], fields: FieldNames) -> tuple[float, ...]:
    """The numbers of a record, in the order of `FieldNames.numbers`; NaN for none. Raises Undecodable."""
    numbers = []
    for name, field in fields.numbers().items():
        value = _take(record, field)
        number = _number(value)
        if name == WEIGHT and value is not None and not number >= 0:
            raise bad_weight(value, fields)
        numbers.append(number)
    return tuple(numbers)


def _number(value: object) -> float:
    """A value as a number; NaN for none, and beyond `MAX_NUMBER`."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return math.nan
    return float(value) if -MAX_NUMBER <= value <= MAX_NUMBER else math.nan


def cut_name(name: str) -> str:
    """As much of it as MAX_NAME_BYTES hold."""
    if 4 * len(name) <= MAX_NAME_BYTES:
        return name
    # 256 characters have at least as many bytes; what is cut off within a character goes with it.
    return name[:MAX_NAME_BYTES].encode()[:MAX_NAME_BYTES].decode(errors="ignore")


def _deeper_than(value: Any, limit: int) -> bool:
    """Whether containers are nested in `value` more than `limit` deep, itself counted. Level by level, no recursion."""
    level = [value]
    while level:
        if limit == 0:
            return True
        limit -= 1
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in (dict, list)
        ]
    return False
