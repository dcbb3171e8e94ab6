"""Headers that serializers of a schema registry put before a message: found, named, and passed over for JSON.

| registry | header |
|---|---|
| Confluent | 0, schema id of 4 bytes |
| Apicurio | 0, global id of 8 bytes |
| Confluent, by GUID | 1, GUID of 16 bytes |
| AWS Glue | 3, compression (0: none), UUID of 16 bytes |
"""

from __future__ import annotations

import re

from consumers.formats.encodings import HEAD_BYTES, wide_encoding
from curatord.errors import Undecodable

_HEADERS = (("Confluent", 0, 5), ("Apicurio", 0, 9), ("Confluent", 1, 17), ("AWS Glue", 3, 18))
_JSON = re.compile(rb'(?:\xef\xbb\xbf)?[ \t\r\n]*+[{\["]')


def json_behind_header(value: bytes) -> bytes | None:
    """The JSON behind the header of a registry; None if it does not begin with one, or something else is behind it.

    >>> json_behind_header(b'\\x00\\x00\\x00\\x00\\x07{"text": "a"}')
    b'{"text": "a"}'
    """
    found = _header(value)
    return None if found is None else value[found[1] :]


def _header(value: bytes) -> tuple[str, int] | None:
    """Whose header JSON stands behind here, and how many bytes it has."""
    if value[:1] > b"\3" or wide_encoding(value[:HEAD_BYTES]):
        return None
    for registry, magic, size in _HEADERS:
        if value[:1] == bytes([magic]) and _JSON.match(value, size):
            return registry, size
    return None


def why_framed(value: bytes) -> Undecodable | None:
    """The error for a message that begins with such a header, with the remedy; None if it does not."""
    found = _header(value)
    if found is not None:
        return Undecodable(
            "schema_registry",
            f"JSON behind the {found[1]} bytes of {found[0]}'s serializer: set [input] schema_registry = true",
        )
    if value[:1] == b"\0" and len(value) > 5 and any(value[1:5]) and not wide_encoding(value[:HEAD_BYTES]):
        number = int.from_bytes(value[1:5], "big")
        return Undecodable(
            "schema_registry",
            f"this looks like Avro or Protobuf with schema {number} of a registry, which is not read: let the producer "
            "or a connector write JSON or Arrow",
        )
    return None
