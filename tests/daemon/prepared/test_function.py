"""Tables that an engine hands over: every row has its place, or the table is refused."""

from __future__ import annotations

import pyarrow as pa
import pytest

import curatord
from curatord.errors import UsageError


def test_rows_that_are_no_documents_are_rows_too() -> None:
    table = pa.table({"text": ["a text", None], "position": [4, 7], "input": ["in", "in"]})

    prepared = curatord.prepare(table)

    assert prepared.column("kind").to_pylist() == [0, 2]
    assert prepared.column("id").to_pylist() == ["in:4", None]


@pytest.mark.parametrize("positions", [None, ["a", "b"], [1, None]])
def test_a_table_without_places_is_refused(positions: list[object] | None) -> None:
    table = pa.table({"text": ["a", "b"]} if positions is None else {"text": ["a", "b"], "position": positions})

    with pytest.raises(UsageError, match="position"):
        curatord.prepare(table)
