"""The published search of decon, in plain Python: sampled n-grams, followed to both sides, shares by idf and by words.

Over words that are letters, digits and spaces, so that splitting at blanks finds them.
"""

from __future__ import annotations

import math
from collections import defaultdict

Gram = tuple[str, ...]


def grams_of(words: list[str], n: int) -> list[Gram]:
    return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]


class Reference:
    """An index of questions."""

    def __init__(self, questions: list[str], n: int) -> None:
        self.n, self.questions = n, [question.split() for question in questions]
        self.owners: dict[Gram, set[int]] = defaultdict(set)
        for number, words in enumerate(self.questions):
            for gram in grams_of(words, n):
                self.owners[gram].add(number)

    def idf(self, gram: Gram) -> float:
        return math.log((len(self.questions) + 1) / len(self.owners[gram]))

    def shares(
        self, text: str, *, step: int, hot: int, hot_step: int = 1, max_misses: int = 11
    ) -> list[dict[int, tuple[float, float]]]:
        """Of each cluster, the shares of the questions that were followed: (by idf, by words)."""
        grams, clusters, at = grams_of(text.split(), self.n), [], 0
        while at < len(grams):
            owners = self.owners.get(grams[at], set())
            if not owners:
                at += step
                continue
            if len(owners) > hot:
                at += hot_step
                continue
            met = {number: {grams[at]} for number in owners}
            words = {number: set(range(at, at + self.n)) for number in owners}
            ends = []
            for direction in (-1, 1):
                active, misses, place = set(owners), dict.fromkeys(owners, 0), at
                while active and 0 <= place + direction < len(grams):
                    place += direction
                    having = self.owners.get(grams[place], set()) & active
                    for number in having:
                        if grams[place] not in met[number]:
                            met[number].add(grams[place])
                            words[number] |= set(range(place, place + self.n))
                            misses[number] = 0
                    for number in active - having:
                        misses[number] += 1
                    active = {number for number in active if misses[number] < max_misses}
                ends.append(place)
            clusters.append({number: self._of(number, met[number], words[number]) for number in owners})
            at = max(at, ends[1]) + 1
        return clusters

    def _of(self, number: int, met: set[Gram], words: set[int]) -> tuple[float, float]:
        every = set(grams_of(self.questions[number], self.n))
        by_idf = sum(map(self.idf, met)) / sum(map(self.idf, every))
        return min(by_idf, 1.0), min(len(words) / len(self.questions[number]), 1.0)
