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
- A source or language of more than 256 bytes of UTF-8 is cut there, between characters: both are remembered by name.
- A key that comes twice: the last one counts. A byte-order mark before the record is skipped.
- Metadata is bounded: a value nested deeper than MAX_DEPTH is left out, and beside a text in a record of more than
  LARGE_BYTES so is a value of more than 1 MiB, since it would take many times that as objects.

Cost: one pass of msgspec, 3 to 5 µs for 4 KB, the same for any field names; only failures are looked at closely.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import msgspec

from consumers.formats.lenient import MAX_DEPTH, half_surrogate, read_object, with_whole_characters
from curatord.errors import Undecodable
from curatord.records import Document

MAX_DOCUMENT_BYTES = 64 << 20
MAX_ID_BYTES = 1024
MAX_NAME_BYTES = 256  # of a source or language: state, alarms and weights are kept by them
LARGE_BYTES = 4 << 20  # of a record; a larger one is not made into objects as a whole
MAX_EXACT = 1 << 53  # integers up to this are exact in a double

TOOK_PROCESS_DOWN = "took_process_down"

REASONS = {
    "not_utf8": "The bytes are not UTF-8; convert the file, or check that it is not compressed or binary.",
    "not_json": "The record is not one JSON value: cut off, malformed, or followed by something else.",
    "schema_registry": "The message begins with the header of a schema registry's serializer.",
    "not_arrow": "The message is not a readable Arrow IPC stream or file.",
    "not_an_object": "The record is valid JSON but no object, so it has no fields.",
    "no_text": "The record has no text field, or null in it; [input.fields] names the field to use.",
    "text_not_a_string": "The text field holds something else than a string.",
    "lone_surrogate": "A string holds half a surrogate pair, which no UTF-8 text can hold.",
    "chat_record": "A conversation or an instruction, not a text: render it with the model's chat template first.",
    "bad_field": f"The key of a retraction is no id: UTF-8 of at most {MAX_ID_BYTES} bytes.",
    "too_large": "The record is larger than [input] max_document_bytes, or a message holds too many.",
    "too_deep": f"The record is nested deeper than {MAX_DEPTH} levels.",
    "empty_message": "The message holds no document, and is no retraction either.",
    "window_too_large": "The zstd window of the file is larger than [input] max_window_bytes.",
    "damaged_file": "The file ends early or is damaged from here on; what came before was read.",
    TOOK_PROCESS_DOWN: "The process ended over this row in two lives, and again in a trial; see docs/operating.md.",
}

_CHAT_FIELDS = ("messages", "conversations", "conversation", "dialogue", "turns")
_INSTRUCTION_FIELDS = (
    ("instruction", "output"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("instruction", "response"),
    ("question", "answer"),
    ("prompt", "chosen"),
)
_BOM = b"\xef\xbb\xbf"
_LISTED_FIELDS = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MAX_TIMESTAMP_US = 1 << 62

_decode = msgspec.json.Decoder().decode
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode


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
    raw: bytes,
    fields: FieldNames = DEFAULT_FIELDS,
    *,
    max_document_bytes: int = MAX_DOCUMENT_BYTES,
    encoding: str = "",
) -> Document:
    """The document in one JSON object, in `encoding` if it is no UTF-8.

    Raises Undecodable, and nothing else, whatever the bytes.
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
        raise _not_an_object(record)
    return document_of(record, fields)


def document_of(record: dict[str, Any], fields: FieldNames, *, keep_metadata: bool = True) -> Document:
    """The document in a decoded record, which is used up. Raises Undecodable."""
    text = _take(record, fields.text)
    if type(text) is not str:
        raise _bad_text(text, record, fields)
    name = _take(record, fields.id) if fields.id else None
    id_problem = ""
    if name is not None:
        name, id_problem = _usable_id(name)
    url = _text_or_unknown(record, fields.url)
    source = _cut_name(_text_or_unknown(record, fields.source))
    language = _cut_name(_text_or_unknown(record, fields.language))
    timestamp_us = 0
    if fields.timestamp and (moment := _take(record, fields.timestamp)) is not None:
        timestamp_us = parse_timestamp(moment)
        if not timestamp_us:
            record[fields.timestamp] = moment
    if not keep_metadata:
        record = {}
    for key, value in list(record.items()) if record else ():
        if type(value) in (dict, list) and _deeper_than(value, MAX_DEPTH - 1):
            del record[key]
    return Document(
        id=name,
        text=text,
        url=url,
        source=source,
        language=language,
        timestamp_us=timestamp_us,
        metadata=record,
        id_problem=id_problem,
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
    hint = looks_like or 'if all is in another encoding, name it: [input] encoding, in Western Europe mostly "cp1252"'
    return Undecodable("not_utf8", f"byte {error.start:,} is not UTF-8 ({error.reason}); {hint}")


_MAGICS = (
    (b"\x1f\x8b", "this looks like gzip, which is unpacked in files only: let the producer's client compress"),
    (b"\x28\xb5\x2f\xfd", "this looks like zstd, which is unpacked in files only: let the producer's client compress"),
    (b"PAR1", "this looks like Parquet, which is read in files only: send Arrow"),
    (b"\xff\xfe", "this looks like UTF-16: convert it with iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "this looks like UTF-16: convert it with iconv -f UTF-16 -t UTF-8"),
    (b"BZh", "this looks like bzip2: unpack it, or pack it anew as .gz or .zst"),
    (b"\xfd7zXZ", "this looks like xz: unpack it, or pack it anew as .gz or .zst"),
    (b"\x04\x22\x4d\x18", "this looks like lz4: unpack it, or pack it anew as .gz or .zst"),
    (b"PK\x03\x04", "this looks like a zip archive: unpack it"),
)


def _decode_again(raw: bytes, error: Exception | None, fields: FieldNames) -> Document:
    """The document in a record that msgspec refuses, or is not to make into objects. Raises Undecodable."""
    whole = raw.removeprefix(_BOM)
    record = read_object(whole, fields)
    if record is None:
        try:
            value = _decode(whole)
        except (ValueError, RecursionError) as second_error:
            raise explain(whole, second_error if error is None or whole is not raw else error) from None
        raise _not_an_object(value)
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


def explain(raw: bytes, error: Exception) -> Undecodable:
    """Why `raw` could not be decoded. Only failures come here, so it may take its time."""
    if isinstance(error, RecursionError):
        return Undecodable("too_deep", f"nested deeper than {MAX_DEPTH} levels")
    try:
        raw.decode()
    except UnicodeDecodeError as utf8_error:
        return not_utf8(raw, utf8_error)
    return Undecodable("not_json", str(error))


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


def _not_an_object(value: object) -> Undecodable:
    hint = ""
    if type(value) is str or (type(value) is list and value and type(value[0]) is str):
        hint = "; if its strings are the texts, make records of them: jq -c '{text: .}' FILE, or '{text: .[]}'"
    elif type(value) is list and value and type(value[0]) is dict:
        hint = "; if its elements are the records, write them one a line: jq -c '.[]' FILE"
    return Undecodable("not_an_object", f"{_kind(value)} where an object with a text was expected{hint}")


def _bad_text(text: object, record: dict[str, Any], fields: FieldNames) -> Undecodable:
    if text is not None:
        hint = "not a string"
        if type(text) is dict:
            named = next((name for name, value in text.items() if type(value) is str and len(name) <= 40), "KEY")
            hint = f'not a string; a field inside of it: [input.fields] text = "{fields.text}.{named}"'
        elif type(text) is list:
            hint = f"not a string; join its parts first: jq -c '.{fields.text} |= join(\"\\n\")' FILE"
        return Undecodable("text_not_a_string", f"field {fields.text!r} holds {_kind(text)}, {hint}")
    for name in _CHAT_FIELDS:
        if isinstance(record.get(name), list):
            return Undecodable(
                "chat_record",
                f"a conversation in {name!r} and no text: render it to one string with the chat template of the model "
                f"that will be trained, and put that into {fields.text!r}",
            )
    for names in _INSTRUCTION_FIELDS:
        if all(name in record for name in names):
            return Undecodable(
                "chat_record",
                f"an instruction in {' and '.join(map(repr, names))} and no text: render them to one string with the "
                f"prompt template of the model that will be trained, and put that into {fields.text!r}",
            )
    for name, value in record.items():
        if type(value) is list and value and type(value[0]) is dict:
            return Undecodable(
                "no_text",
                f"no text in field {fields.text!r}, but {len(value):,} objects in {name[:40]!r}: if they are the "
                f"documents, write them one a line: jq -c '.{name[:40]}[]' FILE",
            )
    return Undecodable("no_text", no_text(fields, list(record)))


def no_text(fields: FieldNames, present: list[str]) -> str:
    """The sentence for a record, or a table, with these fields and no text among them."""
    listed = ", ".join(repr(name[:40]) for name in present[:_LISTED_FIELDS])
    more = f" and {len(present) - _LISTED_FIELDS} more" if len(present) > _LISTED_FIELDS else ""
    there = f"the fields are {listed}{more}" if present else "there are no other fields"
    return f'no text in field {fields.text!r}; {there}. Another name for it: [input.fields] text = "NAME"'


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
        return None, f"the id is {_kind(value)}; it must be a string or a whole number"
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
