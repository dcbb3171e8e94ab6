"""One pass over a document that leaves bit masks, from which the quality rules are counted.

A text is read in blocks of 64 bytes; each block becomes a few 64-bit masks (a bit a byte) that say where words, spaces
and line ends are. ASCII is classified by vector compares, every other character by one look into the table of
`characters`. Then: a line is what lies between two set bits, its length in characters a difference of two prefix
counts, a blank line one in whose span no token starts. Words are numbered by their edges and hashed 8 bytes at a time.

Cost: 1 ns a block and mask, 7 ns a word, 4 ns a non-ASCII character; memory of 20 bytes a byte of the longest document,
of which a document touches what its words need.

Shape legend: N bytes of text, W blocks of 64 bytes (and one more), E word edges, M words. Positions count bytes from
the start of the document.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import uint64
from numpy.typing import NDArray

from curation.kernels.characters import BREAK, LETTER, SPACE, SYMBOL, WORD, character_bytes, code_point, leaf
from curation.kernels.simd import (
    PADDING_BYTES,
    equal_mask,
    load_u64,
    lower_word_mask,
    mix_multiply,
    popcount,
    range_mask,
    trailing_zeros,
)

HASH_SEED = 0x9E3779B97F4A7C15
HASH_TAIL = 0xD1B54A32D192ED03
HASH_LAST = 0xFF51AFD7ED558CCD

# As many blocks without a space as a token of more than 1,000 bytes must cover.
LONG_TOKEN_BLOCKS = 14


# Mask of the bytes that a word of 0 to 16 bytes has in its first and in its second 8.
KEEP_FIRST = np.array([(1 << 8 * min(length, 8)) - 1 for length in range(17)], np.uint64)
KEEP_SECOND = np.array([(1 << 8 * max(length - 8, 0)) - 1 for length in range(17)], np.uint64)

# Gopher's stop words as little-endian integers, each in the slot that the top 3 bits of its product point to.
STOP_MULTIPLIER = 0xC42DDDC22F41F7CD
STOP_WORDS_8 = np.zeros(8, np.uint64)
for _word in (b"the", b"be", b"to", b"of", b"and", b"that", b"have", b"with"):
    _number = int.from_bytes(_word, "little")
    STOP_WORDS_8[(_number * STOP_MULTIPLIER & (1 << 64) - 1) >> 61] = _number
LONGEST_STOP_WORD = 4


class Masks(NamedTuple):
    """Working memory of one thread, large enough for the longest document of a batch."""

    lower_N: NDArray[np.uint8]  # the text, ASCII letters lower-cased
    spaces_W: NDArray[np.uint64]  # whitespace
    tokens_W: NDArray[np.uint64]  # first bytes of what whitespace separates
    tokens_before_W: NDArray[np.int64]  # tokens that start before the block
    newlines_W: NDArray[np.uint64]  # \n
    breaks_W: NDArray[np.uint64]  # first bytes of what ends a line for str.splitlines
    inner_W: NDArray[np.uint64]  # bytes that continue a character
    inner_before_W: NDArray[np.int64]  # such bytes before the block
    letters_W: NDArray[np.uint64]  # letters
    plain_W: NDArray[np.uint64]  # word characters that are no symbols
    braces_W: NDArray[np.uint64]  # {
    brackets_W: NDArray[np.uint64]  # [
    edges_E: NDArray[np.int64]  # start, end, start, end... of words
    hashes_M: NDArray[np.uint64]  # of words
    characters_before_M: NDArray[np.int64]  # in the words before this one; one more entry than words


class Counts(NamedTuple):
    """What the pass counts in a document."""

    num_characters: int
    num_newlines: int
    num_hashes: int  # of the sign #
    num_ellipses: int  # "..." (not overlapping) and "…"
    num_words: int
    num_plain_words: int  # with a character that is no symbol
    num_plain_characters: int  # in those
    num_letter_words: int  # with a letter
    num_stop_words: int  # different ones
    has_braces: bool
    has_brackets: bool
    has_long_token: bool  # maybe: only the lines can tell


def allocate_masks(longest_bytes: int) -> Masks:
    """Memory for documents of up to `longest_bytes`; pages that no document needs are never touched."""
    num_blocks = longest_bytes // 64 + 2
    num_words = longest_bytes // 2 + 2

    def mask() -> NDArray[np.uint64]:
        return np.empty(num_blocks, np.uint64)

    def count() -> NDArray[np.int64]:
        return np.empty(num_blocks, np.int64)

    return Masks(
        lower_N=np.empty(64 * num_blocks + PADDING_BYTES, np.uint8),
        spaces_W=mask(),
        tokens_W=mask(),
        tokens_before_W=count(),
        newlines_W=mask(),
        breaks_W=mask(),
        inner_W=mask(),
        inner_before_W=count(),
        letters_W=mask(),
        plain_W=mask(),
        braces_W=mask(),
        brackets_W=mask(),
        edges_E=np.empty(2 * num_words, np.int64),
        hashes_M=np.empty(num_words, np.uint64),
        characters_before_M=np.empty(num_words + 1, np.int64),
    )


def read_only(buffer_N: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same bytes as the one type that kernels are compiled for: numba tells writable arrays from others."""
    view = buffer_N.view()
    view.flags.writeable = False
    return view


@leaf
def low_bits(count):
    """Mask of the lowest `count` bits; all of them from 64 on, none below 1."""
    if count >= 64:
        return ~uint64(0)
    if count <= 0:
        return uint64(0)
    return (uint64(1) << uint64(count)) - uint64(1)


@leaf
def has_bit(bits_W, position):
    """Whether the bit of this byte is set."""
    return (bits_W[position >> 6] >> uint64(position & 63)) & uint64(1) != uint64(0)


@leaf
def rank(bits_W, before_W, position):
    """Number of set bits before `position`."""
    block = position >> 6
    return before_W[block] + int(popcount(bits_W[block] & low_bits(position & 63)))


@leaf
def any_bit(bits_W, start, end):
    """Whether any byte of the span has its bit set."""
    if end <= start:
        return False
    first, last = start >> 6, (end - 1) >> 6
    from_start = ~low_bits(start & 63)
    to_end = low_bits(((end - 1) & 63) + 1)
    if first == last:
        return bits_W[first] & from_start & to_end != uint64(0)
    if bits_W[first] & from_start != uint64(0):
        return True
    for block in range(first + 1, last):
        if bits_W[block] != uint64(0):
            return True
    return bits_W[last] & to_end != uint64(0)


@leaf
def characters_between(masks, start, end):
    """Length of a span in characters."""
    inner = rank(masks.inner_W, masks.inner_before_W, end) - rank(masks.inner_W, masks.inner_before_W, start)
    return end - start - inner


@leaf
def hash_bytes(buffer_N, start, end):
    """64-bit hash of a span; at least one byte."""
    rest = end - start
    mixed = uint64(rest)
    while rest > 8:
        mixed = mix_multiply(mixed ^ load_u64(buffer_N, start), uint64(HASH_SEED))
        start += 8
        rest -= 8
    tail = load_u64(buffer_N, start) << uint64(64 - 8 * rest)
    return mix_multiply(mixed ^ tail ^ uint64(HASH_TAIL), uint64(HASH_LAST))


@leaf
def scan_document(buffer_N, start, end, properties_P, masks):
    """Fill `masks` from the document at `buffer_N[start:end]`; returns its `Counts`."""
    num_bytes = end - start
    num_blocks = (num_bytes + 63) >> 6
    carried_word = carried_letters = carried_plain = carried_spaces = uint64(0)
    previous_word = uint64(0)
    previous_space = uint64(1)
    num_inner = num_tokens = num_newlines = num_hashes = num_ellipses = num_edges = 0
    after_dots = 0
    all_braces = all_brackets = uint64(0)
    blocks_without_space = 0
    has_long_token = False
    for k in range(num_blocks):
        i = start + 64 * k
        valid = low_bits(num_bytes - 64 * k)
        word = lower_word_mask(buffer_N, i, masks.lower_N, 64 * k) & valid
        letters = range_mask(masks.lower_N, 64 * k, 97, 26) & valid
        plain = word & ~equal_mask(buffer_N, i, 95)
        newlines = equal_mask(buffer_N, i, 10) & valid
        breaks = (range_mask(buffer_N, i, 10, 4) | range_mask(buffer_N, i, 28, 3)) & valid
        spaces = (range_mask(buffer_N, i, 9, 5) | range_mask(buffer_N, i, 28, 5)) & valid
        high = range_mask(buffer_N, i, 128, 128) & valid
        inner = uint64(0)
        if high != uint64(0):
            inner = high & range_mask(buffer_N, i, 0x80, 0x40)
            word |= carried_word
            letters |= carried_letters
            plain |= carried_plain
            spaces |= carried_spaces
            carried_word = carried_letters = carried_plain = carried_spaces = uint64(0)
            leads = high & ~inner
            while leads != uint64(0):
                place = int(trailing_zeros(leads))
                leads &= leads - uint64(1)
                length = character_bytes(buffer_N[i + place])
                point = code_point(buffer_N, i + place)
                bits = low_bits(length) << uint64(place)
                over = low_bits(place + length - 64)
                found = properties_P[point]
                if found & WORD:
                    word |= bits
                    carried_word |= over
                    if found & LETTER:
                        letters |= bits
                        carried_letters |= over
                    if not found & SYMBOL:
                        plain |= bits
                        carried_plain |= over
                elif found & SPACE:
                    spaces |= bits
                    carried_spaces |= over
                    if found & BREAK:
                        breaks |= uint64(1) << uint64(place)
                elif point == 0x2026:
                    num_ellipses += 1

        masks.spaces_W[k] = spaces
        masks.newlines_W[k] = newlines
        masks.breaks_W[k] = breaks
        masks.letters_W[k] = letters
        masks.plain_W[k] = plain
        masks.inner_W[k] = inner
        masks.inner_before_W[k] = num_inner
        num_inner += int(popcount(inner))
        tokens = ~spaces & valid & ((spaces << uint64(1)) | previous_space)
        previous_space = spaces >> uint64(63)
        masks.tokens_W[k] = tokens
        masks.tokens_before_W[k] = num_tokens
        num_tokens += int(popcount(tokens))
        blocks_without_space = 0 if spaces != uint64(0) else blocks_without_space + 1
        has_long_token |= blocks_without_space >= LONG_TOKEN_BLOCKS

        num_newlines += int(popcount(newlines))
        num_hashes += int(popcount(equal_mask(buffer_N, i, 35) & valid))
        braces = equal_mask(buffer_N, i, 123) & valid
        brackets = equal_mask(buffer_N, i, 91) & valid
        masks.braces_W[k] = braces
        masks.brackets_W[k] = brackets
        all_braces |= braces
        all_brackets |= brackets

        dots = equal_mask(buffer_N, i, 46) & equal_mask(buffer_N, i + 1, 46) & low_bits(num_bytes - 64 * k - 2)
        if dots != uint64(0):
            dots &= equal_mask(buffer_N, i + 2, 46)
            while dots != uint64(0):
                position = 64 * k + int(trailing_zeros(dots))
                dots &= dots - uint64(1)
                if position >= after_dots:
                    num_ellipses += 1
                    after_dots = position + 3

        edges = word ^ ((word << uint64(1)) | previous_word)
        previous_word = word >> uint64(63)
        while edges != uint64(0):
            masks.edges_E[num_edges] = 64 * k + int(trailing_zeros(edges))
            num_edges += 1
            edges &= edges - uint64(1)

    if num_edges & 1:
        masks.edges_E[num_edges] = num_bytes
        num_edges += 1
    for bits_W in (masks.spaces_W, masks.tokens_W, masks.newlines_W, masks.breaks_W, masks.inner_W):
        bits_W[num_blocks] = uint64(0)
    masks.inner_before_W[num_blocks] = num_inner
    masks.tokens_before_W[num_blocks] = num_tokens
    num_plain, plain_characters, num_letter_words, num_stop_words = _hash_words(
        buffer_N, start, num_edges >> 1, num_inner > 0, masks
    )
    return Counts(
        num_bytes - num_inner,
        num_newlines,
        num_hashes,
        num_ellipses,
        num_edges >> 1,
        num_plain,
        plain_characters,
        num_letter_words,
        num_stop_words,
        all_braces != uint64(0),
        all_brackets != uint64(0),
        has_long_token,
    )


@leaf
def _hash_words(buffer_N, start, num_words, is_wide, masks):
    """Hash and measure each word: (plain words, characters in them, words with a letter, different stop words)."""
    num_plain = plain_characters = num_letter_words = characters = 0
    stop_words = uint64(0)
    for m in range(num_words):
        first, last = masks.edges_E[2 * m], masks.edges_E[2 * m + 1]
        length = last - first
        kept = min(length, 16)
        head = load_u64(buffer_N, start + first) & KEEP_FIRST[kept]
        mixed = mix_multiply(
            head ^ uint64(HASH_SEED), load_u64(buffer_N, start + first + 8) & KEEP_SECOND[kept] ^ uint64(HASH_TAIL)
        )
        if length > 16:
            mixed ^= hash_bytes(buffer_N, start + first + 16, start + last)
        masks.hashes_M[m] = mixed
        slot = head * uint64(STOP_MULTIPLIER) >> uint64(61)
        is_stop_word = (STOP_WORDS_8[slot] == head) & (length <= LONGEST_STOP_WORD)
        stop_words |= uint64(is_stop_word) << slot
        width = characters_between(masks, first, last) if is_wide else length
        masks.characters_before_M[m] = characters
        characters += width
        if has_bit(masks.letters_W, first):  # nearly every word begins with a letter
            num_letter_words += 1
            num_plain += 1
            plain_characters += width
        else:
            num_letter_words += any_bit(masks.letters_W, first, last)
            if any_bit(masks.plain_W, first, last):
                num_plain += 1
                plain_characters += width
    masks.characters_before_M[num_words] = characters
    return num_plain, plain_characters, num_letter_words, int(popcount(stop_words))
