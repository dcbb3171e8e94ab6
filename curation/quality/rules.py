"""The quality rules: one table with every threshold, where it was published and what it means.

Gopher: Rae et al., "Scaling Language Models", 2021. C4: Raffel et al., "Exploring the Limits of Transfer Learning",
2020. FineWeb: Penedo et al., "The FineWeb Datasets", 2024. The exact readings (what counts as a word, a line, a repeat)
are those of datatrove's filters of the same names, on texts of languages with spaces. Words are those of
`kernels.words`, in scripts without spaces joined to as many as a translation into English has
(`kernels.text_masks`). Sentences are what `kernels.c4.SENTENCE_END` ends, or a mark of another
script. Lines without a word are no lines for the rules on repetition. `quality.strict_published` reads all texts as
datatrove does with words as `\\w+`: for comparison.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Preset = Literal["observe", "gopher", "c4", "fineweb"]
Filter = Literal["language", "gopher_quality", "gopher_repetition", "c4", "c4_any_ending", "fineweb"]

# "english": rests on English words or spelling; decides on what is no language too. "punctuated": rests on marks that
# end sentences, which Thai, Lao and some more do not write. As published, both are for English.
Languages = Literal["all", "english", "punctuated"]

FILTERS_OF_PRESET: dict[Preset, tuple[Filter, ...]] = {
    "observe": (),
    "gopher": ("language", "gopher_quality", "gopher_repetition"),
    "c4": ("language", "c4"),
    "fineweb": ("language", "gopher_quality", "gopher_repetition", "c4_any_ending", "fineweb"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One limit on one measured value."""

    name: str  # the reason of a rejection
    filter: Filter
    fails: Literal["above", "below"]  # the side of the threshold on which a document fails
    threshold: float  # as published; infinite where nothing was: measured only
    about: str  # what is measured
    languages: Languages = "all"  # on whose documents it decides

    def explain(self, value: float, threshold: float) -> str:
        """One sentence on a document that fails."""
        side = "more" if self.fails == "above" else "less"
        return f"{self.about}: {value:.4g}, {side} than {threshold:.4g}"


def _gopher_quality() -> list[Rule]:
    def rule(
        name: str, fails: Literal["above", "below"], threshold: float, about: str, languages: Languages = "all"
    ) -> Rule:
        return Rule(
            name=f"gopher_{name}",
            filter="gopher_quality",
            fails=fails,
            threshold=threshold,
            about=about,
            languages=languages,
        )

    return [
        rule("too_few_words", "below", 50, "words that are not only symbols"),
        rule("too_many_words", "above", 100_000, "words that are not only symbols"),
        rule("short_words", "below", 3, "mean characters of a word", languages="english"),
        rule("long_words", "above", 10, "mean characters of a word", languages="english"),
        rule("too_many_hash_signs", "above", 0.1, "hash signs a word"),
        rule("too_many_ellipses", "above", 0.1, "ellipses a word"),
        rule("too_many_bullet_lines", "above", 0.9, "share of lines that begin with a bullet"),
        rule("too_many_ellipsis_lines", "above", 0.3, "share of lines that end with an ellipsis"),
        rule("too_few_words_with_letters", "below", 0.8, "share of words with a letter"),
        rule(
            "too_few_stop_words", "below", 2, "different words of: the be to of and that have with", languages="english"
        ),
    ]


def _gopher_repetition() -> list[Rule]:
    limits = [
        ("duplicate_paragraphs", 0.3, "share of paragraphs that repeat an earlier one"),
        ("duplicate_paragraph_characters", 0.2, "share of characters in paragraphs that repeat an earlier one"),
        ("duplicate_lines", 0.3, "share of lines that repeat an earlier one"),
        ("duplicate_line_characters", 0.2, "share of characters in lines that repeat an earlier one"),
        *((f"top_{n}_gram", top, f"share of characters in the most frequent {n}-gram of words")
          for n, top in ((2, 0.2), (3, 0.18), (4, 0.16))),
        *((f"duplicate_{n}_grams", top, f"share of characters in {n}-grams of words that repeat an earlier one")
          for n, top in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.1))),
    ]  # fmt: skip
    return [
        Rule(name=f"gopher_{name}", filter="gopher_repetition", fails="above", threshold=threshold, about=about)
        for name, threshold, about in limits
    ]


def _c4(filter: Literal["c4", "c4_any_ending"]) -> list[Rule]:
    prefix, lines = {
        "c4": ("c4", "lines that C4 keeps"),
        "c4_any_ending": ("fineweb_c4", "lines that C4 keeps, whatever they end in"),
    }[filter]
    return [
        Rule(
            name=f"{prefix}_lorem_ipsum",
            filter=filter,
            fails="above",
            threshold=0,
            about="lines of three words or more with lorem ipsum",
        ),
        Rule(
            name=f"{prefix}_curly_brackets",
            filter=filter,
            fails="above",
            threshold=0,
            about="lines of three words or more with a curly bracket",
        ),
        Rule(
            name=f"{prefix}_too_few_sentences",
            filter=filter,
            fails="below",
            threshold=5,
            about=f"sentences in the {lines}",
            languages="punctuated" if filter == "c4" else "all",
        ),
    ]


def _c4_lines() -> list[Rule]:
    reasons: list[tuple[str, str, Languages]] = [
        ("with_long_words", "lines with a word of more than 1,000 characters", "all"),
        (
            "without_terminal_punctuation",
            "lines that do not end in a mark that ends sentences, or a quote",
            "punctuated",
        ),
        ("with_few_words", "lines of less than three words", "all"),
        ("with_javascript", "lines that mention javascript", "english"),
        ("with_policy", "lines that mention cookies, privacy policies or terms of use", "english"),
    ]
    return [
        Rule(
            name=f"c4_lines_{name}",
            filter="c4",
            fails="above",
            threshold=math.inf,
            about=f"{about}, which C4 would cut out",
            languages=languages,
        )
        for name, about, languages in reasons
    ]


def _fineweb() -> list[Rule]:
    def rule(
        name: str, fails: Literal["above", "below"], threshold: float, about: str, languages: Languages = "all"
    ) -> Rule:
        return Rule(
            name=f"fineweb_{name}",
            filter="fineweb",
            fails=fails,
            threshold=threshold,
            about=about,
            languages=languages,
        )

    return [
        rule("empty", "below", 1, "lines that are not blank"),
        rule(
            "too_few_terminal_lines",
            "below",
            0.12,
            "share of lines that end in terminal punctuation",
            languages="punctuated",
        ),
        rule("too_many_short_lines", "above", 0.67, "share of lines of at most 30 characters"),
        rule("duplicate_line_characters", "above", 0.01, "share of characters in lines that repeat an earlier one"),
        rule("too_many_newlines", "above", 0.3, "newlines a word"),
    ]


# Judged by the language that was found: base64, hexadecimal, logs, numbers, sequences of bases.
NO_LANGUAGE = Rule(
    name="no_language",
    filter="language",
    fails="above",
    threshold=0.5,
    about="probability that the text is of no language (zxx), certain where words are longer than in any",
)
# The kernel writes its values in this order.
TEXT_RULES: tuple[Rule, ...] = (
    *_gopher_quality(),
    *_gopher_repetition(),
    *_c4("c4"),
    *_c4("c4_any_ending"),
    *_c4_lines(),
    *_fineweb(),
)
# In the order in which they decide: the first that fails is the reason.
RULES: tuple[Rule, ...] = (NO_LANGUAGE, *TEXT_RULES)
RULE_NAMES: tuple[str, ...] = tuple(rule.name for rule in RULES)
