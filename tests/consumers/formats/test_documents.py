"""Rows become arrivals that know who they are: by their id, within its scope, else by key or place."""

from __future__ import annotations

import pytest

from consumers.broker import RawDocument
from consumers.formats.documents import decode_rows, scoped_id
from consumers.formats.fields import MAX_ID_BYTES
from consumers.formats.input_config import InputConfig
from curatord.errors import Undecodable
from curatord.records import DeadLetter, Document, Retraction
from tests.arrived import each

NAMED, NAMELESS = b'{"id": "7", "text": "a", "source": "wiki"}', b'{"text": "a"}'


def doc_id(row: RawDocument, **options: str) -> str:
    (arrival,) = each(decode_rows([row], 0, InputConfig(**options), 1 << 10))  # type: ignore[arg-type]
    return arrival.doc_id


@pytest.mark.parametrize(("scope", "expected"), [("global", "7"), ("source", "wiki#7"), ("input", "docs-0#7")])
def test_an_id_counts_within_its_scope(scope: str, expected: str) -> None:
    assert doc_id(RawDocument("docs-0", 3, NAMED), id_scope=scope) == expected


def test_without_an_id_the_key_counts_and_then_the_place() -> None:
    assert doc_id(RawDocument("docs-0", 3, NAMELESS, key="k")) == "k"
    assert doc_id(RawDocument("docs-0", 3, NAMELESS, index=2)) == "docs-0:3:2"
    assert doc_id(RawDocument("docs-0", 3, NAMELESS)) == "docs-0:3"


def test_every_row_arrives_with_its_ordinal() -> None:
    values: list[bytes | Retraction | Undecodable] = [NAMED, b"{", Retraction(id="7", timestamp_us=1)]
    rows = [RawDocument("docs-0", position, value) for position, value in enumerate(values)]

    arrivals = each(decode_rows(rows, 100, InputConfig(), 1 << 10))

    assert [(arrival.ordinal, arrival.row.position) for arrival in arrivals] == [(100, 0), (101, 1), (102, 2)]
    assert [type(arrival.value) for arrival in arrivals] == [Document, DeadLetter, Retraction]


def test_a_scoped_id_that_is_too_long_becomes_a_digest_of_its_parts() -> None:
    ids = {scoped_id(scope, doc_id) for scope in ("s" * 1000, "t" * 1000) for doc_id in ("i" * 1000, "j" * 1000, "i")}
    assert len(ids) == 6
    assert all(len(found.encode()) <= MAX_ID_BYTES for found in ids)
