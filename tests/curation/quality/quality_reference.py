"""The quality values by Python's own strings, written from the papers' and datatrove's text: slow, and easy to check.

It shares nothing with the kernels but the definition of a sentence.
"""

from __future__ import annotations

import re
from collections import Counter

from kernels.c4 import SENTENCE_END
from kernels.characters import SYMBOL_WORD_CHARACTERS, TERMINAL_PUNCTUATION

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
    """What happened to the lines that are not blank, and the sentences of those kept."""
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
    """The values in the order of `curation.quality.rules.RULES`."""
    words = split_words(text)
    plain = [word for word in words if any(c not in SYMBOL_WORD_CHARACTERS for c in word)]
    mean_length = ratio(sum(map(len, plain)), len(plain))
    lines = text.splitlines()
    values: list[float] = [
        len(plain),
        len(plain),
        mean_length,
        mean_length,
        ratio(text.count("#"), len(words)),
        ratio(text.count("...") + text.count("…"), len(words)),
        ratio(sum(line.lstrip().startswith(("•", "-")) for line in lines), len(lines)),
        ratio(sum(line.rstrip().endswith(("...", "…")) for line in lines), len(lines)),
        ratio(sum(any(map(str.isalpha, word)) for word in words), len(words)),
        len(STOP_WORDS.intersection(words)),
    ]
    for parts in (re.split(r"\n{2,}", text.strip()), re.split(r"\n+", text)):
        elements, characters = duplicates(parts)
        values += [elements / len(parts), ratio(characters, len(text))]
    values += [ratio(top_ngram_characters(words, n), len(text)) for n in (2, 3, 4)]
    values += [ratio(duplicate_ngram_characters(words, n), len(text)) for n in range(5, 11)]
    published, sentences = c4_counts(text, any_ending=False)
    values += [published["lorem"], published["curly"], sentences]
    lenient, sentences = c4_counts(text, any_ending=True)
    values += [lenient["lorem"], lenient["curly"], sentences]
    values += [published[key] for key in ("long_word", "no_terminal", "few_words", "javascript", "policy")]
    filled = [line for line in text.split("\n") if line.strip()]
    values += [
        len(filled),
        ratio(sum(line.endswith(tuple(TERMINAL_PUNCTUATION)) for line in filled), len(filled)),
        ratio(sum(len(line) <= 30 for line in filled), len(filled)),
        ratio(duplicates(filled)[1], len(text.replace("\n", ""))),
        ratio(text.count("\n"), len(words)),
    ]
    return values
