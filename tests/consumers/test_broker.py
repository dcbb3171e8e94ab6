"""The size of a row bounds a poll, so it counts the text, however the row came."""

from __future__ import annotations

import pytest

from consumers.broker import RawDocument, row_bytes
from curatord.errors import Undecodable
from curatord.records import Document, Retraction


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (b'{"text": "ab"}', 14),
        (Document(id=None, text="ab"), 2),
        (Retraction(id="a", timestamp_us=0), 0),
        (Undecodable("not_json", "cut off"), 0),
    ],
)
def test_a_row_counts_its_bytes_or_its_text(value: bytes | Document | Retraction | Undecodable, size: int) -> None:
    assert row_bytes(RawDocument("documents-0", 7, value)) == size
