"""Words: the one definition that near-duplicates and quality rules share; their bounds, and a 64-bit hash of each.

A word is what Unicode's default segmentation finds (UAX 29, "Unicode Text Segmentation"), with these choices:

- A run of letters, numbers and connectors (_) is a word. Marks belong to the character before them, of any
  kind: vowel signs, viramas, points, tones, enclosing marks. Marks after no word character belong to no word.
- Apostrophes, full stops, commas and colons end a word, as for the regular expression `\\w+`, where UAX 29 would join
  (rules WB6, 7, 11, 12): "can't" is two words, with either apostrophe. ASCII text has exactly the words of `\\w+`,
  which published rules and measures of near-duplicates go by.
- Numbers of any kind (superscripts, fractions) are word characters, as for `\\w`; connectors are those of the category
  Pc, not the narrow no-break space.
- Characters that only lay text out (soft hyphen, joiners, marks of direction, variation selectors) are passed over:
  the word is the same with and without them. The zero width space is a space, as in UAX 29.
- Scripts written without spaces between words (`BLOCKS_WITHOUT_SPACES`): every letter with the marks that follow it is
  a word. For Han, Hiragana, Thai, Lao, Khmer, Burmese, Tai and Tangut UAX 29 says the same; Javanese, Balinese,
  Buginese, Batak, Vai and Yi join them here. Katakana is joined into runs, as UAX 29 does (but not with _), and so
  are digits. (Tibetan needs no exception: its syllables are set apart by marks of their own.)
- Emoji, flags and other symbols are no words.

For near-duplicates words are compared in lower case and NFC:

1. *Fold.* An ASCII document needs none. Any other is rewritten, once, into a scratch text in which words are exactly
   the runs of bytes a-z, 0-9, _ and >= 0x80: runs of ASCII are copied 64 bytes a step, and every wide character is
   looked up in a table that holds its lower-case NFC form in UTF-8 and how it joins its neighbours. Where NFC could
   change more than single characters (a mark that may melt with the character before it, e + U+0301, or marks out of
   their canonical order) this is reported: only such documents need `normal_form`, which is the caller's to call.
2. *Find.* 64 bytes at a time become a mask with one bit a byte, set for word bytes. `mask ^ (mask << 1 | carry)`
   has a bit wherever a word begins or ends; walking its set bits gives the bounds.
3. *Hash.* Eight bytes a step with one 64 x 64 -> 128 bit multiplication, as wyhash and xxh3 do.

Cost: about 2.7 us for 3.7 KB of ASCII (600 words); folding adds about 2 ns for every wide character.
"""

from __future__ import annotations

import functools
import sys
import unicodedata

import numpy as np
from numba import njit, uint64
from numpy.typing import NDArray

from kernels.kept import kept
from kernels.nfc import nfc
from kernels.simd import (
    PADDING_BYTES,
    load_u64,
    lower_word_mask,
    mix_multiply,
    range_mask,
    store_u64,
    trailing_zeros,
)

# What words are is part of what signatures mean: this changes with the definition above.
DEFINITION = "UAX 29, 2"

# How a character takes part in words.
NO_WORD, JOINED, ALONE, KATAKANA, MARK, PASSED_OVER = range(6)

# An entry of the table: up to 6 bytes of UTF-8 in the low bits, the canonical combining class, the number of bytes,
# and flags.
CLASS_SHIFT = 48
LENGTH_SHIFT = 56
IS_ALONE = 1 << 59
IS_KATAKANA = 1 << 60
IS_MARK = 1 << 61
COMPOSES = 1 << 62  # may melt with a starter before it
STARTS = 1 << 63  # may melt with marks after it
SPECIAL = IS_ALONE | IS_KATAKANA | IS_MARK | COMPOSES | 255 << CLASS_SHIFT
SPACE = 1 << LENGTH_SHIFT | ord(" ")
NOTHING = 0  # passed over
REORDERS = 255  # no combining class: the mark is made of marks, and no text in NFC has it

# One past the last letter of Unicode 15, CJK extension H. All that lies above is no word character, and
# passed over if it is a tag or a variation selector.
NUM_CODE_POINTS = 0x323B0
TAGS = 0xE0000
END_OF_TAGS = 0xE1000

# Blocks of the scripts that are written without spaces between words (Katakana is told by name), and how many letters
# make a word there: as many as stand, in translations of one text, for a word of English.
LOGOGRAMS, SYLLABARY, ALPHABET = 1.6, 2.5, 3.8
BLOCKS_WITHOUT_SPACES = (
    (0x0E00, 0x0F00, ALPHABET),  # Thai, Lao
    (0x1000, 0x10A0, ALPHABET),  # Myanmar
    (0x1780, 0x1800, ALPHABET),  # Khmer
    (0x1950, 0x19E0, ALPHABET),  # Tai Le, New Tai Lue
    (0x1A00, 0x1AB0, SYLLABARY),  # Buginese, Tai Tham
    (0x1B00, 0x1B80, SYLLABARY),  # Balinese
    (0x1BC0, 0x1C00, SYLLABARY),  # Batak
    (0x3005, 0x3008, LOGOGRAMS),  # ideographic iteration mark, closing mark, zero
    (0x3021, 0x302A, LOGOGRAMS),  # Hangzhou numerals
    (0x3038, 0x303B, LOGOGRAMS),  # Hangzhou numerals
    (0x3040, 0x30A0, SYLLABARY),  # Hiragana
    (0x3400, 0x4DC0, LOGOGRAMS),  # Han, extension A
    (0x4E00, 0xA000, LOGOGRAMS),  # Han
    (0xA000, 0xA490, LOGOGRAMS),  # Yi
    (0xA500, 0xA640, SYLLABARY),  # Vai
    (0xA980, 0xAA00, ALPHABET),  # Javanese, Myanmar extended B
    (0xAA60, 0xAAE0, ALPHABET),  # Myanmar extended A, Tai Viet
    (0xF900, 0xFB00, LOGOGRAMS),  # Han, compatibility
    (0x11700, 0x11750, ALPHABET),  # Ahom
    (0x16FE0, 0x18D90, LOGOGRAMS),  # Tangut, Khitan
    (0x1B000, 0x1B300, SYLLABARY),  # Kana supplements, Nushu
    (0x20000, 0x323B0, LOGOGRAMS),  # Han, extensions B to H
)
_VARIATION_SELECTORS = (0x034F, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10))  # and the grapheme joiner
_ZERO_WIDTH_SPACE = 0x200B
_LETTERS_BY_USE = (0x55A, 0x55B, 0x55C, 0x55E, 0x58A, 0x5F3)  # Armenian and Hebrew marks within words
_KANA_REPEAT_MARKS = range(0x3031, 0x3036)

SEED = np.uint64(0xD1B54A32D192ED03)
STEP = np.uint64(0x9E3779B97F4A7C15)
FINISH = np.uint64(0xFF51AFD7ED558CCD)

# Bounds of the folded text, for the sizes of scratch arrays: no character grows beyond three times its bytes, with a
# space before it and one after the last of a run.
MAX_GROWTH = 3


@functools.cache
@kept
def word_kinds() -> NDArray[np.uint8]:
    """How every code point takes part in words, (0x110000,) uint8: the definition above, character by character.

    Follows the Unicode version of the running Python.
    """
    kinds = np.zeros(sys.maxunicode + 1, np.uint8)
    for code in range(NUM_CODE_POINTS):
        character = chr(code)
        category = unicodedata.category(character)
        if character.isalnum() or category == "Pc":
            kinds[code] = JOINED
        elif category[0] == "M":
            kinds[code] = MARK
        elif category == "Cf":
            kinds[code] = PASSED_OVER
    kinds[list(_VARIATION_SELECTORS)] = PASSED_OVER
    kinds[TAGS:END_OF_TAGS] = PASSED_OVER  # Unicode keeps the block for such
    kinds[_ZERO_WIDTH_SPACE] = NO_WORD
    kinds[list(_LETTERS_BY_USE)] = JOINED
    for first, end, _ in BLOCKS_WITHOUT_SPACES:
        for code in range(first, end):
            if kinds[code] == JOINED and unicodedata.category(chr(code)) != "Nd":
                kinds[code] = ALONE
    for code in (*range(0x30A0, 0x3200), *range(0xFF66, 0xFFA0), *range(0x1AFF0, 0x1B170), *_KANA_REPEAT_MARKS):
        if kinds[code] and ("KATAKANA" in unicodedata.name(chr(code), "") or code in _KANA_REPEAT_MARKS):
            kinds[code] = KATAKANA
    return kinds


@functools.cache
@kept
def code_point_table() -> NDArray[np.uint64]:
    """Every code point: its folded form and its flags, one entry a code point (1.6 MB, 0.4 s)."""
    table = np.full(NUM_CODE_POINTS, SPACE, np.uint64)
    kinds = word_kinds()
    flags_of_kind = {JOINED: 0, ALONE: IS_ALONE, KATAKANA: IS_KATAKANA, MARK: IS_MARK}
    for code in range(0x80, NUM_CODE_POINTS):
        kind = int(kinds[code])
        if kind == PASSED_OVER:
            table[code] = NOTHING
        elif kind != NO_WORD:
            character = chr(code)
            is_folded = character.casefold() == character and not unicodedata.decomposition(character)
            folded = character.encode() if is_folded else fold(character)
            table[code] = pack_entry(folded, class_after(folded.decode()), flags_of_kind[kind])
    starters, marks = composing_characters()
    table[sorted(starters)] |= np.uint64(STARTS)
    table[sorted(marks)] |= np.uint64(COMPOSES)
    return table


def normal_form(text: str) -> str:
    """Lower case in NFC. (Full case folding would be too much: it makes daß and dass, two words of German, one.)"""
    return nfc(text.lower())


def fold(character: str) -> bytes:
    """Simple case folding of the normal form in UTF-8; characters of it that belong to no word become spaces."""
    kinds = word_kinds()
    folded = []
    for part in normal_form(character):
        # Long s to s, final sigma to sigma; ß to ss is no simple folding, nor is a mark made a letter.
        other_case = part.casefold() if kinds[ord(part)] != MARK else part
        folded.append(other_case if len(other_case) == 1 else part)
    return "".join(part if kinds[ord(part)] != NO_WORD else " " for part in folded).encode()


def class_after(folded: str) -> int:
    """The combining class that marks after the character are ordered by, REORDERS for a mark that is made of marks."""
    if unicodedata.combining(folded[0]) and len(folded) > 1:
        return REORDERS
    return unicodedata.combining(folded[-1])


def pack_entry(folded: bytes, combining_class: int, flags: int) -> int:
    """One entry of the table; ValueError for a form of more than 6 bytes, which no word character of Unicode has."""
    if len(folded) > 6:
        raise ValueError(f"the folded form {folded!r} does not fit an entry of the code point table (6 bytes)")
    return int.from_bytes(folded, "little") | combining_class << CLASS_SHIFT | len(folded) << LENGTH_SHIFT | flags


def composing_characters() -> tuple[set[int], set[int]]:
    """Code points above ASCII that may melt with what follows them, and those that may with what is before them."""
    starters = {*range(0x1100, 0x1113), *range(0xAC00, 0xD7A4, 28)}  # Hangul, by rule
    seconds = {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}
    for code in range(0x80, NUM_CODE_POINTS):
        decomposition = unicodedata.decomposition(chr(code)).split()
        if decomposition and not decomposition[0].startswith("<"):
            starters.add(code)
            if unicodedata.normalize("NFC", chr(code)) == chr(code):  # others fall apart, and are not made
                starters.add(int(decomposition[0], 16))
                seconds.add(int(decomposition[1], 16))
    return {code for code in starters if code >= 0x80}, {code for code in seconds if code >= 0x80}


@njit(cache=True, nogil=True, boundscheck=False)
def is_ascii(buffer_N, start, end):
    """Whether `buffer_N[start:end]` has no byte >= 0x80."""
    block = start
    while block + 64 <= end:
        if range_mask(buffer_N, block, 128, 128) != uint64(0):
            return False
        block += 64
    wide = range_mask(buffer_N, block, 128, 128)
    return wide & ((uint64(1) << uint64(end - block)) - uint64(1)) == uint64(0)


@njit(cache=True, nogil=True, boundscheck=False)
def fold_text(buffer_N, start, end, table, folded):
    """Write the folded form of the UTF-8 text `buffer_N[start:end]` to `folded`: (its length, whether to ask NFC).

    `folded` holds at least MAX_GROWTH * (end - start) + 2 * PADDING_BYTES bytes. ASCII is lower-cased and copied.
    """
    source, target, composes = start, 0, False
    while source < end:
        lower_word_mask(buffer_N, source, folded, target)
        wide = range_mask(buffer_N, source, 128, 128)
        # Of the character before: the entry of the last that is no mark, the combining class, whether it stands apart.
        starter, class_before, kind_before = uint64(STARTS), uint64(0), uint64(0)
        if wide == uint64(0):
            source += 64
            target += 64
            continue
        num_ascii = np.int64(trailing_zeros(wide))
        source += num_ascii
        target += num_ascii
        while source < end:
            lead = int(buffer_N[source])
            if lead < 0x80:
                break
            if lead < 0xE0:
                code = (lead & 0x1F) << 6 | (buffer_N[source + 1] & 0x3F)
                source += 2
            elif lead < 0xF0:
                code = (lead & 0x0F) << 12 | (buffer_N[source + 1] & 0x3F) << 6 | (buffer_N[source + 2] & 0x3F)
                source += 3
            else:
                code = (lead & 0x07) << 18 | (buffer_N[source + 1] & 0x3F) << 12
                code |= (buffer_N[source + 2] & 0x3F) << 6 | (buffer_N[source + 3] & 0x3F)
                source += 4
            if code < NUM_CODE_POINTS:
                entry = table[code]
            else:
                entry = uint64(NOTHING) if TAGS <= code < END_OF_TAGS else uint64(SPACE)
            length = np.int64((entry >> uint64(LENGTH_SHIFT)) & uint64(7))
            if entry & uint64(SPECIAL) | kind_before == uint64(0):
                store_u64(folded, target, entry)
                target += length
                starter, class_before = entry, uint64(0)
                continue

            # Would NFC change more than this character? It may melt with the last starter, or go before a mark.
            composes |= (entry & uint64(COMPOSES) != uint64(0)) & (starter & uint64(STARTS) != uint64(0))
            combining_class = (entry >> uint64(CLASS_SHIFT)) & uint64(255)
            is_mark = entry & uint64(IS_MARK) != uint64(0)
            if is_mark and combining_class != uint64(0):
                composes |= (combining_class < class_before) | (combining_class == uint64(REORDERS))
            else:
                starter = entry
            class_before = combining_class

            if is_mark:
                # To the word before it, if there is one.
                if target > 0 and is_word_byte(folded[target - 1]):
                    store_u64(folded, target, entry)
                    target += length
            elif length > 0:
                kind = entry & uint64(IS_ALONE | IS_KATAKANA)
                is_run = kind == kind_before and kind != uint64(IS_ALONE)
                if not is_run and target > 0 and folded[target - 1] != 32:
                    folded[target] = 32
                    target += 1
                store_u64(folded, target, entry)
                target += length
                kind_before = kind
        if kind_before != uint64(0):
            folded[target] = 32
            target += 1
    return target - max(0, source - end), composes


@njit(cache=True, nogil=True, boundscheck=False)
def is_word_byte(byte):
    """Whether a byte of a folded text is part of a word."""
    return byte >= 0x80 or 97 <= byte <= 122 or 48 <= byte <= 57 or byte == 95


@njit(cache=True, nogil=True, boundscheck=False)
def find_words(source_N, start, end, lower, bounds):
    """Bounds of the words of a text of ASCII and folded characters; the number of words.

    The lower-cased text goes to `lower`, which may be `source_N` itself if start is 0. Word i is
    `lower[bounds[2 * i]:bounds[2 * i + 1]]`; `bounds` holds at least end - start + 2 integers.
    """
    length = end - start
    num_bounds, carry = 0, uint64(0)
    for block in range(0, length, 64):
        mask = lower_word_mask(source_N, start + block, lower, block) | range_mask(lower, block, 128, 128)
        if length - block < 64:
            mask &= (uint64(1) << uint64(length - block)) - uint64(1)
        edges = mask ^ ((mask << uint64(1)) | carry)
        carry = mask >> uint64(63)
        while edges != uint64(0):
            bounds[num_bounds] = block + np.int64(trailing_zeros(edges))
            num_bounds += 1
            edges &= edges - uint64(1)
    if num_bounds & 1:
        bounds[num_bounds] = length
        num_bounds += 1
    return num_bounds >> 1


@njit(cache=True, nogil=True, boundscheck=False)
def hash_bytes(text, start, end):
    """64-bit hash of `text[start:end]`, which is not empty; up to 7 bytes after it are read and ignored."""
    rest = end - start
    h = uint64(rest)
    while rest > 8:
        h = mix_multiply(h ^ load_u64(text, start), STEP)
        start += 8
        rest -= 8
    tail = load_u64(text, start) << uint64(64 - 8 * rest)
    return mix_multiply(h ^ tail ^ SEED, FINISH)


@njit(cache=True, nogil=True, boundscheck=False)
def word_hashes(buffer_N, start, end, table, lower, bounds, hashes):
    """Words of the UTF-8 text `buffer_N[start:end]`: (their number, whether the text should have been NFC).

    hashes[i] is the hash of word i and lower[bounds[2 * i]:bounds[2 * i + 1]] its folded bytes; for an ASCII text,
    bounds count from `start` in the buffer too. `table` is `code_point_table()`; scratch arrays as `scratch_arrays`
    makes them, reusable from document to document. The second value says that a mark was met that may melt with the
    character before it: unless the text is in `normal_form` already, call again with that.
    """
    composes = False
    if is_ascii(buffer_N, start, end):
        num_words = find_words(buffer_N, start, end, lower, bounds)
    else:
        length, composes = fold_text(buffer_N, start, end, table, lower)
        num_words = find_words(lower, 0, length, lower, bounds)
    for word in range(num_words):
        hashes[word] = hash_bytes(lower, bounds[2 * word], bounds[2 * word + 1])
    return num_words, composes


@njit(cache=True, nogil=True, boundscheck=False)
def scratch_arrays(max_bytes):
    """Scratch for `word_hashes` on texts of up to `max_bytes` bytes: (lower, bounds, hashes)."""
    max_folded = MAX_GROWTH * max_bytes + 2 * PADDING_BYTES
    return np.empty(max_folded, np.uint8), np.empty(max_folded, np.int32), np.empty(max_folded // 2, np.uint64)


@njit(cache=True, nogil=True, boundscheck=False)
def scratch_for(starts_B, ends_B):
    """Scratch for `word_hashes` on any of these texts."""
    longest = 0
    for b in range(len(starts_B)):
        longest = max(longest, ends_B[b] - starts_B[b])
    return scratch_arrays(longest)
