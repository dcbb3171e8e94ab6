"""The fields of a record: their names in the input, and the limits of what they hold."""

from __future__ import annotations

from typing import Annotated

import msgspec

from state.document_numbers import WEIGHT

MAX_DOCUMENT_BYTES = 64 << 20
MAX_ID_BYTES = 1024
MAX_NAME_BYTES = 256  # of a source or language: state, alarms and weights are kept by them
MAX_SCORES = 32  # each costs every document four bytes
MAX_NUMBER = 3e38  # of a weight or a score, which are kept as float32


class FieldNames(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[input.fields]: what the fields of a record, or the columns of a table, are called."""

    text: Annotated[str, msgspec.Meta(min_length=1)] = "text"
    """Field holding the text; the only one that a record must have."""
    html: str = "html"
    """Field holding a page of HTML, whose main text is read where there is no text; "" if there is none."""
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
    weight: str = ""
    """Field holding the weight of a document in the loss, 0 or more; "" reads none. Null or no field is a weight of 1;
    anything else makes the record a dead letter."""
    scores: Annotated[dict[str, Annotated[str, msgspec.Meta(min_length=1)]], msgspec.Meta(max_length=MAX_SCORES)] = {}
    """Fields holding scores of documents, each by the name of its head: `{ edu = "score.edu", clean = "clean" }`. What
    is no number is no score."""

    def __post_init__(self) -> None:
        names = [name for name in (*self.all, self.html) if name]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(map(repr, twice))} named for two fields; give each field a name of its own")

    @property
    def all(self) -> tuple[str, ...]:
        """The names in the order of this declaration, "" included."""
        strings = (self.text, self.id, self.url, self.source, self.language, self.timestamp)
        return (*strings, *self.numbers().values())

    def numbers(self) -> dict[str, str]:
        """The fields of numbers by the names of these: the weight, then scores in alphabetic order."""
        return ({WEIGHT: self.weight} if self.weight else {}) | dict(sorted(self.scores.items()))


DEFAULT_FIELDS = FieldNames()
