"""Bytes to documents. Every input ends as a `Document` or as an `Undecodable` with one reason of a closed set.

The rules, where JSON or the data leave room:

- Two things must be right, the text and the id; anything else never costs a document. A url, source or language that
  is no string, and a timestamp that cannot be read, count as unknown and stay in the metadata under their own name.
- The text is kept exactly as received: escapes decoded, nothing normalised; NUL and the other controls (as escapes),
  noncharacters and every line separator are text. An empty text is a document (and for the quality rules to judge).
- A lone surrogate (`"\\ud800"`) is no text: it has no UTF-8, so no tokenizer and no writer could take it.
- An id is a string or an integer (becomes its decimal string); null or "" means none. At most 1,024 bytes of UTF-8.
- A source or language of more than 256 bytes of UTF-8 is cut there, between characters: both are remembered by name.
- A key that comes twice: the last one counts. A byte-order mark before the record is skipped. NaN and Infinity are not
  JSON. A number too large for a double makes the record unreadable, since it cannot be carried on as it was.
- Nesting is bounded (MAX_DEPTH), so a hostile record meets a limit of ours and never the one of the C stack.

Cost: one pass of msgspec, 3 to 5 µs for 4 KB, the same for any field names; only failures are looked at closely.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import msgspec

from curatord.errors import Undecodable
from curatord.records import Document

MAX_DOCUMENT_BYTES = 64 << 20
MAX_ID_BYTES = 1024
MAX_NAME_BYTES = 256  # of a source or language: state, alarms and weights are kept by them
MAX_DEPTH = 128  # levels; Python's own limit of 1,000 frames would depend on the caller's stack

REASONS = {
    "not_utf8": "The bytes are not UTF-8; convert the file, or check that it is not compressed or binary.",
    "not_json": "The record is not one JSON value: cut off, malformed, or followed by something else.",
    "not_arrow": "The message is not a readable Arrow IPC stream or file.",
    "not_an_object": "The record is valid JSON but no object, so it has no fields.",
    "no_text": "The record has no text field, or null in it; [input.fields] names the field to use.",
    "text_not_a_string": "The text field holds something else than a string.",
    "lone_surrogate": "A string holds half a surrogate pair, which no UTF-8 text can hold.",
    "chat_record": "A conversation, not a text: render it with the model's chat template first.",
    "bad_field": "The id is neither a string nor an integer.",
    "id_too_long": f"The id is longer than {MAX_ID_BYTES} bytes.",
    "number_out_of_range": "A number of the record is too large to be represented.",
    "too_large": "The record is larger than [input] max_document_bytes, or a message holds too many.",
    "too_deep": f"The record is nested deeper than {MAX_DEPTH} levels.",
    "empty_message": "The message holds no document, and is no retraction either.",
    "damaged_file": "The file ends early or is damaged from here on; what came before was read.",
}

_CHAT_FIELDS = ("messages", "conversations", "conversation")
_BOM = b"\xef\xbb\xbf"
_LISTED_FIELDS = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MAX_TIMESTAMP_US = 1 << 62

_decode = msgspec.json.Decoder().decode


class FieldNames(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[input.fields]: what the fields of a record, or the columns of a table, are called."""

    text: Annotated[str, msgspec.Meta(min_length=1)] = "text"
    """Field holding the text; the only one that a record must have."""
    id: str = "id"
    """Field holding the id; "" to name documents by their place."""
    url: str = "url"
    """Field holding the URL; "" if there is none."""
    source: str = "source"
    """Field saying where a document comes from (256 bytes of it), for weights by source; "" if there is none."""
    language: str = "language"
    """Field holding the language code (256 bytes of it); "" if there is none."""
    timestamp: str = "timestamp"
    """Field holding the time: ISO 8601, or a number of s, ms, µs or ns since 1970; "" if there is none."""

    def __post_init__(self) -> None:
        names = [name for name in self.all if name]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(map(repr, twice))} named for two fields; give each field a name of its own")

    @property
    def all(self) -> tuple[str, ...]:
        """The names in the order of this declaration, "" included."""
        return (self.text, self.id, self.url, self.source, self.language, self.timestamp)


DEFAULT_FIELDS = FieldNames()


def decode_document(
    raw: bytes, fields: FieldNames = DEFAULT_FIELDS, *, max_document_bytes: int = MAX_DOCUMENT_BYTES
) -> Document:
    """The document in one JSON object. Raises Undecodable, and nothing else, whatever the bytes."""
    if len(raw) > max_document_bytes:
        raise too_large(len(raw), max_document_bytes)
    try:
        record = _decode(raw)
    except (ValueError, RecursionError) as error:
        record = _decode_again(raw, error)
    if type(record) is not dict:
        raise Undecodable("not_an_object", f"{_kind(record)} where an object with a text was expected")
    return document_of(record, fields)


def document_of(record: dict[str, Any], fields: FieldNames, *, keep_metadata: bool = True) -> Document:
    """The document in a decoded record, which is used up. Raises Undecodable."""
    text = record.pop(fields.text, None)
    if type(text) is not str:
        raise _bad_text(text, record, fields)
    name = record.pop(fields.id, None) if fields.id else None
    if name is not None:
        name = _checked_id(name)
    url = _text_or_unknown(record, fields.url)
    source = _cut_name(_text_or_unknown(record, fields.source))
    language = _cut_name(_text_or_unknown(record, fields.language))
    timestamp_us = 0
    if fields.timestamp and fields.timestamp in record:
        timestamp_us = parse_timestamp(record[fields.timestamp])
        if timestamp_us:
            del record[fields.timestamp]
    if not keep_metadata:
        record = {}
    for value in record.values():
        if type(value) in (dict, list) and _deeper_than(value, MAX_DEPTH - 1):
            raise Undecodable("too_deep", f"nested deeper than {MAX_DEPTH} levels")
    return Document(
        id=name,
        text=text,
        url=url,
        source=source,
        language=language,
        timestamp_us=timestamp_us,
        metadata=record,
    )


def parse_timestamp(value: object) -> int:
    """Microseconds since 1970 UTC; 0 for what cannot be read and for times before 1970.

    A number is taken by its size: below 1e11 seconds (until the year 5138), below 1e14 milliseconds, below 1e17
    microseconds, else nanoseconds. A string is ISO 8601 or such a number; without a zone it is UTC.
    """
    try:
        if type(value) is str:
            text = value.strip()
            # Eight digits are a day, 20240131; any other bare number counts time.
            if len(text) != 8 and text.replace(".", "", 1).isdecimal():
                return _scaled(float(text)) if "." in text or len(text) > 20 else _scaled(int(text))
            value = datetime.fromisoformat(text)
        if isinstance(value, datetime):
            moment = value if value.tzinfo else value.replace(tzinfo=UTC)
            return max(0, (moment - _EPOCH) // _MICROSECOND)
        if isinstance(value, date):
            return max(0, (value - _EPOCH.date()) // _MICROSECOND)
        if type(value) in (int, float):
            return _scaled(value)  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        pass
    return 0


def too_large(size: int, limit: int) -> Undecodable:
    """The error for a document of `size` bytes."""
    return Undecodable(
        "too_large",
        f"{size:,} bytes, where [input] max_document_bytes allows {limit:,}; raise it or split the document",
    )


def not_utf8(raw: bytes, error: UnicodeDecodeError) -> Undecodable:
    """The error for bytes that are no UTF-8, with a guess of what they are instead."""
    looks_like = next((what for magic, what in _MAGICS if raw.startswith(magic)), "")
    return Undecodable(
        "not_utf8", f"byte {error.start:,} is not UTF-8 ({error.reason})" + (f"; {looks_like}" if looks_like else "")
    )


_MAGICS = (
    (b"\x1f\x8b", "this looks like gzip: give the file a name ending in .gz"),
    (b"\x28\xb5\x2f\xfd", "this looks like zstd: give the file a name ending in .zst"),
    (b"PAR1", "this looks like Parquet: give the file a name ending in .parquet"),
    (b"\xff\xfe", "this looks like UTF-16: convert it with iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "this looks like UTF-16: convert it with iconv -f UTF-16 -t UTF-8"),
)


def _decode_again(raw: bytes, error: Exception) -> Any:
    """The value behind a byte-order mark, which msgspec refuses. Raises Undecodable."""
    if raw.startswith(_BOM):
        try:
            return _decode(raw[len(_BOM) :])
        except (ValueError, RecursionError) as second_error:
            error = second_error
    raise explain(raw, error) from None


def explain(raw: bytes, error: Exception) -> Undecodable:
    """Why `raw` could not be decoded. Only failures come here, so it may take its time."""
    if isinstance(error, RecursionError):
        return Undecodable("too_deep", f"nested deeper than {MAX_DEPTH} levels")
    try:
        text = raw.decode()
    except UnicodeDecodeError as utf8_error:
        return not_utf8(raw, utf8_error)
    if isinstance(error, msgspec.ValidationError):
        return Undecodable("number_out_of_range", str(error))
    try:
        # The standard library passes lone surrogates; what it takes and msgspec does not, holds one.
        json.loads(text.removeprefix("\ufeff"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return Undecodable("not_json", str(error))
    return Undecodable("lone_surrogate", "a string holds half a surrogate pair, as in \\ud800: it is not Unicode text")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a fractional number",
    type(None): "null",
}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _bad_text(text: object, record: dict[str, Any], fields: FieldNames) -> Undecodable:
    if text is not None:
        return Undecodable("text_not_a_string", f"field {fields.text!r} holds {_kind(text)}, not a string")
    for name in _CHAT_FIELDS:
        if isinstance(record.get(name), list):
            return Undecodable(
                "chat_record",
                f"a conversation in {name!r} and no text: render it to one string with the chat template of the model "
                f"that will be trained, and put that into {fields.text!r}",
            )
    return Undecodable("no_text", no_text(fields, list(record)))


def no_text(fields: FieldNames, present: list[str]) -> str:
    """The sentence for a record, or a table, with these fields and no text among them."""
    listed = ", ".join(repr(name[:40]) for name in present[:_LISTED_FIELDS])
    more = f" and {len(present) - _LISTED_FIELDS} more" if len(present) > _LISTED_FIELDS else ""
    there = f"the fields are {listed}{more}" if present else "there are no other fields"
    return f'no text in field {fields.text!r}; {there}. Another name for it: [input.fields] text = "NAME"'


def _checked_id(value: object) -> str | None:
    if type(value) is int:
        # Longer than an id may be; Python refuses to print much longer ones.
        if value.bit_length() > MAX_ID_BYTES * 4:
            raise Undecodable("id_too_long", f"an integer of {value.bit_length():,} bits as id")
        value = str(value)
    if type(value) is not str:
        raise Undecodable("bad_field", f"the id is {_kind(value)}; it must be a string or an integer")
    if 4 * len(value) > MAX_ID_BYTES:
        size = len(value.encode())
        if size > MAX_ID_BYTES:
            raise Undecodable("id_too_long", f"an id of {size:,} bytes, where {MAX_ID_BYTES:,} are allowed")
    return value or None


def _text_or_unknown(record: dict[str, Any], name: str) -> str:
    """The string in field `name`, taken out of the record; anything else stays there and gives ""."""
    if not name or type(record.get(name)) is not str:
        return ""
    return str(record.pop(name))


def _cut_name(name: str) -> str:
    """As much of it as MAX_NAME_BYTES hold."""
    if 4 * len(name) <= MAX_NAME_BYTES:
        return name
    # 256 characters have at least as many bytes; what is cut off within a character goes with it.
    return name[:MAX_NAME_BYTES].encode()[:MAX_NAME_BYTES].decode(errors="ignore")


def _scaled(value: float) -> int:
    if isinstance(value, float) and not math.isfinite(value):
        return 0
    if value < 1e11:
        value_us = value * 1_000_000
    elif value < 1e14:
        value_us = value * 1_000
    else:
        value_us = value if value < 1e17 else value // 1_000
    return max(0, min(round(value_us), _MAX_TIMESTAMP_US))


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
