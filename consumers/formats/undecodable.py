"""Reasons for which bytes are no document, each with a sentence that says what to do. Only failures come here."""

from __future__ import annotations

from typing import Any

from consumers.formats.fields import MAX_ID_BYTES, MAX_NUMBER, FieldNames
from consumers.formats.lenient import MAX_DEPTH
from curatord.errors import Undecodable

TOOK_PROCESS_DOWN = "took_process_down"

REASONS = {
    "not_utf8": "The bytes are not UTF-8; convert the file, or check that it is not compressed or binary.",
    "not_json": "The record is not one JSON value: cut off, malformed, or followed by something else.",
    "schema_registry": "The message begins with the header of a schema registry's serializer.",
    "not_csv": "The row has other fields than the header of the file: a quote or a separator is amiss.",
    "not_arrow": "The message is not a readable Arrow IPC stream or file.",
    "not_an_object": "The record is valid JSON but no object, so it has no fields.",
    "no_text": "The record has no text field, or null in it; [input.fields] names the field to use.",
    "text_not_a_string": "The text field holds something else than a string.",
    "lone_surrogate": "A string holds half a surrogate pair, which no UTF-8 text can hold.",
    "chat_record": "A conversation or an instruction, not a text: render it with the model's chat template first.",
    "bad_weight": "The field that [input.fields] weight names holds no number of 0 or more.",
    "bad_field": f"The key of a retraction is no id: UTF-8 of at most {MAX_ID_BYTES} bytes.",
    "too_large": "The record is larger than [input] max_document_bytes, or a message holds too many.",
    "too_deep": f"The record is nested deeper than {MAX_DEPTH} levels.",
    "empty_message": "The message holds no document, and is no retraction either.",
    "window_too_large": "The zstd window of the file is larger than [input] max_window_bytes.",
    "not_read": "Members of a tar that curatord does not read, by their names.",
    "bad_record": "A record of a web archive that cannot be taken apart, or a length that is not its own.",
    "not_a_page": "A record that holds no page: an image, a redirection, an error of the server.",
    "bad_page": "A page that could not be read within its bounds, or that ended the process which read it.",
    "reserved": "A page that keeps itself out of training, by a notice that [input.pages] refuse names.",
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
_LISTED_FIELDS = 8


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
    (b"BZh", "this looks like bzip2, which is unpacked in files only: let the producer's client compress"),
    (b"\xfd7zXZ", "this looks like xz, which is unpacked in files only: let the producer's client compress"),
    (b"\x04\x22\x4d\x18", "this looks like lz4, which is unpacked in files only: let the producer's client compress"),
    (b"PK\x03\x04", "this looks like a zip archive: unpack it"),
)


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


def kind_of_value(value: object) -> str:
    """The kind of a JSON value, in words."""
    return _KINDS.get(type(value), type(value).__name__)


def not_an_object(value: object) -> Undecodable:
    """The error for a JSON value that has no fields, with the command that makes records of it."""
    hint = ""
    if type(value) is str or (type(value) is list and value and type(value[0]) is str):
        hint = "; if its strings are the texts, make records of them: jq -c '{text: .}' FILE, or '{text: .[]}'"
    elif type(value) is list and value and type(value[0]) is dict:
        hint = "; if its elements are the records, write them one a line: jq -c '.[]' FILE"
    return Undecodable("not_an_object", f"{kind_of_value(value)} where an object with a text was expected{hint}")


def bad_text(text: object, record: dict[str, Any], fields: FieldNames) -> Undecodable:
    """The error for a record whose text is missing or no string, with the likely place of its text."""
    if text is not None:
        hint = "not a string"
        if type(text) is dict:
            named = next((name for name, value in text.items() if type(value) is str and len(name) <= 40), "KEY")
            hint = f'not a string; a field inside of it: [input.fields] text = "{fields.text}.{named}"'
        elif type(text) is list:
            hint = f"not a string; join its parts first: jq -c '.{fields.text} |= join(\"\\n\")' FILE"
        return Undecodable("text_not_a_string", f"field {fields.text!r} holds {kind_of_value(text)}, {hint}")
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


def bad_weight(weight: object, fields: FieldNames) -> Undecodable:
    """The error for a weight that is no number of 0 or more."""
    shown = repr(weight) if isinstance(weight, (int, float)) and abs(weight) < 1e300 else kind_of_value(weight)
    return Undecodable(
        "bad_weight",
        f"field {fields.weight!r} holds {shown}; a weight is a number from 0 to {MAX_NUMBER:g}, or null for 1. "
        'To read no weights: [input.fields] weight = ""',
    )


def no_text(fields: FieldNames, present: list[str]) -> str:
    """The sentence for a record, or a table, with these fields and no text among them."""
    listed = ", ".join(repr(name[:40]) for name in present[:_LISTED_FIELDS])
    more = f" and {len(present) - _LISTED_FIELDS} more" if len(present) > _LISTED_FIELDS else ""
    there = f"the fields are {listed}{more}" if present else "there are no other fields"
    return f'no text in field {fields.text!r}; {there}. Another name for it: [input.fields] text = "NAME"'
