"""C4's line rules: which lines it would drop, how many sentences the others hold, what condemns the document.

C4 looks at one line after the other and edits the text; here lines are only counted. Two counts run side by side:
C4 as published, which drops lines without terminal punctuation, and without that rule, as FineWeb runs it.

Phrases ("javascript", "privacy policy", ...) are found in the whole document at once: vector compares of three
neighbouring bytes that are rare together ("vas", "vac", "oki", ...) give candidates, which are then compared in full.
A line that cites ("[1]", "[edit]") is copied without its citations first, as C4 judges what is left.

Sentences are split by `SENTENCE_END`: a run of .!?… with closing quotes or brackets where whitespace or the end
follows, or a run of 。！？｡; but as published, also at the marks of other scripts (danda, ؟, ።...). What is left after
the last end is a sentence too, and every line holds at least one.

Cost: 0.3 ns a byte for the phrases, 40 ns a line.

Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", 2020; details are
those of datatrove's C4QualityFilter.

Shape legend: N bytes of text, H phrases found, C counters.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numba import uint64
from numpy.typing import NDArray

from kernels.characters import DIGIT, SPACE, TERMINAL, character_bytes, character_start, code_point, inlined_leaf, leaf
from kernels.simd import PADDING_BYTES, equal_mask, range_mask, trailing_zeros
from kernels.text_masks import any_bit, characters_between, has_bit, low_bits, rank

SENTENCE_END = re.compile(r"""[.!?…]+["'”’»)\]]*(?=\s|\Z)|[。！？｡]+["'”’»)\]」』）]*""")

LONGEST_WORD_CHARACTERS = 1000
FEWEST_LINE_WORDS = 3

# Counters: as published, then without terminal punctuation; then lines dropped as published, by the first reason.
LOREM, CURLY, SENTENCES, ANY_LOREM, ANY_CURLY, ANY_SENTENCES = range(6)
LONG_WORD, NO_TERMINAL, FEW_WORDS, JAVASCRIPT, POLICY = range(6, 11)
NUM_COUNTERS = 11

_LOREM = np.frombuffer(b"lorem ipsum", np.uint8)
_JAVASCRIPT = np.frombuffer(b"javascript", np.uint8)
_TERMS = np.frombuffer(b"terms of use", np.uint8)
_PRIVACY = np.frombuffer(b"privacy policy", np.uint8)
_COOKIE = np.frombuffer(b"cookie", np.uint8)
_COOKIE_POLICY = np.frombuffer(b"cookie policy", np.uint8)
_USES_COOKIES = np.frombuffer(b"uses cookies", np.uint8)
_USE_OF_COOKIES = np.frombuffer(b"use of cookies", np.uint8)
_USE_COOKIES = np.frombuffer(b"use cookies", np.uint8)
_EDIT = np.frombuffer(b"[edit]", np.uint8)
_CITATION_NEEDED = np.frombuffer(b"[citation needed]", np.uint8)

_HAS_LOREM, _HAS_JAVASCRIPT, _HAS_POLICY = 1, 2, 4


class C4Memory(NamedTuple):
    """Working memory of one thread, large enough for the longest document of a batch."""

    counters_C: NDArray[np.int64]
    phrase_places_H: NDArray[np.int32]
    phrase_kinds_H: NDArray[np.uint8]
    line_N: NDArray[np.uint8]  # a line without its citations
    lower_N: NDArray[np.uint8]  # the same, ASCII letters lower-cased


def allocate_c4(longest_bytes: int) -> C4Memory:
    """Memory for documents of up to `longest_bytes`; pages that no document needs are never touched."""
    return C4Memory(
        counters_C=np.zeros(NUM_COUNTERS, np.int64),
        phrase_places_H=np.empty(longest_bytes // 6 + 2, np.int32),  # no phrase is shorter than "cookie"
        phrase_kinds_H=np.empty(longest_bytes // 6 + 2, np.uint8),
        line_N=np.empty(longest_bytes + PADDING_BYTES, np.uint8),
        lower_N=np.empty(longest_bytes + 2 * PADDING_BYTES, np.uint8),
    )


@leaf
def _matches(text_N, place, end, phrase):
    """Whether the phrase stands at `place`, within [0, end)."""
    if place < 0 or place + phrase.size > end:
        return False
    same = True
    for j in range(phrase.size):
        same &= text_N[place + j] == phrase[j]
    return same


@leaf
def _has_cookie_phrase(text_N, cookie, end):
    """Whether "cookie" at this place is part of one of the policy phrases."""
    return (
        _matches(text_N, cookie, end, _COOKIE_POLICY)
        or _matches(text_N, cookie - 5, end, _USES_COOKIES)
        or _matches(text_N, cookie - 7, end, _USE_OF_COOKIES)
        or _matches(text_N, cookie - 4, end, _USE_COOKIES)
    )


@leaf
def find_phrases(lower_N, num_bytes, memory):
    """Where the phrases stand in a lower-cased text, ascending by block of 64 bytes; returns their number."""
    num_phrases = 0
    for k in range((num_bytes + 63) >> 6):
        i = 64 * k
        v_a = equal_mask(lower_N, i, 118) & equal_mask(lower_N, i + 1, 97)
        s_or_c = v_a & (equal_mask(lower_N, i + 2, 115) | equal_mask(lower_N, i + 2, 99))
        o_k = equal_mask(lower_N, i, 111) & equal_mask(lower_N, i + 1, 107) & equal_mask(lower_N, i + 2, 105)
        p_s = equal_mask(lower_N, i, 112) & equal_mask(lower_N, i + 1, 115) & equal_mask(lower_N, i + 2, 117)
        f_u = equal_mask(lower_N, i, 102) & equal_mask(lower_N, i + 1, 32) & equal_mask(lower_N, i + 2, 117)
        found = (s_or_c | o_k | p_s | f_u) & low_bits(num_bytes - i)
        while found != uint64(0):
            place = i + int(trailing_zeros(found))
            found &= found - uint64(1)
            kind = 0
            if _matches(lower_N, place - 2, num_bytes, _JAVASCRIPT):
                kind = _HAS_JAVASCRIPT
            elif _matches(lower_N, place - 7, num_bytes, _LOREM):
                kind = _HAS_LOREM
            elif (
                _matches(lower_N, place - 3, num_bytes, _PRIVACY)
                or _matches(lower_N, place - 7, num_bytes, _TERMS)
                or (
                    _matches(lower_N, place - 2, num_bytes, _COOKIE)
                    and _has_cookie_phrase(lower_N, place - 2, num_bytes)
                )
            ):
                kind = _HAS_POLICY
            if kind:
                memory.phrase_places_H[num_phrases] = place
                memory.phrase_kinds_H[num_phrases] = kind
                num_phrases += 1
    return num_phrases


@leaf
def _citation_end(buffer_N, i, end, properties_P):
    """Where what `\\[\\d*]|\\[edit]|\\[citation needed]` matches at the bracket `i` ends; `i` if it does not."""
    j = i + 1
    while j < end and (
        48 <= buffer_N[j] <= 57 or (buffer_N[j] >= 0xC0 and properties_P[code_point(buffer_N, j)] & DIGIT != 0)
    ):
        j += character_bytes(buffer_N[j])
    if j < end and buffer_N[j] == 93:
        return j + 1
    if _matches(buffer_N, i, end, _EDIT):
        return i + _EDIT.size
    if _matches(buffer_N, i, end, _CITATION_NEEDED):
        return i + _CITATION_NEEDED.size
    return i


@leaf
def _has_citation(buffer_N, start, first, last, properties_P, brackets_W):
    """Whether one stands in the span [first, last) of the document that begins at `start`."""
    for k in range(first >> 6, ((last - 1) >> 6) + 1):
        brackets = brackets_W[k] & ~low_bits(first - 64 * k) & low_bits(last - 64 * k)
        while brackets != uint64(0):
            place = start + 64 * k + int(trailing_zeros(brackets))
            brackets &= brackets - uint64(1)
            if _citation_end(buffer_N, place, start + last, properties_P) > place:
                return True
    return False


@leaf
def _remove_citations(buffer_N, start, end, properties_P, line_N):
    """Copy the span without its citations; returns the length of the copy."""
    length = 0
    i = start
    while i < end:
        after = _citation_end(buffer_N, i, end, properties_P) if buffer_N[i] == 91 else i
        if after == i:
            line_N[length] = buffer_N[i]
            length += 1
            after = i + 1
        i = after
    return length


@leaf
def _phrases_of_copy(memory, length):
    """Kinds of the phrases in the line that was copied without citations."""
    text_N = memory.lower_N
    for i in range(length):
        byte = memory.line_N[i]
        text_N[i] = byte + 32 if 65 <= byte <= 90 else byte
    kinds = 0
    for i in range(length):
        first = text_N[i]
        if first == 106 and _matches(text_N, i, length, _JAVASCRIPT):
            kinds |= _HAS_JAVASCRIPT
        elif first == 108 and _matches(text_N, i, length, _LOREM):
            kinds |= _HAS_LOREM
        elif (
            (first == 112 and _matches(text_N, i, length, _PRIVACY))
            or (first == 116 and _matches(text_N, i, length, _TERMS))
            or (first == 99 and _matches(text_N, i, length, _COOKIE) and _has_cookie_phrase(text_N, i, length))
        ):
            kinds |= _HAS_POLICY
    return kinds


@leaf
def _is_space(buffer_N, i, properties_P):
    """Whether the character that begins here is whitespace."""
    return properties_P[code_point(buffer_N, i)] & SPACE != 0


@leaf
def _ends_alone(point, properties_P, has_other_ends):
    """Whether a mark ends a sentence before anything that follows."""
    if point == 0x3002 or point == 0xFF01 or point == 0xFF1F or point == 0xFF61:
        return True
    return has_other_ends and point >= 0x80 and properties_P[point] & TERMINAL != 0


@leaf
def count_sentences(buffer_N, start, end, properties_P, has_other_ends):
    """Sentences of a line, as `SENTENCE_END` splits it, or also other scripts' ends; at least 1."""
    sentences = 0
    after = start  # the last end that was found, or the last run of marks that was none
    last_end = start
    for i in range(start, end, 64):
        marks = equal_mask(buffer_N, i, 46) | equal_mask(buffer_N, i, 33) | equal_mask(buffer_N, i, 63)
        # … 。 ！ ？ ｡ begin with one of these bytes
        marks |= equal_mask(buffer_N, i, 0xE2) | equal_mask(buffer_N, i, 0xE3) | equal_mask(buffer_N, i, 0xEF)
        if has_other_ends:
            marks |= range_mask(buffer_N, i, 0xC0, 0x40)
        marks &= low_bits(end - i)
        while marks != uint64(0):
            place = i + int(trailing_zeros(marks))
            marks &= marks - uint64(1)
            if place < after:
                continue
            point = code_point(buffer_N, place)
            is_wide = _ends_alone(point, properties_P, has_other_ends)
            if not is_wide and point >= 0x80 and point != 0x2026:
                continue
            j = place
            while j < end:
                point = code_point(buffer_N, j)
                if is_wide:
                    if not _ends_alone(point, properties_P, has_other_ends):
                        break
                elif point != 46 and point != 33 and point != 63 and point != 0x2026:
                    break
                j += character_bytes(buffer_N[j])
            while j < end:
                point = code_point(buffer_N, j)
                closes = point == 34 or point == 39 or point == 41 or point == 93
                closes |= point == 0x201D or point == 0x2019 or point == 0xBB
                closes |= is_wide and (point == 0x300D or point == 0x300F or point == 0xFF09)
                if not closes:
                    break
                j += character_bytes(buffer_N[j])
            after = j
            if is_wide or j == end or _is_space(buffer_N, j, properties_P):
                sentences += 1
                last_end = j
    while last_end < end and _is_space(buffer_N, last_end, properties_P):
        last_end += character_bytes(buffer_N[last_end])
    return max(1, sentences + int(last_end < end))


@leaf
def _has_long_word(masks, start, end):
    """Whether a word of the line, between whitespace or cuts, has more characters than C4 allows."""
    word_start = start
    for position in range(start, end + 1):
        if position == end or has_bit(masks.spaces_W, position):
            if characters_between(masks, word_start, position) > LONGEST_WORD_CHARACTERS:
                return True
            word_start = position + 1
        elif has_bit(masks.cuts_W, position):
            if characters_between(masks, word_start, position) > LONGEST_WORD_CHARACTERS:
                return True
            word_start = position
    return False


@inlined_leaf
def judge_line(buffer_N, start, first, last, words, phrases, counts, properties_P, is_published, masks, memory):
    """Count one stripped, not blank line at [first, last) of the document that begins at `buffer_N[start]`.

    `words` are those that whitespace parts in it, `phrases` the kinds found. Adds to `memory.counters_C`.
    """
    counters_C = memory.counters_C
    if counts.has_long_token and _has_long_word(masks, first, last):
        counters_C[LONG_WORD] += 1
        return
    text_N, line_start, line_end = buffer_N, start + first, start + last
    if counts.has_brackets and _has_citation(buffer_N, start, first, last, properties_P, masks.brackets_W):
        line_start, line_end = 0, _remove_citations(buffer_N, line_start, line_end, properties_P, memory.line_N)
        text_N = memory.line_N
        phrases = _phrases_of_copy(memory, line_end)
    is_terminal = False
    if line_end > line_start:
        byte = text_N[line_end - 1]
        is_terminal = byte == 46 or byte == 63 or byte == 33 or byte == 34 or byte == 39
        if byte == 46 and line_end - line_start >= 3:
            is_terminal = text_N[line_end - 2] != 46 or text_N[line_end - 3] != 46
        if byte >= 0x80 and not is_published:
            point = code_point(text_N, character_start(text_N, line_end - 1))
            is_terminal = properties_P[point] & TERMINAL != 0 or point == 0x300D or point == 0x300F  # 」 』
    if not is_terminal:
        counters_C[NO_TERMINAL] += 1
    if words < FEWEST_LINE_WORDS:
        counters_C[FEW_WORDS] += is_terminal
        return
    if phrases & _HAS_LOREM:
        counters_C[LOREM] += is_terminal
        counters_C[ANY_LOREM] += 1
        return
    if phrases & _HAS_JAVASCRIPT:
        counters_C[JAVASCRIPT] += is_terminal
        return
    if counts.has_braces and any_bit(masks.braces_W, first, last):
        counters_C[CURLY] += is_terminal
        counters_C[ANY_CURLY] += 1
        return
    if phrases & _HAS_POLICY:
        counters_C[POLICY] += is_terminal
        return
    if line_end - line_start < last - first or (counts.has_wide_ends and any_bit(masks.wide_ends_W, first, last)):
        is_of_all_scripts = counts.has_other_ends and not is_published
        sentences = count_sentences(text_N, line_start, line_end, properties_P, is_of_all_scripts)
    else:  # those that end within the line, and the last
        sentences = 1 + rank(masks.ends_W, masks.ends_before_W, last) - rank(masks.ends_W, masks.ends_before_W, first)
    counters_C[ANY_SENTENCES] += sentences
    if is_terminal:
        counters_C[SENTENCES] += sentences
