"""Lines and paragraphs: which repeat, how they begin and end.

Three filters cut a text in three ways, and all three cuts are kept as they are:
pieces of Gopher's repetition rules lie between runs of `\\n`, paragraphs between runs of two or more of the stripped
text; FineWeb's lines lie between single `\\n` and are not blank; lines of Gopher quality and C4 are those of
`str.splitlines`. Repeats are found in an open-addressing set of 64-bit hashes.

Cost: one hash of the text a cut (0.15 ns a byte) and 15 ns a line; linear in bytes and line ends.

Shape legend: N bytes of text, T slots of a hash table (a power of two).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import uint64
from numpy.typing import NDArray

from curation.kernels.characters import TERMINAL, character_start, code_point, leaf
from curation.kernels.simd import trailing_zeros
from curation.kernels.text_masks import characters_between, has_bit, hash_bytes, rank

SHORT_LINE_CHARACTERS = 30


class LineCounts(NamedTuple):
    """Pieces between runs of `\\n` (Gopher), and lines that are not blank (FineWeb)."""

    num_pieces: int
    num_duplicate_pieces: int  # equal to an earlier piece
    num_duplicate_characters: int  # in those
    num_lines: int
    num_terminal_lines: int  # end in terminal punctuation
    num_short_lines: int
    num_duplicate_line_characters: int  # in lines equal to an earlier line


def allocate_hash_set(longest_bytes: int) -> NDArray[np.uint64]:
    """A set for the lines of documents of up to `longest_bytes`."""
    num_slots = 64
    while num_slots < 2 * (longest_bytes + 2):
        num_slots *= 2
    return np.empty(num_slots, np.uint64)


@leaf
def _cleared(table_T, num_entries):
    """Empty as much of the set as `num_entries` fill to at most a half; returns the mask of its slot numbers."""
    num_slots = 16
    while num_slots < 2 * num_entries:
        num_slots *= 2
    table_T[:num_slots] = uint64(0)
    return uint64(num_slots - 1)


@leaf
def _seen_before(table_T, slot_mask, mixed):
    """Add a hash to the set; whether it was there."""
    mixed |= uint64(1)  # 0 is an empty slot
    slot = (mixed >> uint64(24)) & slot_mask
    while table_T[slot] != uint64(0):
        if table_T[slot] == mixed:
            return True
        slot = (slot + uint64(1)) & slot_mask
    table_T[slot] = mixed
    return False


@leaf
def ends_in_terminal(buffer_N, end, properties_P):
    """Whether the last character before `end` is terminal punctuation."""
    last = buffer_N[end - 1]
    if last < 0x80:
        return last == 46 or last == 63 or last == 33
    return properties_P[code_point(buffer_N, character_start(buffer_N, end - 1))] & TERMINAL != 0


@leaf
def measure_lines(buffer_N, start, num_bytes, num_newlines, properties_P, masks, table_T):
    """`LineCounts` of a scanned document."""
    slot_mask = _cleared(table_T, num_newlines + 1)
    # Splitting at runs leaves an empty piece before a leading and after a trailing newline, the second a copy.
    leading = num_bytes > 0 and buffer_N[start] == 10
    trailing = num_bytes > 0 and buffer_N[start + num_bytes - 1] == 10
    pieces = int(leading) + int(trailing) + int(num_bytes == 0)
    duplicates = int(leading and trailing)
    duplicate_characters = lines = terminal = short = duplicate_line_characters = 0
    line_start = tokens_before = 0
    num_blocks = (num_bytes + 63) >> 6
    for k in range(num_blocks + 1):
        newlines = masks.newlines_W[k]
        while newlines != uint64(0) or k == num_blocks:
            line_end = num_bytes
            if k < num_blocks:
                line_end = 64 * k + int(trailing_zeros(newlines))
                newlines &= newlines - uint64(1)
            if line_end > line_start:
                tokens = rank(masks.tokens_W, masks.tokens_before_W, line_end)
                is_blank = tokens == tokens_before
                tokens_before = tokens
                characters = characters_between(masks, line_start, line_end)
                pieces += 1
                if not is_blank:
                    lines += 1
                    short += characters <= SHORT_LINE_CHARACTERS
                    terminal += ends_in_terminal(buffer_N, start + line_end, properties_P)
                if _seen_before(table_T, slot_mask, hash_bytes(buffer_N, start + line_start, start + line_end)):
                    duplicates += 1
                    duplicate_characters += characters
                    if not is_blank:
                        duplicate_line_characters += characters
            line_start = line_end + 1
            if k == num_blocks:
                break
    return LineCounts(pieces, duplicates, duplicate_characters, lines, terminal, short, duplicate_line_characters)


@leaf
def measure_paragraphs(buffer_N, start, num_bytes, num_newlines, masks, table_T):
    """Of a scanned document: (paragraphs, those equal to an earlier one, characters in those)."""
    first, last = stripped(masks, 0, num_bytes)
    slot_mask = _cleared(table_T, num_newlines // 2 + 1)
    paragraphs = duplicates = duplicate_characters = 0
    paragraph_start = first
    run_start = run_end = -1  # of newlines
    for k in range(first >> 6, (last + 63) >> 6):
        newlines = masks.newlines_W[k]
        while newlines != uint64(0):
            position = 64 * k + int(trailing_zeros(newlines))
            newlines &= newlines - uint64(1)
            if position < first or position >= last:
                continue
            if position != run_end:
                run_start = position
            run_end = position + 1
            # A run ends where the text goes on; the stripped text never ends in one.
            if run_end - run_start >= 2 and buffer_N[start + run_end] != 10:
                paragraphs += 1
                if _seen_before(table_T, slot_mask, hash_bytes(buffer_N, start + paragraph_start, start + run_start)):
                    duplicates += 1
                    duplicate_characters += characters_between(masks, paragraph_start, run_start)
                paragraph_start = run_end
    paragraphs += 1
    if paragraphs > 1 and _seen_before(table_T, slot_mask, hash_bytes(buffer_N, start + paragraph_start, start + last)):
        duplicates += 1
        duplicate_characters += characters_between(masks, paragraph_start, last)
    return paragraphs, duplicates, duplicate_characters


@leaf
def stripped(masks, start, end):
    """The span without the whitespace at its ends."""
    while start < end and has_bit(masks.spaces_W, start):
        start += 1
    while end > start and has_bit(masks.spaces_W, end - 1):
        end -= 1
    return start, end


@leaf
def starts_with_bullet(buffer_N, start, end):
    """Whether a stripped line begins with `-` or `•`."""
    if buffer_N[start] == 45:
        return True
    return end - start >= 3 and buffer_N[start] == 0xE2 and buffer_N[start + 1] == 0x80 and buffer_N[start + 2] == 0xA2


@leaf
def ends_in_ellipsis(buffer_N, start, end):
    """Whether a stripped line ends with `...` or `…`."""
    if end - start < 3:
        return False
    third, second, last = buffer_N[end - 3], buffer_N[end - 2], buffer_N[end - 1]
    return (third == 46 and second == 46 and last == 46) or (third == 0xE2 and second == 0x80 and last == 0xA6)
