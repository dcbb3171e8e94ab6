"""All values that the quality rules limit, for every document: one scan, then lines, paragraphs and n-grams.

`Value` names the columns; a rule names its value, so that the order of the rules is free. Ratios with nothing to divide
by are 0.

Cost: 23 us for 3.5 KB of technical prose; linear in the bytes of any document.

Shape legend: B documents, N bytes of text, V values, R rules.
"""

from __future__ import annotations

from enum import IntEnum, auto

import numpy as np
from numba import uint64
from numpy.typing import NDArray

from kernels import c4
from kernels.c4 import allocate_c4, find_phrases, judge_line
from kernels.characters import character_bytes, character_properties, leaf
from kernels.columns import Texts
from kernels.lines import (
    allocate_hash_set,
    ends_in_ellipsis,
    measure_lines,
    measure_paragraphs,
    starts_with_bullet,
    stripped,
)
from kernels.repetition import allocate_ngrams, measure_ngrams
from kernels.simd import trailing_zeros
from kernels.text_masks import (
    allocate_masks,
    count_lower_stop_words,
    is_in_capitals,
    rank,
    read_only,
    scan_document,
)


class Value(IntEnum):
    """Columns of the measured values: counts where the name is a plural, else what the comment says."""

    # Gopher quality
    WORDS = 0  # that are not only symbols
    MEAN_WORD_CHARACTERS = auto()
    HASH_SIGNS = auto()  # a word
    ELLIPSES = auto()  # a word
    BULLET_LINES = auto()  # share of the lines
    ELLIPSIS_LINES = auto()  # share of the lines
    WORDS_WITH_LETTERS = auto()  # share of the words
    STOP_WORDS = auto()  # different ones

    # Gopher repetition: shares of the paragraphs, of the lines, or of the characters of the text
    DUPLICATE_PARAGRAPHS = auto()
    DUPLICATE_PARAGRAPH_CHARACTERS = auto()
    DUPLICATE_LINES = auto()
    DUPLICATE_LINE_CHARACTERS = auto()
    TOP_2_GRAM = auto()
    TOP_3_GRAM = auto()
    TOP_4_GRAM = auto()
    DUPLICATE_5_GRAMS = auto()
    DUPLICATE_6_GRAMS = auto()
    DUPLICATE_7_GRAMS = auto()
    DUPLICATE_8_GRAMS = auto()
    DUPLICATE_9_GRAMS = auto()
    DUPLICATE_10_GRAMS = auto()

    # C4 as published; without its rule on terminal punctuation; lines dropped as published, by the first reason
    C4_LOREM_IPSUM_LINES = auto()
    C4_CURLY_BRACKET_LINES = auto()
    C4_SENTENCES = auto()
    C4_ANY_LOREM_IPSUM_LINES = auto()
    C4_ANY_CURLY_BRACKET_LINES = auto()
    C4_ANY_SENTENCES = auto()
    C4_LONG_WORD_LINES = auto()
    C4_UNTERMINATED_LINES = auto()
    C4_FEW_WORD_LINES = auto()
    C4_JAVASCRIPT_LINES = auto()
    C4_POLICY_LINES = auto()

    # FineWeb
    FILLED_LINES = auto()
    TERMINAL_LINES = auto()  # share of the filled lines
    SHORT_LINES = auto()  # share of the filled lines
    DUPLICATE_FILLED_LINE_CHARACTERS = auto()  # share of the characters but for newlines
    NEWLINES = auto()  # a word


def measure_documents(texts: Texts, *, published: bool = False) -> NDArray[np.float64]:
    """Every `Value` of each document, (B, V) float64.

    `published`: words are what `\\w+` matches and lines what newlines part, as datatrove reads the papers.
    """
    values_BV = np.full((len(texts), len(Value)), np.nan)  # so that a value that is never written is seen
    longest_bytes = int(texts.num_bytes().max(initial=0))
    _measure_documents(
        read_only(texts.buffer_N),
        texts.starts_B,
        texts.ends_B,
        character_properties(published),
        published,
        allocate_masks(longest_bytes),
        allocate_hash_set(longest_bytes),
        allocate_ngrams(longest_bytes),
        allocate_c4(longest_bytes),
        values_BV,
    )
    return values_BV


@leaf
def _measure_documents(
    buffer_N, starts_B, ends_B, properties_P, is_published, masks, line_set_T, ngrams, c4_memory, values_BV
):
    memory = (masks, line_set_T, ngrams, c4_memory)
    for b in range(len(starts_B)):
        _measure_document(buffer_N, starts_B[b], ends_B[b], properties_P, is_published, memory, values_BV[b])


@leaf
def _ratio(part, whole):
    return part / whole if whole > 0 else 0.0


@leaf
def _measure_document(buffer_N, start, end, properties_P, is_published, memory, values_V):
    masks, line_set_T, ngrams, c4_memory = memory
    num_bytes = end - start
    counts = scan_document(buffer_N, start, end, properties_P, masks)
    num_lines, bullet_lines, ellipsis_lines = _split_lines(
        buffer_N, start, num_bytes, counts, properties_P, is_published, masks, c4_memory
    )
    lines = measure_lines(buffer_N, start, num_bytes, counts, properties_P, masks, line_set_T, is_published)
    paragraphs, duplicate_paragraphs, paragraph_characters = measure_paragraphs(
        buffer_N, start, num_bytes, counts.num_newlines, masks, line_set_T, is_published
    )
    measure_ngrams(masks.hashes_M, masks.characters_before_M, counts.num_words, ngrams)

    values_V[Value.WORDS] = counts.num_plain_words
    values_V[Value.MEAN_WORD_CHARACTERS] = _ratio(counts.num_plain_characters, counts.num_plain_words)
    values_V[Value.HASH_SIGNS] = _ratio(counts.num_hashes, counts.num_words)
    values_V[Value.ELLIPSES] = _ratio(counts.num_ellipses, counts.num_words)
    values_V[Value.BULLET_LINES] = _ratio(bullet_lines, num_lines)
    values_V[Value.ELLIPSIS_LINES] = _ratio(ellipsis_lines, num_lines)
    values_V[Value.WORDS_WITH_LETTERS] = _ratio(counts.num_letter_words, counts.num_words)
    values_V[Value.STOP_WORDS] = counts.num_stop_words
    if not is_published and counts.num_stop_words < 2 and is_in_capitals(buffer_N, start, end):
        values_V[Value.STOP_WORDS] = count_lower_stop_words(masks, counts.num_words)
    values_V[Value.DUPLICATE_PARAGRAPHS] = _ratio(duplicate_paragraphs, paragraphs)
    values_V[Value.DUPLICATE_PARAGRAPH_CHARACTERS] = _ratio(paragraph_characters, counts.num_characters)
    values_V[Value.DUPLICATE_LINES] = _ratio(lines.num_duplicate_pieces, lines.num_pieces)
    values_V[Value.DUPLICATE_LINE_CHARACTERS] = _ratio(lines.num_duplicate_characters, counts.num_characters)
    _write_ngrams(ngrams.characters_G, counts.num_characters, values_V)
    _write_c4(c4_memory.counters_C, values_V)
    values_V[Value.FILLED_LINES] = lines.num_lines
    values_V[Value.TERMINAL_LINES] = _ratio(lines.num_terminal_lines, lines.num_lines)
    values_V[Value.SHORT_LINES] = _ratio(lines.num_short_lines, lines.num_lines)
    values_V[Value.DUPLICATE_FILLED_LINE_CHARACTERS] = _ratio(
        lines.num_duplicate_line_characters, counts.num_characters - counts.num_newlines
    )
    values_V[Value.NEWLINES] = _ratio(counts.num_newlines, counts.num_words)


@leaf
def _write_ngrams(characters_G, num_characters, values_V):
    values_V[Value.TOP_2_GRAM] = _ratio(characters_G[2], num_characters)
    values_V[Value.TOP_3_GRAM] = _ratio(characters_G[3], num_characters)
    values_V[Value.TOP_4_GRAM] = _ratio(characters_G[4], num_characters)
    values_V[Value.DUPLICATE_5_GRAMS] = _ratio(characters_G[5], num_characters)
    values_V[Value.DUPLICATE_6_GRAMS] = _ratio(characters_G[6], num_characters)
    values_V[Value.DUPLICATE_7_GRAMS] = _ratio(characters_G[7], num_characters)
    values_V[Value.DUPLICATE_8_GRAMS] = _ratio(characters_G[8], num_characters)
    values_V[Value.DUPLICATE_9_GRAMS] = _ratio(characters_G[9], num_characters)
    values_V[Value.DUPLICATE_10_GRAMS] = _ratio(characters_G[10], num_characters)


@leaf
def _write_c4(counters_C, values_V):
    values_V[Value.C4_LOREM_IPSUM_LINES] = counters_C[c4.LOREM]
    values_V[Value.C4_CURLY_BRACKET_LINES] = counters_C[c4.CURLY]
    values_V[Value.C4_SENTENCES] = counters_C[c4.SENTENCES]
    values_V[Value.C4_ANY_LOREM_IPSUM_LINES] = counters_C[c4.ANY_LOREM]
    values_V[Value.C4_ANY_CURLY_BRACKET_LINES] = counters_C[c4.ANY_CURLY]
    values_V[Value.C4_ANY_SENTENCES] = counters_C[c4.ANY_SENTENCES]
    values_V[Value.C4_LONG_WORD_LINES] = counters_C[c4.LONG_WORD]
    values_V[Value.C4_UNTERMINATED_LINES] = counters_C[c4.NO_TERMINAL]
    values_V[Value.C4_FEW_WORD_LINES] = counters_C[c4.FEW_WORDS]
    values_V[Value.C4_JAVASCRIPT_LINES] = counters_C[c4.JAVASCRIPT]
    values_V[Value.C4_POLICY_LINES] = counters_C[c4.POLICY]


@leaf
def _split_lines(buffer_N, start, num_bytes, counts, properties_P, is_published, masks, c4_memory):
    """Walk the lines of `str.splitlines`: (lines, with a bullet, with an ellipsis); C4 counts go to its memory."""
    c4_memory.counters_C[:] = 0
    num_phrases = find_phrases(masks.lower_N, num_bytes, c4_memory)
    next_phrase = 0
    num_lines = bullet_lines = ellipsis_lines = 0
    line_start = tokens_before = 0
    num_blocks = (num_bytes + 63) >> 6
    for k in range(num_blocks + 1):
        breaks = masks.breaks_W[k]
        while breaks != uint64(0) or k == num_blocks:
            line_end = num_bytes
            if k < num_blocks:
                line_end = 64 * k + int(trailing_zeros(breaks))
                breaks &= breaks - uint64(1)
                if line_end < line_start:  # the \n of \r\n
                    continue
            elif line_start >= num_bytes:  # nothing after the last break
                break
            num_lines += 1
            tokens = rank(masks.tokens_W, masks.tokens_before_W, line_end)
            if tokens > tokens_before:
                words = tokens - tokens_before
                tokens_before = tokens
                first, last = stripped(masks, line_start, line_end)
                bullet_lines += starts_with_bullet(buffer_N, start + first, start + last)
                ellipsis_lines += ends_in_ellipsis(buffer_N, start + first, start + last)
                phrases = 0
                while next_phrase < num_phrases and c4_memory.phrase_places_H[next_phrase] < last:
                    phrases |= int(c4_memory.phrase_kinds_H[next_phrase])
                    next_phrase += 1
                judge_line(
                    buffer_N, start, first, last, words, phrases, counts, properties_P, is_published, masks, c4_memory
                )
            if k == num_blocks:
                break
            line_start = line_end + character_bytes(buffer_N[start + line_end])
            if buffer_N[start + line_end] == 13 and line_start < num_bytes and buffer_N[start + line_start] == 10:
                line_start += 1
    return num_lines, bullet_lines, ellipsis_lines


@leaf
def weigh_values(values_BR, thresholds_R, fails_above_R, applies_BR, failed_BR, scores_B):
    """Hold values against thresholds: which fail, and the mean clipped margin of the rules that apply, in [0, 1]."""
    for b in range(values_BR.shape[0]):
        total, applied = 0.0, 0
        for r in range(values_BR.shape[1]):
            value, threshold = values_BR[b, r], thresholds_R[r]
            distance = threshold - value if fails_above_R[r] else value - threshold
            failed_BR[b, r] = distance < 0
            if np.isinf(threshold) or not applies_BR[b, r]:
                continue
            if threshold == 0:
                margin = -1.0 if distance < 0 else 1.0
            else:
                margin = min(1.0, max(-1.0, distance / abs(threshold)))
            total += margin
            applied += 1
        scores_B[b] = 0.5 + 0.5 * total / applied if applied else 0.5
