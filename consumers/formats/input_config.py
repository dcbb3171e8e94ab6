"""The options of [input], for rows of files and for messages of topics alike."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from consumers.formats.fields import MAX_DOCUMENT_BYTES, FieldNames


def _is_seven_bit(encoding: str) -> bool:
    """Whether an encoding has characters beyond ASCII, but no bytes beyond it: ISO 2022, UTF-7, Punycode."""
    for character in "éжאعकก漢か가":
        try:
            return character.encode(encoding).isascii()
        except UnicodeError:
            continue
    return False


class PagesConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[input.pages]: how pages of HTML become texts."""

    max_bytes: Annotated[int, msgspec.Meta(ge=1 << 10, le=1 << 28)] = 16 << 20
    """Largest page that is read, in bytes and without compression; a larger one becomes a dead letter."""
    refuse: tuple[Literal["noai", "tdm", "nc", "nd", "sa"], ...] = ()
    """Notices by which a page becomes a dead letter: "noai" (X-Robots-Tag, robots), "tdm" (TDM-Reservation), and the
    conditions "nc", "nd" and "sa" of a licence of Creative Commons that it names as its own."""

    @property
    def max_record_bytes(self) -> int:
        """Of a record of a web archive: a page and its headers."""
        return self.max_bytes + (1 << 20)


class InputConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[input]: how documents are found in the files and messages that are read."""

    fields: FieldNames = FieldNames()
    """What the fields of a record are called."""
    id_scope: Literal["global", "source", "input"] = "global"
    """Within what an id names one document: everywhere, its source (ids become `source#id`), its file or partition."""
    max_document_bytes: Annotated[int, msgspec.Meta(ge=1 << 10, le=1 << 30)] = MAX_DOCUMENT_BYTES
    """Largest record that is read, in bytes before decoding; a larger one becomes a dead letter."""
    max_window_bytes: Annotated[int, msgspec.Meta(ge=1 << 20, le=1 << 31)] = 1 << 31
    """Largest window of a zstd file that is read, in bytes; reading a file takes the memory of its window."""
    encoding: str = ""
    """Encoding of texts and records that are no UTF-8, UTF-16 or UTF-32, as "cp1252"; "" makes them dead letters."""
    pages: PagesConfig = PagesConfig()
    """How pages become texts."""
    schema_registry: bool = False
    """Pass over what the JSON serializer of a schema registry puts before a message: 5 bytes (Confluent) to 18."""

    def __post_init__(self) -> None:
        if self.encoding:
            try:
                b"a".decode(self.encoding, "replace")
            except (LookupError, UnicodeError):
                raise ValueError(f"encoding = {self.encoding!r} is no encoding of texts that Python knows") from None
            if _is_seven_bit(self.encoding):
                raise ValueError(
                    f"encoding = {self.encoding!r} writes letters in bytes that are ASCII, and so UTF-8, too: "
                    f"convert the files, iconv -f {self.encoding} -t UTF-8"
                )


DEFAULT_INPUT = InputConfig()
