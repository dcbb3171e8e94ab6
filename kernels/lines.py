"""Lines and paragraphs: which repeat, how they begin and end.

Three filters cut a text in three ways, and all three cuts are kept as they are:
pieces of Gopher's repetition rules lie between runs of `\\n`, paragraphs between runs of two or more of the stripped
text; FineWeb's lines lie between single `\\n` and are not blank; lines of Gopher quality and C4 are those of
`str.splitlines`. A piece or paragraph without a word (blanks, rules, brackets) is none for the rules on repetition, and
a line of blanks parts paragraphs; as `published`, only what is empty does, and the rest counts. Repeats are found in an
open-addressing set of 64-bit hashes.

Cost: one hash of the text a cut (0.15 ns a byte) and 15 ns a line; linear in bytes and line ends.

Shape legend: N bytes of text, T slots of a hash table (a power of two).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import uint64
from numpy.typing import NDArray

from kernels.characters import TERMINAL, character_start, code_point, inlined_leaf, leaf
from kernels.simd import trailing_zeros
from kernels.text_masks import any_bit, characters_between, has_bit, hash_bytes, rank

SHORT_LINE_CHARACTERS = 30
# A word of English and the space behind it. A line in a script without spaces is as long as its words would be.
WORD_CHARACTERS = 6


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
def measure_lines(buffer_N, start, num_bytes, counts, properties_P, masks, table_T, is_published):
    """`LineCounts` of a scanned document."""
    slot_mask = _cleared(table_T, counts.num_newlines + 1)
    # Splitting at runs leaves an empty piece before a leading and after a trailing newline, the second a copy.
    leading = num_bytes > 0 and buffer_N[start] == 10
    trailing = num_bytes > 0 and buffer_N[start + num_bytes - 1] == 10
    pieces = int(leading) + int(trailing) + int(num_bytes == 0) if is_published else 0
    duplicates = int(leading and trailing and is_published)
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
                num_tokens = tokens - tokens_before
                tokens_before = tokens
                characters = characters_between(masks, line_start, line_end)
                if num_tokens > 0:
                    lines += 1
                    length = characters
                    if counts.has_cuts and any_bit(masks.cuts_W, line_start, line_end):
                        length = max(length, WORD_CHARACTERS * num_tokens)
                    short += length <= SHORT_LINE_CHARACTERS
                    terminal += ends_in_terminal(buffer_N, start + line_end, properties_P)
                if is_published or has_bit(masks.plain_W, line_start) or any_bit(masks.plain_W, line_start, line_end):
                    pieces += 1
                    if _seen_before(table_T, slot_mask, hash_bytes(buffer_N, start + line_start, start + line_end)):
                        duplicates += 1
                        duplicate_characters += characters
                        if num_tokens > 0:
                            duplicate_line_characters += characters
            line_start = line_end + 1
            if k == num_blocks:
                break
    return LineCounts(pieces, duplicates, duplicate_characters, lines, terminal, short, duplicate_line_characters)


@leaf
def measure_paragraphs(buffer_N, start, num_bytes, num_newlines, masks, table_T, is_published):
    """Of a scanned document: (paragraphs, those equal to an earlier one, characters in those)."""
    first, last = stripped(masks, 0, num_bytes)
    slot_mask = _cleared(table_T, num_newlines + 1)
    paragraphs = duplicates = duplicate_characters = 0
    paragraph_start = paragraph_end = -1  # of the lines since the last gap
    line_start = first
    last_block = last >> 6
    for k in range(first >> 6, last_block + 1):
        newlines = masks.newlines_W[k]
        while newlines != uint64(0) or k == last_block:
            line_end = last
            if newlines != uint64(0):
                line_end = 64 * k + int(trailing_zeros(newlines))
                newlines &= newlines - uint64(1)
                if line_end < first:
                    continue
                line_end = min(line_end, last)
            is_gap = line_end == line_start
            if not is_published and not is_gap and has_bit(masks.spaces_W, line_start):
                is_gap = not any_bit(masks.tokens_W, line_start, line_end)
            if not is_gap:
                if paragraph_start < 0:
                    paragraph_start = line_start
                paragraph_end = line_end
            if paragraph_start >= 0 and (is_gap or line_end == last):
                if is_published or any_bit(masks.plain_W, paragraph_start, paragraph_end):
                    paragraphs += 1
                    # One that is alone repeats nothing: a text without gaps is not hashed.
                    if (paragraphs > 1 or line_end < last) and _seen_before(
                        table_T, slot_mask, hash_bytes(buffer_N, start + paragraph_start, start + paragraph_end)
                    ):
                        duplicates += 1
                        duplicate_characters += characters_between(masks, paragraph_start, paragraph_end)
                paragraph_start = -1
            line_start = line_end + 1
            if line_end == last:
                break
    return max(paragraphs, int(is_published)), duplicates, duplicate_characters


@inlined_leaf
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
