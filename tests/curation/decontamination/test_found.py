"""Found questions keep their numbers."""

from __future__ import annotations

from curation.decontamination.found import FoundQuestion, FoundQuestions
from tests.kept import Kept


def test_numbers_stay_over_a_restart_and_a_question_has_one() -> None:
    a, b, c = (FoundQuestion("set", name, f"text {name}") for name in "abc")
    found, kept = FoundQuestions(), Kept()
    assert found.numbers([b, a, b]) == [0, 1, 0]
    kept.commit(found)

    again = FoundQuestions()
    kept.restore(again)

    assert again.numbers([c, a, b]) == [2, 1, 0]
