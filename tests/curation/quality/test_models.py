"""A head has a band on its own scale: between 0 and 1 of a model, any of a score that documents bring along."""

from __future__ import annotations

from typing import Any

import pytest

from curation.quality.models import HeadConfig


@pytest.mark.parametrize("given", [{"min": 2.5}, {"min": -3.0, "max": 40.0}, {"file": "web.head", "min": 0.5}])
def test_a_band_on_the_scale_of_the_scores_is_taken(given: dict[str, Any]) -> None:
    HeadConfig(**given)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"file": "web.head", "min": 2.5}, "`min` = 2.5: a score of a model is between 0 and 1"),
        ({"file": "web.head", "max": -0.1}, "`max` = -0.1: a score of a model is between 0 and 1"),
        ({"max": float("nan")}, "`max` = nan: it has to be a number"),
        ({"min": 3.0, "max": 1.0}, "nothing would be kept"),
        ({"label": "__label__hq"}, "name it in `file`"),
    ],
)
def test_any_other_is_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        HeadConfig(**given)
