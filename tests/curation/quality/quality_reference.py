"""The quality values by Python's own strings, written from the papers' and datatrove's text: slow, and easy to check.

It shares nothing with the kernels but the definition of a sentence and the names.
"""

from __future__ import annotations

import re
from collections import Counter

from kernels.c4 import SENTENCE_END
from kernels.characters import SYMBOL_WORD_CHARACTERS, TERMINAL_PUNCTUATION
from kernels.quality import Value

STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
POLICIES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)


def split_words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def count_sentences(line: str) -> int:
    ends = [match.end() for match in SENTENCE_END.finditer(line)]
    rest = line[ends[-1] if ends else 0 :]
    return max(1, len(ends) + bool(rest.strip()))


def ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def duplicates(parts: list[str]) -> tuple[int, int]:
    repeated = [part for place, part in enumerate(parts) if part in set(parts[:place])] if len(parts) < 300 else None
    if repeated is None:
        seen: set[str] = set()
        repeated = []
        for part in parts:
            if part in seen:
                repeated.append(part)
            seen.add(part)
    return len(repeated), sum(map(len, repeated))


def top_ngram_characters(words: list[str], n: int) -> int:
    ngrams = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    if not ngrams:
        return 0
    ngram, count = ngrams.most_common(1)[0]
    return len(" ".join(ngram)) * count


def duplicate_ngram_characters(words: list[str], n: int) -> int:
    read: set[tuple[str, ...]] = set()
    characters = i = 0
    while i + n <= len(words):
        ngram = tuple(words[i : i + n])
        if ngram in read:
            characters += sum(map(len, ngram))
            i += n
        else:
            read.add(ngram)
            i += 1
    return characters


def c4_counts(text: str, any_ending: bool) -> tuple[Counter[str], int]:
    """Counts of C4's line rules over lines that are not blank, and of sentences in those kept."""
    outcomes: Counter[str] = Counter()
    sentences = 0
    for raw in text.splitlines():
        line = raw.strip()
        words = line.split()
        if not words:
            continue
        if any(len(word) > 1000 for word in words):
            outcomes["long_word"] += 1
            continue
        line = CITATION.sub("", line)
        lower = line.lower()
        if not any_ending and (not line.endswith((".", "?", "!", '"', "'")) or line.endswith("...")):
            outcomes["no_terminal"] += 1
        elif len(words) < 3:
            outcomes["few_words"] += 1
        elif "lorem ipsum" in lower:
            outcomes["lorem"] += 1
        elif "javascript" in lower:
            outcomes["javascript"] += 1
        elif "{" in line:
            outcomes["curly"] += 1
        elif any(policy in lower for policy in POLICIES):
            outcomes["policy"] += 1
        else:
            sentences += count_sentences(line)
    return outcomes, sentences


def quality_values(text: str) -> list[float]:
    """The values in the order of `Value`."""
    measured = {**gopher_values(text), **c4_values(text), **fineweb_values(text)}
    return [measured[value] for value in Value]


def gopher_values(text: str) -> dict[Value, float]:
    """Quality and repetition."""
    words = split_words(text)
    plain = [word for word in words if any(c not in SYMBOL_WORD_CHARACTERS for c in word)]
    lines = text.splitlines()
    paragraphs, pieces = re.split(r"\n{2,}", text.strip()), re.split(r"\n+", text)
    repeated_paragraphs, paragraph_characters = duplicates(paragraphs)
    repeated_pieces, piece_characters = duplicates(pieces)
    top = {n: ratio(top_ngram_characters(words, n), len(text)) for n in (2, 3, 4)}
    duplicate = {n: ratio(duplicate_ngram_characters(words, n), len(text)) for n in range(5, 11)}
    return {
        Value.WORDS: len(plain),
        Value.MEAN_WORD_CHARACTERS: ratio(sum(map(len, plain)), len(plain)),
        Value.HASH_SIGNS: ratio(text.count("#"), len(words)),
        Value.ELLIPSES: ratio(text.count("...") + text.count("…"), len(words)),
        Value.BULLET_LINES: ratio(sum(line.lstrip().startswith(("•", "-")) for line in lines), len(lines)),
        Value.ELLIPSIS_LINES: ratio(sum(line.rstrip().endswith(("...", "…")) for line in lines), len(lines)),
        Value.WORDS_WITH_LETTERS: ratio(sum(any(map(str.isalpha, word)) for word in words), len(words)),
        Value.STOP_WORDS: len(STOP_WORDS.intersection(words)),
        Value.DUPLICATE_PARAGRAPHS: repeated_paragraphs / len(paragraphs),
        Value.DUPLICATE_PARAGRAPH_CHARACTERS: ratio(paragraph_characters, len(text)),
        Value.DUPLICATE_LINES: repeated_pieces / len(pieces),
        Value.DUPLICATE_LINE_CHARACTERS: ratio(piece_characters, len(text)),
        **{Value[f"TOP_{n}_GRAM"]: share for n, share in top.items()},
        **{Value[f"DUPLICATE_{n}_GRAMS"]: share for n, share in duplicate.items()},
    }


def c4_values(text: str) -> dict[Value, float]:
    """C4 as published, and with lines of any ending."""
    published, sentences = c4_counts(text, any_ending=False)
    lenient, any_sentences = c4_counts(text, any_ending=True)
    return {
        Value.C4_LOREM_IPSUM_LINES: published["lorem"],
        Value.C4_CURLY_BRACKET_LINES: published["curly"],
        Value.C4_SENTENCES: sentences,
        Value.C4_ANY_LOREM_IPSUM_LINES: lenient["lorem"],
        Value.C4_ANY_CURLY_BRACKET_LINES: lenient["curly"],
        Value.C4_ANY_SENTENCES: any_sentences,
        Value.C4_LONG_WORD_LINES: published["long_word"],
        Value.C4_UNTERMINATED_LINES: published["no_terminal"],
        Value.C4_FEW_WORD_LINES: published["few_words"],
        Value.C4_JAVASCRIPT_LINES: published["javascript"],
        Value.C4_POLICY_LINES: published["policy"],
    }


def fineweb_values(text: str) -> dict[Value, float]:
    """FineWeb's own."""
    filled = [line for line in text.split("\n") if line.strip()]
    return {
        Value.FILLED_LINES: len(filled),
        Value.TERMINAL_LINES: ratio(sum(line.endswith(tuple(TERMINAL_PUNCTUATION)) for line in filled), len(filled)),
        Value.SHORT_LINES: ratio(sum(len(line) <= 30 for line in filled), len(filled)),
        Value.DUPLICATE_FILLED_LINE_CHARACTERS: ratio(duplicates(filled)[1], len(text.replace("\n", ""))),
        Value.NEWLINES: ratio(text.count("\n"), len(split_words(text))),
    }
