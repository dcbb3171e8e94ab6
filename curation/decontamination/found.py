"""Found questions: those of evaluation sets that a document held, by the number under which verdicts name them.

Apart from the search, which is heavy to import.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from state.fact_table import FactOwner, FactTable, Table
from state.facts import NUMBER, Facts, FactSource, Family, packed

SHARE = "contamination"  # the names of a document's share of a question, and of the question's number, among measures
NUMBER_OF_QUESTION = "contaminated_by"
MAX_TEXT = 200  # characters of a question that a state keeps


class FoundQuestion(msgspec.Struct, frozen=True, array_like=True):
    """Fact: a question that a document held."""

    set: str
    id: str
    text: str  # its beginning


FOUND: Facts[int, FoundQuestion] = Facts(
    Family("questions", "a question of an evaluation set that a document held, by its number"),
    NUMBER,
    packed(FoundQuestion),
)


class FoundQuestions(FactOwner):
    """Questions in the order in which they were found first; no facts where none is looked for."""

    def __init__(self, *, enabled: bool = True) -> None:
        self._enabled = enabled
        self._found = FactTable(FOUND)
        self._numbers: dict[FoundQuestion, int] = {}

    def tables(self) -> tuple[Table, ...]:
        """The questions by number."""
        return (self._found,) if self._enabled else ()

    def numbers(self, questions: Sequence[FoundQuestion]) -> list[int]:
        """The number of each; a new one where it was never found before."""
        for question in questions:
            if question not in self._numbers:
                self._numbers[question] = len(self._numbers)
                self._found[self._numbers[question]] = question
        return [self._numbers[question] for question in questions]

    def restored(self, committed: FactSource) -> None:
        """Numbers by question again."""
        self._numbers = {question: number for number, question in self._found.items()}
