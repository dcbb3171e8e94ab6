"""Which Unicode encoding bytes are in, by their first ones: a byte-order mark, or where the zeros of JSON are."""

from __future__ import annotations

import re

HEAD_BYTES = 8

# UTF-32 first: its mark begins as that of UTF-16.
_MARKS = (
    ("utf-32-le", re.compile(rb"\xff\xfe\0\0")),
    ("utf-32-be", re.compile(rb"\0\0\xfe\xff")),
    ("utf-16-le", re.compile(rb"\xff\xfe")),
    ("utf-16-be", re.compile(rb"\xfe\xff")),
)

# One of the characters that JSON begins with, and one more.
_JSON = (
    ("utf-32-le", re.compile(rb'[ \t\r\n{\["\x1e]\0\0\0(?!\0\0\0\0)..[\0-\x10]\0', re.DOTALL)),
    ("utf-32-be", re.compile(rb'\0\0\0[ \t\r\n{\["\x1e](?!\0\0\0\0)\0[\0-\x10]..', re.DOTALL)),
    ("utf-16-le", re.compile(rb'[ \t\r\n{\["\x1e]\0(?!\0\0)..', re.DOTALL)),
    ("utf-16-be", re.compile(rb'\0[ \t\r\n{\["\x1e](?!\0\0)..', re.DOTALL)),
)

# Of text that has no mark and need not begin as JSON does: four characters of ASCII, or two in UTF-32.
_PLAIN = (
    ("utf-32-le", re.compile(rb"(?:[\t-\x7e]\0\0\0){2}")),
    ("utf-32-be", re.compile(rb"(?:\0\0\0[\t-\x7e]){2}")),
    ("utf-16-le", re.compile(rb"(?:[\t-\x7e]\0){4}")),
    ("utf-16-be", re.compile(rb"(?:\0[\t-\x7e]){4}")),
)


def wide_encoding(head: bytes, *, is_json: bool = True) -> str:
    """The name of UTF-16 or UTF-32, if that is what a text begins in; else "".

    Without a mark, JSON is told by its first character, another text by its first 8 bytes, if they are of ASCII.

    >>> wide_encoding('{"text"'.encode("utf-16-le")), wide_encoding(b'{"text"')
    ('utf-16-le', '')
    """
    if b"\0" not in head and (is_json or head[:1] not in (b"\xff", b"\xfe")):
        return ""
    beginnings = (*_MARKS, *(_JSON if is_json else _PLAIN))
    return next((name for name, beginning in beginnings if beginning.match(head)), "")


def as_utf8(raw: bytes) -> bytes:
    """The same text in UTF-8, without a mark, if it is in UTF-16 or UTF-32.

    Half surrogate pairs stay what they are, so that they cost no more than their own row; of other damage the bytes
    become U+FFFD.
    """
    name = wide_encoding(raw[:HEAD_BYTES])
    if not name:
        return raw
    try:
        text = raw.decode(name, "surrogatepass")
    except UnicodeDecodeError:
        text = raw.decode(name, "replace")
    return text.removeprefix("\ufeff").encode("utf-8", "surrogatepass")
