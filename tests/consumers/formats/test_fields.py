"""No field of a record can be two of a document."""

from __future__ import annotations

import pytest

from consumers.formats.fields import FieldNames


def test_two_fields_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="'id' named for two fields"):
        FieldNames(url="id")


def test_several_fields_may_be_without_name() -> None:
    assert FieldNames(id="", url="", source="").all == ("text", "", "", "", "language", "timestamp")
