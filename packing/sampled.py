"""Sampled documents: what a tick said of those that a balance buffer holds. Apart from the held, heavy to import."""

from __future__ import annotations

import msgspec

from state.facts import NUMBER, Facts, Family, packed


class Sampled(msgspec.Struct, frozen=True, array_like=True):
    """Fact: what a document's tick said of it, while a balance buffer holds it."""

    numbers: bytes  # a record of `DOCUMENT`
    vector: bytes = b""  # f32, where it cannot be computed again


HELD = Family("held", "ids and tokens of documents that are held together; what their tick said of one")
SAMPLED = Facts(HELD, NUMBER, packed(Sampled), prefix=b"s")
