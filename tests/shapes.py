"""Texts that break programs which look back, look ahead or try again: each of any length, by its name."""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Callable

Shape = Callable[[int], str]


def repeated(unit: str, before: str = "", after: str = "") -> Shape:
    """A unit again and again."""
    return lambda num_bytes: before + unit * (num_bytes // len(unit.encode())) + after


def drawn(characters: str, seed: int = 0) -> Shape:
    """Characters in random order."""

    def text(num_bytes: int) -> str:
        width = len(characters.encode()) / len(characters)
        return "".join(random.Random(seed).choices(characters, k=int(num_bytes / width)))

    return text


def nested(opening: str, closing: str) -> Shape:
    """As many openings, then as many closings."""

    def text(num_bytes: int) -> str:
        num = num_bytes // len((opening + closing).encode())
        return opening * num + closing * num

    return text


def blob(num_bytes: int) -> str:
    """base64 in one line."""
    return base64.b64encode(random.Random(1).randbytes(num_bytes * 3 // 4)).decode()


def almost_repeated(num_bytes: int) -> str:
    """A sentence whose number changes."""
    return "".join(f"page {n} of the report was not found. " for n in range(num_bytes // 36))


def growing_words(num_bytes: int) -> str:
    """Each word a letter longer than the one before."""
    length = int((2 * num_bytes) ** 0.5)
    return " ".join("x" * n for n in range(1, length))


def periods(num_bytes: int) -> str:
    """Numbers with a period of 97 words: every n-gram comes again, none is next to itself."""
    return " ".join(f"w{n % 97}" for n in range(num_bytes // 4))


SHAPES: dict[str, Shape] = {
    # Marks.
    "marks in turn": repeated("\u0301\u0327", "a"),
    "one mark": repeated("\u0301", "a"),
    "marks of many classes": repeated("\u0315\u0300\u031b\u0316\u0323\u0327\u05b0\u064b\u0e38\u0f71\u3099", "a"),
    "marks without a class that decompose": repeated("\u0f73\u0f75\u0f81\u0344", "a"),
    "runs of thirty marks": repeated("a" + "\u0301\u0327" * 15),
    "letters with two marks": repeated("e\u0323\u0302"),
    "enclosing marks": repeated("\u20dd\u20e3", "1"),
    "variation selectors": repeated("\ufe0f\U000e0100", "❤"),
    "Thai vowels": repeated("\u0e31\u0e49\u0e38", "ก"),
    "Indic virama": repeated("क्"),
    "Hebrew points": repeated("ש\u05c1\u05bc\u05b8"),
    "musical signs that decompose": repeated("\U0001d15e\U0001d165\U0001d16d"),
    # Case, and what folds.
    "sigma": repeated("Σ"),
    "sigma and marks": repeated("Σ'\u0301:"),
    "sigma at the end of ignorable characters": repeated("\u00ad", "AΣ", "Σ"),
    "dotted capital I": repeated("İ"),
    "sharp s, ligatures": repeated("ßﬃŉ"),
    "upper case": repeated("A"),
    "one upper, one lower": repeated("aA"),
    "modifier letter and upper case": repeated("A", "ʰ"),
    # Letters.
    "one letter": repeated("a"),
    "one word of random letters": drawn(string.ascii_lowercase),
    "one letter of two bytes": repeated("é"),
    "Chinese": drawn("的一是不了在人有我他这为之大来以个中上们"),
    "one Chinese character": repeated("一"),
    "Hangul jamo": repeated("\u1112\u1161\u11ab"),
    "Hangul leading jamo": repeated("\u1100"),
    "Hangul syllables": drawn("각난닫랄맘밥삿앙"),
    "Thai without spaces": drawn("กขคงจชซญดตถทธนบปพมยรลวสหอ"),
    "Cherokee": drawn("ᎠᎡᎢᎣᎤᎥꭰꭱ"),
    "mathematical letters": drawn("𝐀𝐁𝒞𝔇𝕬𝟙𝟚"),
    "Arabic with tatweel": repeated("\u0640", "ب"),
    # White space and lines.
    "spaces": repeated(" "),
    "spaces between letters": repeated(" ", "a", "a"),
    "spaces before a line end": repeated("                \n"),
    "tabs": repeated("\t"),
    "lines without text": repeated("\n"),
    "CRLF": repeated("\r\n"),
    "CR": repeated("\r"),
    "lines of one word": repeated("word\n"),
    "lines of one letter": repeated("a\n"),
    "different lines": lambda num_bytes: "".join(f"line {n}\n" for n in range(num_bytes // 11)),
    "no-break and ideographic spaces": repeated("\u00a0\u3000\u2009"),
    "line and paragraph separators": repeated("\u2028\u2029\x85\x0b\x0c"),
    "spaces and line ends in turn": repeated(" \n"),
    # Signs.
    "open braces": repeated("{"),
    "nested brackets": nested("[", "]"),
    "nested quotes": nested('"(', ')"'),
    "apostrophes": repeated("'"),
    "contractions": repeated("'s"),
    "full stops": repeated("."),
    "ellipses": repeated("…"),
    "sentences of one letter": repeated("a. "),
    "slashes": repeated("/"),
    "underscores": repeated("_"),
    "hyphens": repeated("-", "a", "a"),
    "bullets": repeated("\n• "),
    "signs of all kinds": drawn(string.punctuation),
    "digits": repeated("7"),
    "random digits": drawn(string.digits),
    "numbers with separators": repeated("1,000."),
    "superscripts and fractions": repeated("²½Ⅷ"),
    # What is not seen.
    "emoji and joiners": repeated("👩\u200d"),
    "flags": repeated("\U0001f1e9\U0001f1ea"),
    "skin tones": repeated("👋🏽"),
    "zero width": repeated("\u200b\u200c\u2060\ufeff"),
    "direction marks": repeated("\u202e\u2066\u200f\u2069"),
    "soft hyphens": repeated("\u00ad", "a", "a"),
    "NUL and controls": repeated("\0\x01\x1b\x7f"),
    "noncharacters and private use": repeated("\uffff\ufdd0\ue000\U0010ffff\ud7ff"),
    "replacement characters": repeated("\ufffd"),
    "tag characters": repeated("\U000e0061", "🏴"),
    # What pages and logs hold.
    "base64": blob,
    "hexadecimal": drawn("0123456789abcdef"),
    "addresses": repeated("https://example.org/a?b=c&d=%20#e "),
    "one address": repeated("a/../", "http://example.org/"),
    "a query of many": repeated("a=1&", "http://example.org/?"),
    "percent escapes": repeated("%20"),
    "entities": repeated("&amp;"),
    "open tags": repeated("<a "),
    "control tokens": repeated("</s><|endoftext|>[SEP]"),
    "half a control token": repeated("<|endoftext|"),
    "backslashes": repeated("\\"),
    "escapes": repeated("\\u0301"),
    "lorem ipsum": repeated("lorem ipsum dolor sit amet, "),
    "JavaScript": repeated("javascript: use cookies; privacy policy\n"),
    # Repetition.
    "one word": repeated("the "),
    "a sentence": repeated("All work and no play makes Jack a dull boy. "),
    "a sentence that changes": almost_repeated,
    "words with a period": periods,
    "words that grow": growing_words,
    "two letters": drawn("ab"),
    "a Fibonacci word": lambda num_bytes: fibonacci_word(num_bytes),
}


def fibonacci_word(num_bytes: int) -> str:
    """Of all words the one with most repetitions."""
    one, other = "a", "ab"
    while len(other) < num_bytes:
        one, other = other, other + one
    return other[:num_bytes]
