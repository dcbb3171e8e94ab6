"""No field of a record can be two of a document."""

from __future__ import annotations

import pytest

from consumers.formats.fields import FieldNames


def test_two_fields_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="'id' named for two fields"):
        FieldNames(url="id")


def test_numbers_are_named_by_the_weight_first_and_then_the_scores_in_alphabetic_order() -> None:
    fields = FieldNames(weight="w", scores={"toxic": "t", "edu": "score.edu"})
    assert fields.numbers() == {"weight": "w", "edu": "score.edu", "toxic": "t"}
    assert fields.all[-3:] == ("w", "score.edu", "t")
    with pytest.raises(ValueError, match="'w' named for two fields"):
        FieldNames(weight="w", scores={"edu": "w"})


def test_several_fields_may_be_without_name() -> None:
    assert FieldNames(id="", url="", source="").all == ("text", "", "", "", "language", "timestamp")
