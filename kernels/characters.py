"""Which characters are words, letters, spaces...: Python's own answers, as one table that kernels can read.

`str.isalpha`, `str.isspace`, `str.splitlines` and their kin are asked once for every assigned code point; a kernel then
decodes a character and tests bits. Text is mostly ASCII, which the kernels classify by vectors without looking here.
Cost: 0.5 s once a process, 4 MB of which a text touches the few lines of its script.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata

import numpy as np
from numba import njit, uint64
from numpy.typing import NDArray

from kernels import words
from kernels.kept import kept
from kernels.simd import range_mask, trailing_zeros

WORD = 1  # of a word by itself
LETTER = 2  # str.isalpha
SYMBOL = 4  # a word character that datatrove counts as punctuation
SPACE = 8  # str.isspace, which also is what str.split and str.strip go by
BREAK = 16  # str.splitlines ends a line here
TERMINAL = 32  # ends a sentence in some script; what FineWeb wants at the end of a line
DIGIT = 64  # matches \d
COMPOSES = 128  # a text without these is in normal form C
JOINS = 256  # of the word before it, if there is one: marks, and what only lays text out
ALONE = 512  # a letter of a script without spaces
KATAKANA = 1024
OF_SYLLABARY = 2048  # ALONE: letters of which words.SYLLABARY make a word; with neither of the two bits LOGOGRAMS do
OF_ALPHABET = 4096  # ALONE: letters of which words.ALPHABET make a word
UPPER = 8192
LOWER = 16384
OTHER_SCRIPT = 32768  # a letter of a script that the language model never saw

# The marks that end a sentence, over all scripts, of FineWeb (Penedo et al. 2024), as datatrove lists them.
TERMINAL_PUNCTUATION = (
    ".?!\u0589\u061d\u061e\u061f\u06d4\u0700\u0701\u0702\u07f9\u0837\u0839\u083d\u083e\u0964\u0965\u104a\u104b\u1362"
    "\u1367\u1368\u166e\u1735\u1736\u17d4\u17d5\u17d6\u17d9\u17da\u1803\u1809\u1944\u1945\u1aa8\u1aa9\u1aaa\u1aab\u1b5a"
    "\u1b5b\u1b5e\u1b5f\u1b7d\u1b7e\u1c3b\u1c3c\u1c7e\u1c7f\u203c\u203d\u2047\u2048\u2049\u2e2e\u2e3c\u2e53\u2e54\u3002"
    "\ua4ff\ua60e\ua60f\ua6f3\ua6f7\ua876\ua877\ua8ce\ua8cf\ua92f\ua9c8\ua9c9\uaa5d\uaa5e\uaa5f\uaaf0\uaaf1\uabeb\ufe52"
    "\ufe56\ufe57\uff01\uff0e\uff1f\uff61\U00010a56\U00010a57\U00010f55\U00010f56\U00010f57\U00010f58\U00010f59"
    "\U00010f86\U00010f87\U00010f88\U00010f89\U00011047\U00011048\U000110be\U000110bf\U000110c0\U000110c1\U00011141"
    "\U00011142\U00011143\U000111c5\U000111c6\U000111cd\U000111de\U000111df\U00011238\U00011239\U0001123b\U0001123c"
    "\U000112a9\U0001144b\U0001144c\U000115c2\U000115c3\U000115c9\U000115ca\U000115cb\U000115cc\U000115cd\U000115ce"
    "\U000115cf\U000115d0\U000115d1\U000115d2\U000115d3\U000115d4\U000115d5\U000115d6\U000115d7\U00011641\U00011642"
    "\U0001173c\U0001173d\U0001173e\U00011944\U00011946\U00011a42\U00011a43\U00011a9b\U00011a9c\U00011c41\U00011c42"
    "\U00011ef7\U00011ef8\U00011f43\U00011f44\U00016a6e\U00016a6f\U00016af5\U00016b37\U00016b38\U00016b44\U00016e98"
    "\U0001bc9f\U0001da88"
)
# Of datatrove's punctuation, the characters that \w matches: a word of these alone is a symbol, not a word.
SYMBOL_WORD_CHARACTERS = "_\uff11"

# Scripts of the languages that py3langid's model knows, as the names of their letters begin.
MODEL_SCRIPTS = frozenset({
    "ANGSTROM", "ARABIC", "ARMENIAN", "BENGALI", "BLACK-LETTER", "BOPOMOFO", "CJK", "CYRILLIC", "DEVANAGARI",
    "DOUBLE-STRUCK", "ETHIOPIC", "EULER", "FEMININE", "FULLWIDTH", "GEORGIAN", "GREEK", "GUJARATI", "GURMUKHI",
    "HALFWIDTH", "HANGUL", "HANGZHOU", "HEBREW", "HIRAGANA", "IDEOGRAPHIC", "KANNADA", "KATAKANA",
    "KATAKANA-HIRAGANA", "KELVIN", "KHMER", "LAO", "LATIN", "MALAYALAM", "MASCULINE", "MASU", "MATHEMATICAL", "MICRO",
    "MODIFIER", "MYANMAR", "OHM", "ORIYA", "SCRIPT", "SINHALA", "SUPERSCRIPT", "TAMIL", "TELUGU", "THAI", "TIBETAN",
    "VERTICAL",
})  # fmt: skip

# Every character that Unicode has assigned, but for private use, is below the first or in the second.
_ASSIGNED = (range(0x32400), range(0xE0000, 0xE0200))
_HANGUL_TRAILING_JAMO = range(0x1161, 0x1200)


# Kernels that only read and write the arrays they are given: without numba's reference counts, which would cost a dozen
# atomic instructions a call (measured: 3 times the time of the whole quality pass).
leaf = njit(cache=True, nogil=True, boundscheck=False, _nrt=False)
# The same for a kernel that a loop calls with records of arrays: each call would pass seven numbers an array.
inlined_leaf = njit(cache=True, nogil=True, boundscheck=False, _nrt=False, forceinline=True)


@functools.cache
@kept
def character_properties(published: bool = False) -> NDArray[np.uint16]:
    """Bits above of every code point, (0x110000,) uint16.

    Words are those of `kernels.words`; as `published`, word characters are what `\\w` matches, and none join.
    """
    code_points = [point for span in _ASSIGNED for point in span if not 0xD800 <= point < 0xE000]
    text = "".join(map(chr, code_points))
    properties = np.zeros(sys.maxunicode + 1, np.uint16)

    def mark(characters: str, bit: int) -> None:
        properties[np.frombuffer(characters.encode("utf-32-le"), np.uint32)] |= np.uint16(bit)

    if published:
        mark("".join(re.findall(r"\w+", text)), WORD)
    else:
        kinds = words.word_kinds()
        for kind, bits in (
            (words.JOINED, WORD),
            (words.ALONE, WORD | ALONE),
            (words.KATAKANA, WORD | KATAKANA),
            (words.MARK, JOINS),
            (words.PASSED_OVER, JOINS),
        ):
            properties[kinds == kind] |= np.uint16(bits)
        bits_of = {words.LOGOGRAMS: 0, words.SYLLABARY: OF_SYLLABARY, words.ALPHABET: OF_ALPHABET}
        for first, end, letters in words.BLOCKS_WITHOUT_SPACES:
            properties[first:end][kinds[first:end] == words.ALONE] |= np.uint16(bits_of[letters])
    mark("".join(filter(str.isalpha, text)), LETTER)
    mark(SYMBOL_WORD_CHARACTERS, SYMBOL)
    mark("".join(filter(str.isspace, text)), SPACE)
    mark("".join(c for c in re.findall(r"\s", text) if c.splitlines() == [""]), BREAK)
    mark(TERMINAL_PUNCTUATION, TERMINAL)
    mark("".join(re.findall(r"\d", text)), DIGIT)
    mark("".join(_composing(text)), COMPOSES)
    mark("".join(filter(str.isupper, text)), UPPER)
    mark("".join(filter(str.islower, text)), LOWER)
    mark("".join(character for character in text if character.isalpha() and not _model_knows(character)), OTHER_SCRIPT)
    return properties


def _model_knows(letter: str) -> bool:
    """Whether the model has seen the script of a letter; Unicode names letters by their scripts."""
    return unicodedata.name(letter, "CJK").partition(" ")[0] in MODEL_SCRIPTS


def _composing(text: str) -> set[str]:
    """The characters of `text` whose presence can keep a text from being in normal form C."""
    found = {chr(point) for point in _HANGUL_TRAILING_JAMO}
    for character in text:
        if unicodedata.combining(character):
            found.add(character)
        parts = unicodedata.decomposition(character)
        if parts and not parts.startswith("<"):
            found.update(chr(int(part, 16)) for part in parts.split()[1:])
            if unicodedata.normalize("NFC", character) != character:
                found.add(character)
    return found


@leaf
def character_bytes(first):
    """Length of the UTF-8 sequence that begins with this byte."""
    return 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4


@leaf
def code_point(buffer_N, i):
    """The character that begins at `buffer_N[i]`; the text is valid UTF-8."""
    first = int(buffer_N[i])
    if first < 0x80:
        return first
    if first < 0xE0:
        return (first & 0x1F) << 6 | int(buffer_N[i + 1]) & 0x3F
    second = int(buffer_N[i + 1]) & 0x3F
    third = int(buffer_N[i + 2]) & 0x3F
    if first < 0xF0:
        return (first & 0x0F) << 12 | second << 6 | third
    return (first & 0x07) << 18 | second << 12 | third << 6 | int(buffer_N[i + 3]) & 0x3F


@leaf
def character_start(buffer_N, i):
    """The first byte of the character that covers `buffer_N[i]`."""
    while buffer_N[i] & 0xC0 == 0x80:
        i -= 1
    return i


@leaf
def find_composing(buffer_N, starts_B, ends_B, properties_P, composing_B):
    """Which documents may not be in normal form C, into `composing_B`; their characters above ASCII are looked up."""
    for b in range(len(starts_B)):
        composing_B[b] = False
        for block in range(starts_B[b], ends_B[b], 64):
            leads = range_mask(buffer_N, block, 0xC0, 0x40)
            while leads != uint64(0):
                i = block + int(trailing_zeros(leads))
                leads &= leads - uint64(1)
                if i < ends_B[b] and properties_P[code_point(buffer_N, i)] & COMPOSES != 0:
                    composing_B[b] = True
                    break
            if composing_B[b]:
                break
