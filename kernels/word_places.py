"""Places of words: which bytes of a text each of its words takes.

`kernels.words` finds words in a folded copy of the text, where they lie elsewhere. Here the text itself is walked, a
character a step, by the same rules: the number of words is the same. A mark, or a character that only lays text out,
belongs to the word before it.

Cost: 2 ns a byte of ASCII, 5 ns a character else; only texts of which a part is wanted are walked.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uint64
from numpy.typing import NDArray

from kernels.columns import Texts
from kernels.words import (
    END_OF_TAGS,
    IS_ALONE,
    IS_KATAKANA,
    IS_MARK,
    LENGTH_SHIFT,
    NOTHING,
    NUM_CODE_POINTS,
    SPACE,
    TAGS,
    code_point_table,
    is_word_byte,
)


def word_places(texts: Texts, b: int) -> NDArray[np.int64]:
    """First byte and one past the last of each word of one text, counted from its beginning, (words, 2)."""
    start, end = int(texts.starts_B[b]), int(texts.ends_B[b])
    # A character of three bytes may fold to a word, a space and a word.
    places_W2 = np.empty((end - start + 2, 2), np.int64)
    num_words = walk_words(texts.buffer_N, start, end, code_point_table(), places_W2)
    return places_W2[:num_words]


@njit(cache=True, nogil=True, boundscheck=False)
def walk_words(buffer_N, start, end, table, places_W2):
    """Fill the places of the words of `buffer_N[start:end]`; their number."""
    num_words, in_word, kind_before, at = 0, False, uint64(0), start
    while at < end:
        lead, first = int(buffer_N[at]), at
        if lead < 0x80:
            at += 1
            is_part = is_word_byte(lead | 0x20) if 65 <= lead <= 90 else is_word_byte(lead)
            if is_part:
                if not in_word or kind_before != uint64(0):
                    places_W2[num_words, 0] = first - start
                    num_words += 1
                places_W2[num_words - 1, 1] = at - start
            in_word, kind_before = is_part, uint64(0)
            continue
        if lead < 0xE0:
            code = (lead & 0x1F) << 6 | (buffer_N[at + 1] & 0x3F)
            at += 2
        elif lead < 0xF0:
            code = (lead & 0x0F) << 12 | (buffer_N[at + 1] & 0x3F) << 6 | (buffer_N[at + 2] & 0x3F)
            at += 3
        else:
            code = (lead & 0x07) << 18 | (buffer_N[at + 1] & 0x3F) << 12
            code |= (buffer_N[at + 2] & 0x3F) << 6 | (buffer_N[at + 3] & 0x3F)
            at += 4
        entry = uint64(NOTHING) if TAGS <= code < END_OF_TAGS else uint64(SPACE)
        if code < NUM_CODE_POINTS:
            entry = table[code]
        length = np.int64((entry >> uint64(LENGTH_SHIFT)) & uint64(7))
        if length == 0 or entry & uint64(IS_MARK) != uint64(0):
            if in_word:
                places_W2[num_words - 1, 1] = at - start
            continue
        kind = entry & uint64(IS_ALONE | IS_KATAKANA)
        if kind != kind_before or kind == uint64(IS_ALONE):
            in_word = False
        for byte in range(length):
            is_part = is_word_byte((entry >> uint64(8 * byte)) & uint64(255))
            if is_part:
                if not in_word:
                    places_W2[num_words, 0] = first - start
                    num_words += 1
                places_W2[num_words - 1, 1] = at - start
            in_word = is_part
        kind_before = kind
    return num_words
