"""Words: where each begins and ends in a text, and a 64-bit hash of each.

A word is what Python's `re.findall(r"\\w+", text.lower())` finds in NFC text, except that in scripts written
without spaces (Chinese, Japanese, Thai, Lao, Khmer) every character, vowel and tone marks included, is a word of its
own.

1. *Fold.* An ASCII document needs none. Any other is rewritten, once, into a scratch text in which words are exactly
   the runs of bytes a-z, 0-9, _ and >= 0x80: runs of ASCII are copied 64 bytes a step, and every wide character is
   looked up in a table that holds its lower-case NFC form in UTF-8, or a space if it is no word character. A
   character of a script without spaces is set between spaces. A mark that could melt with the character before it
   (e + U+0301) is reported: only such documents need `normal_form`, which is the caller's to call.
2. *Find.* 64 bytes at a time become a mask with one bit a byte, set for word bytes. `mask ^ (mask << 1 | carry)`
   has a bit wherever a word begins or ends; walking its set bits gives the bounds.
3. *Hash.* Eight bytes a step with one 64 x 64 -> 128 bit multiplication, as wyhash and xxh3 do.

Cost: about 2.7 us for 3.7 KB of ASCII (600 words); folding adds about 2 ns for every wide character.
"""

from __future__ import annotations

import functools
import unicodedata

import numpy as np
from numba import njit, uint64
from numpy.typing import NDArray

from curation.kernels.nfc import nfc
from curation.kernels.simd import (
    PADDING_BYTES,
    load_u64,
    lower_word_mask,
    mix_multiply,
    range_mask,
    store_u64,
    trailing_zeros,
)

# An entry of the table: up to 7 bytes of UTF-8 in the low bits, their number, and two flags.
LENGTH_SHIFT = 56
STANDS_ALONE = 1 << 59
COMPOSES = 1 << 60
SPACE = 1 << LENGTH_SHIFT | ord(" ")

# One past the last letter of Unicode 15, CJK extension H. All that lies above is no word character.
NUM_CODE_POINTS = 0x323B0

# Blocks of the scripts that are written without spaces between words.
BLOCKS_WITHOUT_SPACES = (
    (0x0E00, 0x0F00),  # Thai, Lao
    (0x1780, 0x1800),  # Khmer
    (0x3005, 0x3008),  # ideographic iteration mark, closing mark, zero
    (0x3021, 0x302A),  # Hangzhou numerals
    (0x3040, 0x3100),  # Hiragana, Katakana
    (0x31F0, 0x3200),  # Katakana for Ainu
    (0x3400, 0x4DC0),  # Han, extension A
    (0x4E00, 0xA000),  # Han
    (0xF900, 0xFB00),  # Han, compatibility
    (0xFF66, 0xFFA0),  # Katakana, half width
    (0x1AFF0, 0x1B170),  # Kana supplements
    (0x20000, 0x323B0),  # Han, extensions B to H
)

SEED = np.uint64(0xD1B54A32D192ED03)
STEP = np.uint64(0x9E3779B97F4A7C15)
FINISH = np.uint64(0xFF51AFD7ED558CCD)

# Bounds of the folded text, for the sizes of scratch arrays: no character grows beyond twice its bytes, plus one
# space before the first of a run of characters that stand alone (2 bytes of text at least, as another is between).
MAX_GROWTH = 3


@functools.cache
def code_point_table() -> NDArray[np.uint64]:
    """What becomes of every code point: its folded form and its flags, one entry a code point (1.6 MB, 0.15 s).

    Follows the Unicode version of the running Python.
    """
    table = np.full(NUM_CODE_POINTS, SPACE, np.uint64)
    alone = characters_that_stand_alone()
    for code in range(0x80, NUM_CODE_POINTS):
        character = chr(code)
        stands_alone = character in alone
        if stands_alone or character.isalnum():
            is_folded = character.casefold() == character and not unicodedata.decomposition(character)
            folded = character.encode() if is_folded else fold(character)
            table[code] = pack_entry(folded, STANDS_ALONE if stands_alone else 0)
    for code in composing_marks():
        table[code] |= np.uint64(COMPOSES)
    return table


def normal_form(text: str) -> str:
    """Lower case in NFC. (Full case folding would be too much: it makes daß and dass, two words of German, one.)"""
    return nfc(text.lower())


def fold(character: str) -> bytes:
    """Simple case folding of the normal form in UTF-8; characters of it that belong to no word become spaces."""
    folded = []
    for part in normal_form(character):
        other_case = part.casefold()  # long s to s, final sigma to sigma; ß to ss is no simple folding
        folded.append(other_case if len(other_case) == 1 else part)
    alone = characters_that_stand_alone()
    return "".join(part if part.isalnum() or part in alone else " " for part in folded).encode()


@functools.cache
def characters_that_stand_alone() -> frozenset[str]:
    """Letters, numbers, vowel and tone marks of scripts without spaces between words."""
    characters = (chr(code) for first, end in BLOCKS_WITHOUT_SPACES for code in range(first, end))
    return frozenset(character for character in characters if unicodedata.category(character)[0] in "LMN")


def pack_entry(folded: bytes, flags: int) -> int:
    """One entry of the table; ValueError for a form of more than 7 bytes, which Unicode does not have."""
    if len(folded) > 7:
        raise ValueError(f"the folded form {folded!r} does not fit an entry of the code point table (7 bytes)")
    return int.from_bytes(folded, "little") | len(folded) << LENGTH_SHIFT | flags


def composing_marks() -> set[int]:
    """Code points that can melt with a character before them under NFC (NFC_Quick_Check = Maybe)."""
    hangul = {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}
    seconds = set()
    for code in range(0x80, NUM_CODE_POINTS):
        decomposition = unicodedata.decomposition(chr(code)).split()
        if len(decomposition) == 2 and not decomposition[0].startswith("<"):
            seconds.add(int(decomposition[1], 16))
    return {code for code in seconds if code >= 0x80} | hangul


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
    """Write the folded form of the UTF-8 text `buffer_N[start:end]` to `folded`: (its length, whether a mark composes).

    `folded` holds at least MAX_GROWTH * (end - start) + 2 * PADDING_BYTES bytes. ASCII is lower-cased and copied.
    """
    source, target, composes = start, 0, False
    while source < end:
        lower_word_mask(buffer_N, source, folded, target)
        wide = range_mask(buffer_N, source, 128, 128)
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
            entry = table[code] if code < NUM_CODE_POINTS else uint64(SPACE)
            alone = entry & uint64(STANDS_ALONE) != uint64(0)
            composes |= entry & uint64(COMPOSES) != uint64(0)
            if alone and target > 0 and folded[target - 1] != 32:
                folded[target] = 32
                target += 1
            store_u64(folded, target, entry)
            target += np.int64((entry >> uint64(LENGTH_SHIFT)) & uint64(7))
            if alone:
                folded[target] = 32
                target += 1
    return target - max(0, source - end), composes


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
