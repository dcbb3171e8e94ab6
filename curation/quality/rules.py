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

from state.outcomes import REASONS, RuleName

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


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit on one measured value."""

    name: RuleName  # the reason of a rejection
    filter: Filter
    value: str | None  # a `kernels.quality.Value`; None: the probability that the text is of no language
    fails: Literal["above", "below"]  # the side of the threshold on which a document fails
    threshold: float  # as published; infinite where nothing was: measured only
    about: str  # what is measured
    languages: Languages = "all"  # on whose documents it decides


_WORDS = "words that are not only symbols"
_MEAN_WORD = "mean characters of a word"
_GOPHER_QUALITY = (
    Rule(RuleName("gopher_too_few_words"), "gopher_quality", "words", "below", 50, _WORDS),
    Rule(RuleName("gopher_too_many_words"), "gopher_quality", "words", "above", 100_000, _WORDS),
    Rule(RuleName("gopher_short_words"), "gopher_quality", "mean_word_characters", "below", 3, _MEAN_WORD, "english"),
    Rule(RuleName("gopher_long_words"), "gopher_quality", "mean_word_characters", "above", 10, _MEAN_WORD, "english"),
    Rule(RuleName("gopher_too_many_hash_signs"), "gopher_quality", "hash_signs", "above", 0.1, "hash signs a word"),
    Rule(RuleName("gopher_too_many_ellipses"), "gopher_quality", "ellipses", "above", 0.1, "ellipses a word"),
    Rule(
        RuleName("gopher_too_many_bullet_lines"),
        "gopher_quality",
        "bullet_lines",
        "above",
        0.9,
        "share of lines that begin with a bullet",
    ),
    Rule(
        RuleName("gopher_too_many_ellipsis_lines"),
        "gopher_quality",
        "ellipsis_lines",
        "above",
        0.3,
        "share of lines that end with an ellipsis",
    ),
    Rule(
        RuleName("gopher_too_few_words_with_letters"),
        "gopher_quality",
        "words_with_letters",
        "below",
        0.8,
        "share of words with a letter",
    ),
    Rule(
        RuleName("gopher_too_few_stop_words"),
        "gopher_quality",
        "stop_words",
        "below",
        2,
        "different words of: the be to of and that have with",
        "english",
    ),
)


def _repetition(name: str, value: str, threshold: float, about: str) -> Rule:
    return Rule(RuleName(f"gopher_{name}"), "gopher_repetition", value, "above", threshold, f"share of {about}")


_REPEAT = "that repeat an earlier one"
_TOP = "characters in the most frequent"
_GRAMS = "grams of words that repeat an earlier one"
_GOPHER_REPETITION = (
    _repetition("duplicate_paragraphs", "duplicate_paragraphs", 0.3, f"paragraphs {_REPEAT}"),
    _repetition(
        "duplicate_paragraph_characters",
        "duplicate_paragraph_characters",
        0.2,
        f"characters in paragraphs {_REPEAT}",
    ),
    _repetition("duplicate_lines", "duplicate_lines", 0.3, f"lines {_REPEAT}"),
    _repetition("duplicate_line_characters", "duplicate_line_characters", 0.2, f"characters in lines {_REPEAT}"),
    _repetition("top_2_gram", "top_2_gram", 0.2, f"{_TOP} 2-gram of words"),
    _repetition("top_3_gram", "top_3_gram", 0.18, f"{_TOP} 3-gram of words"),
    _repetition("top_4_gram", "top_4_gram", 0.16, f"{_TOP} 4-gram of words"),
    _repetition("duplicate_5_grams", "duplicate_5_grams", 0.15, f"characters in 5-{_GRAMS}"),
    _repetition("duplicate_6_grams", "duplicate_6_grams", 0.14, f"characters in 6-{_GRAMS}"),
    _repetition("duplicate_7_grams", "duplicate_7_grams", 0.13, f"characters in 7-{_GRAMS}"),
    _repetition("duplicate_8_grams", "duplicate_8_grams", 0.12, f"characters in 8-{_GRAMS}"),
    _repetition("duplicate_9_grams", "duplicate_9_grams", 0.11, f"characters in 9-{_GRAMS}"),
    _repetition("duplicate_10_grams", "duplicate_10_grams", 0.1, f"characters in 10-{_GRAMS}"),
)

_LOREM_IPSUM = "lines of three words or more with lorem ipsum"
_CURLY_BRACKET = "lines of three words or more with a curly bracket"
_C4 = (
    Rule(RuleName("c4_lorem_ipsum"), "c4", "c4_lorem_ipsum_lines", "above", 0, _LOREM_IPSUM),
    Rule(RuleName("c4_curly_brackets"), "c4", "c4_curly_bracket_lines", "above", 0, _CURLY_BRACKET),
    Rule(
        RuleName("c4_too_few_sentences"),
        "c4",
        "c4_sentences",
        "below",
        5,
        "sentences in the lines that C4 keeps",
        "punctuated",
    ),
)
_C4_ANY_ENDING = (
    Rule(RuleName("fineweb_c4_lorem_ipsum"), "c4_any_ending", "c4_any_lorem_ipsum_lines", "above", 0, _LOREM_IPSUM),
    Rule(
        RuleName("fineweb_c4_curly_brackets"), "c4_any_ending", "c4_any_curly_bracket_lines", "above", 0, _CURLY_BRACKET
    ),
    Rule(
        RuleName("fineweb_c4_too_few_sentences"),
        "c4_any_ending",
        "c4_any_sentences",
        "below",
        5,
        "sentences in the lines that C4 keeps, with any ending",
    ),
)


def _dropped_lines(name: str, value: str, about: str, languages: Languages = "all") -> Rule:
    about = f"lines {about}, which C4 would cut out"
    return Rule(RuleName(f"c4_lines_{name}"), "c4", value, "above", math.inf, about, languages)


_C4_LINES = (
    _dropped_lines("with_long_words", "c4_long_word_lines", "with a word of more than 1,000 characters"),
    _dropped_lines(
        "without_terminal_punctuation",
        "c4_unterminated_lines",
        "that do not end in a mark that ends sentences, or a quote",
        "punctuated",
    ),
    _dropped_lines("with_few_words", "c4_few_word_lines", "of less than three words"),
    _dropped_lines("with_javascript", "c4_javascript_lines", "that mention javascript", "english"),
    _dropped_lines(
        "with_policy",
        "c4_policy_lines",
        "that mention cookies, privacy policies or terms of use",
        "english",
    ),
)
_FINEWEB = (
    Rule(RuleName("fineweb_empty"), "fineweb", "filled_lines", "below", 1, "lines that are not blank"),
    Rule(
        RuleName("fineweb_too_few_terminal_lines"),
        "fineweb",
        "terminal_lines",
        "below",
        0.12,
        "share of lines that end in terminal punctuation",
        "punctuated",
    ),
    Rule(
        RuleName("fineweb_too_many_short_lines"),
        "fineweb",
        "short_lines",
        "above",
        0.67,
        "share of lines of at most 30 characters",
    ),
    Rule(
        RuleName("fineweb_duplicate_line_characters"),
        "fineweb",
        "duplicate_filled_line_characters",
        "above",
        0.01,
        f"share of characters in lines {_REPEAT}",
    ),
    Rule(RuleName("fineweb_too_many_newlines"), "fineweb", "newlines", "above", 0.3, "newlines a word"),
)
# Base64, hexadecimal, logs, numbers, sequences of bases.
_NO_LANGUAGE = Rule(
    RuleName("no_language"),
    "language",
    None,
    "above",
    0.5,
    "probability that the text is of no language (zxx), certain where words are longer than in any",
)
# In the order in which they decide: the first that fails is the reason.
RULES: tuple[Rule, ...] = (
    _NO_LANGUAGE,
    *_GOPHER_QUALITY,
    *_GOPHER_REPETITION,
    *_C4,
    *_C4_ANY_ENDING,
    *_C4_LINES,
    *_FINEWEB,
)
RULE_NAMES: tuple[RuleName, ...] = tuple(rule.name for rule in RULES)


def explain_reason(reason: str) -> str:
    """The explanation of a reason for which a document is rejected; "" for a rule of an earlier version."""
    if reason in REASONS:
        return REASONS[reason].explanation
    return next((rule.about for rule in RULES if rule.name == reason), "")
