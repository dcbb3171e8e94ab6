"""All values of the quality rules, for every document of a batch: one scan, then lines, paragraphs and n-grams.

The order of the values is that of `curation.quality.rules.TEXT_RULES`. Ratios with nothing to divide by are 0.

Cost: 23 us for 3.5 KB of technical prose; linear in the bytes of a document whatever they are.

Shape legend: B documents, N bytes of text, R rules.
"""

from __future__ import annotations

import numpy as np
from numba import uint64
from numpy.typing import NDArray

from kernels.c4 import NUM_COUNTERS, allocate_c4, find_phrases, judge_line
from kernels.characters import character_bytes, character_properties, leaf
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

NUM_VALUES = 39


def measure_documents(
    buffer_N: NDArray[np.uint8], starts_B: NDArray[np.int64], ends_B: NDArray[np.int64], *, published: bool = False
) -> NDArray[np.float64]:
    """Values of the rules on text, (B, R) float64. The buffer is valid UTF-8 with 64 bytes of padding.

    `published`: words are what `\\w+` matches and lines what newlines part, as datatrove reads the papers.
    """
    values_BR = np.empty((len(starts_B), NUM_VALUES), np.float64)
    longest_bytes = int((ends_B - starts_B).max(initial=0))
    _measure_documents(
        read_only(buffer_N),
        starts_B,
        ends_B,
        character_properties(published),
        published,
        allocate_masks(longest_bytes),
        allocate_hash_set(longest_bytes),
        allocate_ngrams(longest_bytes),
        allocate_c4(longest_bytes),
        values_BR,
    )
    return values_BR


@leaf
def _measure_documents(
    buffer_N, starts_B, ends_B, properties_P, is_published, masks, line_set_T, ngrams, c4_memory, values_BR
):
    memory = (masks, line_set_T, ngrams, c4_memory)
    for b in range(len(starts_B)):
        _measure_document(buffer_N, starts_B[b], ends_B[b], properties_P, is_published, memory, values_BR[b])


@leaf
def _ratio(part, whole):
    return part / whole if whole > 0 else 0.0


@leaf
def _measure_document(buffer_N, start, end, properties_P, is_published, memory, values_R):
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

    # Gopher quality
    values_R[0] = counts.num_plain_words
    values_R[1] = counts.num_plain_words
    values_R[2] = _ratio(counts.num_plain_characters, counts.num_plain_words)
    values_R[3] = values_R[2]
    values_R[4] = _ratio(counts.num_hashes, counts.num_words)
    values_R[5] = _ratio(counts.num_ellipses, counts.num_words)
    values_R[6] = _ratio(bullet_lines, num_lines)
    values_R[7] = _ratio(ellipsis_lines, num_lines)
    values_R[8] = _ratio(counts.num_letter_words, counts.num_words)
    values_R[9] = counts.num_stop_words
    if not is_published and counts.num_stop_words < 2 and is_in_capitals(buffer_N, start, end):
        values_R[9] = count_lower_stop_words(masks, counts.num_words)

    # Gopher repetition
    values_R[10] = _ratio(duplicate_paragraphs, paragraphs)
    values_R[11] = _ratio(paragraph_characters, counts.num_characters)
    values_R[12] = _ratio(lines.num_duplicate_pieces, lines.num_pieces)
    values_R[13] = _ratio(lines.num_duplicate_characters, counts.num_characters)
    measure_ngrams(
        masks.hashes_M, masks.characters_before_M, counts.num_words, ngrams, values_R[14:17], values_R[17:23]
    )
    for r in range(14, 23):
        values_R[r] = _ratio(values_R[r], counts.num_characters)

    # C4, as published; as FineWeb runs it; lines dropped
    for c in range(NUM_COUNTERS):
        values_R[23 + c] = c4_memory.counters_C[c]

    # FineWeb
    values_R[34] = lines.num_lines
    values_R[35] = _ratio(lines.num_terminal_lines, lines.num_lines)
    values_R[36] = _ratio(lines.num_short_lines, lines.num_lines)
    values_R[37] = _ratio(lines.num_duplicate_line_characters, counts.num_characters - counts.num_newlines)
    values_R[38] = _ratio(counts.num_newlines, counts.num_words)


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
                tokens_before = tokens
                first, last = stripped(masks, line_start, line_end)
                bullet_lines += starts_with_bullet(buffer_N, start + first, start + last)
                ellipsis_lines += ends_in_ellipsis(buffer_N, start + first, start + last)
                phrases = 0
                while next_phrase < num_phrases and c4_memory.phrase_places_H[next_phrase] < last:
                    phrases |= int(c4_memory.phrase_kinds_H[next_phrase])
                    next_phrase += 1
                judge_line(buffer_N, start, first, last, phrases, counts, properties_P, is_published, masks, c4_memory)
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
