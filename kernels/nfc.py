"""Normal form C of any text in time linear in its bytes.

CPython orders the marks of a run by insertion, at quadratic cost: 160 KB of two marks in turn take it six seconds, in
which no other thread runs. Insertion into a run that is in order already moves nothing. A run of more than MAX_RUN
marks is therefore put into canonical order before it is handed over: its marks are decomposed one by one and sorted by
combining class, which keeps marks of one class in their order. That is the canonical order by definition (UAX 15,
section 1.3), so the result is the normal form itself, for every text: texts that are canonically equivalent stay equal
however long their runs are. (The Stream-Safe Text Format of UAX 15, section 13, bounds runs at the same 30, but by
inserting a character, which would make long runs differ that are equivalent.)

Cost: nothing for ASCII; else a search for runs, about 5 ns a character, beside the normalisation itself.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from kernels.kept import kept

# Marks in a row that are handed over as they stand. No text in a living script has as many: UAX 15 takes 30.
MAX_RUN = 30


def nfc(text: str) -> str:
    """Normal form C, as `unicodedata.normalize("NFC", text)` gives it, in linear time."""
    return text if text.isascii() else unicodedata.normalize("NFC", with_ordered_runs(text))


def with_ordered_runs(text: str) -> str:
    """A canonically equivalent text in which every run of more than MAX_RUN marks is in canonical order."""
    return _long_runs().sub(_in_canonical_order, text)


def _in_canonical_order(run: re.Match[str]) -> str:
    """The marks of a run, decomposed and in canonical order: sorted by counting, so that it stays linear."""
    by_class: defaultdict[int, list[str]] = defaultdict(list)
    for part in "".join(map(_decomposed, run.group())):
        by_class[unicodedata.combining(part)].append(part)
    return "".join("".join(by_class[number]) for number in sorted(by_class))


@functools.cache
def _decomposed(mark: str) -> str:
    return unicodedata.normalize("NFD", mark)


@functools.cache
def _long_runs() -> re.Pattern[str]:
    """Runs of more than MAX_RUN marks."""
    spans = "".join(f"{re.escape(first)}-{re.escape(last)}" for first, last in _spans(marks().tolist()))
    return re.compile(f"[{spans}]{{{MAX_RUN + 1},}}")


@functools.cache
@kept
def marks() -> NDArray[np.uint32]:
    """Code points that canonical ordering moves: marks with a combining class, and those that decompose into such."""
    found = []
    for code in range(0x80, sys.maxunicode + 1):
        character = chr(code)
        # Some Tibetan vowel signs have no class themselves, their parts have.
        if unicodedata.combining(character) or unicodedata.combining(_first_part(character)):
            found.append(code)
    return np.array(found, np.uint32)


def _first_part(character: str) -> str:
    parts = unicodedata.decomposition(character)
    return chr(int(parts.split()[0], 16)) if parts and not parts.startswith("<") else character


def _spans(codes: list[int]) -> list[tuple[str, str]]:
    """The characters as ranges (first, last)."""
    spans: list[tuple[str, str]] = []
    for code in codes:
        if spans and code == ord(spans[-1][1]) + 1:
            spans[-1] = spans[-1][0], chr(code)
        else:
            spans.append((chr(code), chr(code)))
    return spans
