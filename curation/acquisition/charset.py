"""The charset of a page, in the order of browsers: byte-order mark, HTTP header, declaration in the page, detection.

Names are those of the WHATWG's Encoding Standard, each read by the codec of Python that covers it (a page in
"shift_jis" is windows-31j there, one in "iso-8859-1" windows-1252); others are tried as Python knows them.
"""

from __future__ import annotations

import codecs
import re

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

PRESCAN_BYTES = 4096  # a browser looks at 1,024; pages with long scripts before the declaration are as many
DETECT_BYTES = 64 << 10

# UTF-32 first: its mark begins as that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BARE = (
    ("utf-32-le", re.compile(rb"(?:[\t-\x7e]\0\0\0){2}")),
    ("utf-32-be", re.compile(rb"(?:\0\0\0[\t-\x7e]){2}")),
    ("utf-16-le", re.compile(rb"(?:[\t-\x7e]\0){4}")),
    ("utf-16-be", re.compile(rb"(?:\0[\t-\x7e]){4}")),
)
_DECLARED = re.compile(
    rb"<meta\b[^>]{0,400}?charset\s{0,9}=\s{0,9}[\"']?\s{0,9}([\w.:-]{1,40})"
    rb"|<\?xml[^>]{0,200}?encoding\s{0,9}=\s{0,9}[\"']([\w.:-]{1,40})",
    re.IGNORECASE,
)
_ESCAPES = re.compile(rb"\x1b\$[@B]")
_IN_HEADER = re.compile(r"charset\s{0,9}=\s{0,9}[\"']?\s{0,9}([\w.:-]{1,40})", re.IGNORECASE)
# By the names of Python's codecs.
_WIDER = {
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "gbk": "gb18030",
    "gb2312": "gb18030",
    "big5": "big5hkscs",
    "iso8859-1": "cp1252",
    "ascii": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
}
_NO_CHARSETS = ("utf-7", "idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem")


def decode_page(raw: bytes, content_type: str = "") -> str:
    """The text of a page; bytes that its charset does not know become U+FFFD."""
    for mark, name in _MARKS:
        if raw.startswith(mark):
            return raw[len(mark) :].decode(name, "replace")
    head = raw[:PRESCAN_BYTES]
    for name, beginning in _BARE:
        if beginning.match(head):
            return raw.decode(name, "replace")
    named = _IN_HEADER.search(content_type)
    declared = _DECLARED.search(head)
    names = [named[1]] if named else []
    names += [(declared[1] or declared[2]).decode("ascii", "replace")] if declared else []
    for name in names:
        codec = _codec(name)
        if codec:
            return raw.decode(codec, "replace")
    return raw.decode(_detected(raw), "replace")


def _detected(raw: bytes) -> str:
    """The codec for bytes of which nothing is said."""
    if _ESCAPES.search(raw):
        return "iso2022_jp"
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        if error.start > DETECT_BYTES:
            return "utf-8"  # one damaged character far behind
    else:
        return "utf-8"
    found = _codec(detect_encoding(raw[:DETECT_BYTES]) or "")
    if found not in ("", "utf-8"):
        return found
    try:
        raw.decode("cp949")
    except UnicodeDecodeError:
        return "cp1252"
    return "cp949"


def _codec(name: str) -> str:
    """The codec of Python for a name of the web; "" if there is none, or it makes no text of bytes."""
    web = map_encoding_to_html5(name, False)
    try:
        found = codecs.lookup(web or name).name
        b"a".decode(found)  # not all that Python calls an encoding makes text of bytes
    except (LookupError, ValueError):
        return ""
    if found in _NO_CHARSETS:
        return ""
    if found.startswith(("utf-16", "utf-32")):
        return "utf-8"  # a declaration that could be read is no UTF-16: the standard says so
    return _WIDER.get(found, found)
