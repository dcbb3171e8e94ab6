"""One pass over a document that leaves bit masks, from which the quality rules are counted.

A text is read in blocks of 64 bytes; each block becomes a few 64-bit masks (a bit a byte) that say where words, spaces
and line ends are. ASCII is classified by vector compares, every other character by one look into the table of
`characters`. Then: a line is what lies between two set bits, its length in characters a difference of two prefix
counts, a blank line one in whose span no token starts. Words are numbered by their edges and hashed 8 bytes at a time.

Words are those of `words`, but for scripts without spaces: there a rule that counts words wants as many as a
translation into English has. Between two letters a word ends where a hash of the two says so, once in as many letters
as make a word (`words.LOGOGRAMS` and its kin). Equal passages are so cut alike wherever they stand, and a word counts
as much for lengths, ratios and n-grams as one of English.

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

from kernels.characters import (
    ALONE,
    BREAK,
    JOINS,
    KATAKANA,
    LETTER,
    OF_ALPHABET,
    OF_SYLLABARY,
    SPACE,
    SYMBOL,
    TERMINAL,
    WORD,
    character_bytes,
    code_point,
    inlined_leaf,
    leaf,
)
from kernels.simd import (
    PADDING_BYTES,
    equal_mask,
    load_u64,
    lower_word_mask,
    mix_multiply,
    popcount,
    range_mask,
    trailing_zeros,
)
from kernels.words import ALPHABET, LOGOGRAMS, SYLLABARY

HASH_SEED = 0x9E3779B97F4A7C15
HASH_TAIL = 0xD1B54A32D192ED03
HASH_LAST = 0xFF51AFD7ED558CCD

# Of 2^32 pairs of letters, those that a word ends between.
CUTS_LOGOGRAMS, CUTS_SYLLABARY, CUTS_ALPHABET = (int(2**32 / letters) for letters in (LOGOGRAMS, SYLLABARY, ALPHABET))

EDGES_AT_ONCE = 8
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
    tokens_W: NDArray[np.uint64]  # first bytes of what whitespace separates, and of words behind a cut
    cuts_W: NDArray[np.uint64]  # first bytes of words that begin where one ends, in scripts without spaces
    tokens_before_W: NDArray[np.int64]  # tokens that start before the block
    newlines_W: NDArray[np.uint64]  # \n
    breaks_W: NDArray[np.uint64]  # first bytes of what ends a line for str.splitlines
    inner_W: NDArray[np.uint64]  # bytes that continue a character
    inner_before_W: NDArray[np.int64]  # such bytes before the block
    letters_W: NDArray[np.uint64]  # letters
    plain_W: NDArray[np.uint64]  # word characters that are no symbols
    ends_W: NDArray[np.uint64]  # ASCII whitespace behind . ! ? and the quotes and brackets that follow them
    ends_before_W: NDArray[np.int64]  # such bytes before the block
    wide_ends_W: NDArray[np.uint64]  # first bytes of other characters that may take part in the end of a sentence
    braces_W: NDArray[np.uint64]  # {
    brackets_W: NDArray[np.uint64]  # [
    edges_E: NDArray[np.int64]  # start, end, start, end... of words
    hashes_M: NDArray[np.uint64]  # of words
    characters_before_M: NDArray[np.int64]  # in the words before this one; one more entry than words


class Counts(NamedTuple):
    """Counts of a document in one pass."""

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
    has_cuts: bool
    has_wide_ends: bool
    has_other_ends: bool  # marks that end sentences in scripts other than Latin and Chinese


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
        cuts_W=mask(),
        tokens_before_W=count(),
        newlines_W=mask(),
        breaks_W=mask(),
        inner_W=mask(),
        inner_before_W=count(),
        letters_W=mask(),
        plain_W=mask(),
        ends_W=mask(),
        ends_before_W=count(),
        wide_ends_W=mask(),
        braces_W=mask(),
        brackets_W=mask(),
        edges_E=np.empty(2 * num_words + EDGES_AT_ONCE, np.int64),
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


@inlined_leaf
def characters_between(masks, start, end):
    """Length of a span in characters."""
    inner = rank(masks.inner_W, masks.inner_before_W, end) - rank(masks.inner_W, masks.inner_before_W, start)
    return end - start - inner


@leaf
def hash_bytes(buffer_N, start, end):
    """64-bit hash of a span; at least one byte."""
    rest = end - start
    mixed = uint64(rest)
    while rest > 16:
        mixed = mix_multiply(
            mixed ^ load_u64(buffer_N, start) ^ uint64(HASH_SEED), load_u64(buffer_N, start + 8) ^ uint64(HASH_TAIL)
        )
        start += 16
        rest -= 16
    head = load_u64(buffer_N, start) & KEEP_FIRST[rest]
    tail = load_u64(buffer_N, start + 8) & KEEP_SECOND[rest]
    return mix_multiply(mixed ^ head ^ uint64(HASH_SEED), tail ^ uint64(HASH_LAST))


@leaf
def scan_document(buffer_N, start, end, properties_P, masks):
    """Fill `masks` from the document at `buffer_N[start:end]`; returns its `Counts`."""
    num_bytes = end - start
    num_blocks = (num_bytes + 63) >> 6
    carried_word = carried_letters = carried_plain = carried_spaces = uint64(0)
    carried_ends = uint64(0)  # of letters that stand apart from what follows
    previous_word = previous_high = uint64(0)
    apart_before = point_before = 0  # of the last wide word character
    previous_space = uint64(1)
    num_inner = num_tokens = num_newlines = num_hashes = num_ellipses = num_edges = 0
    after_dots = num_ends = 0
    previous_mark = carried_run = uint64(0)
    all_braces = all_brackets = all_cuts = all_wide_ends = uint64(0)
    has_other_ends = False
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
        inner = cuts = wide_ends = uint64(0)
        ascii_word = word
        ends, carried_ends = carried_ends, uint64(0)
        if high != uint64(0):
            after_wide = (high << uint64(1)) | previous_high
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
                found = int(properties_P[point])
                if found & (WORD | JOINS):
                    follows = ((word >> uint64(place - 1)) & uint64(1) if place > 0 else previous_word) != uint64(0)
                    if (after_wide >> uint64(place)) & uint64(1) == uint64(0):
                        apart_before = 0
                    if found & WORD:
                        apart = found & (ALONE | KATAKANA)
                        if (
                            follows
                            and (apart | apart_before) != 0
                            and _is_cut(apart_before, point_before, found, point)
                        ):
                            cuts |= uint64(1) << uint64(place)
                        apart_before, point_before = apart, point
                    if found & WORD or follows:
                        word |= bits
                        carried_word |= over
                        if apart_before != 0 and place + length < 64:
                            ends |= uint64(1) << uint64(place + length)
                        elif apart_before != 0:
                            carried_ends |= uint64(1) << uint64(place + length - 64)
                    if found & LETTER:
                        letters |= bits
                        carried_letters |= over
                    if found & (WORD | SYMBOL) == WORD:
                        plain |= bits
                        carried_plain |= over
                elif found & SPACE:
                    spaces |= bits
                    carried_spaces |= over
                    if found & BREAK:
                        breaks |= uint64(1) << uint64(place)
                    wide_ends |= uint64(_may_end(buffer_N, start, i + place)) << uint64(place)
                elif point == 0x2026:
                    num_ellipses += 1
                    wide_ends |= uint64(1) << uint64(place)
                elif found & TERMINAL:
                    has_other_ends |= point < 0x3000 or 0x3003 <= point < 0xFF00 or point > 0xFFFF
                    wide_ends |= uint64(1) << uint64(place)
                elif point == 0x2019 or point == 0x201D or point == 0xBB:
                    wide_ends |= uint64(_may_end(buffer_N, start, i + place)) << uint64(place)

        cuts |= ends & ascii_word
        previous_high = high >> uint64(63)
        masks.cuts_W[k] = cuts
        all_cuts |= cuts
        masks.spaces_W[k] = spaces
        masks.newlines_W[k] = newlines
        masks.breaks_W[k] = breaks
        masks.letters_W[k] = letters
        masks.plain_W[k] = plain
        masks.inner_W[k] = inner
        masks.inner_before_W[k] = num_inner
        num_inner += int(popcount(inner))
        tokens = (~spaces & valid & ((spaces << uint64(1)) | previous_space)) | cuts
        previous_space = spaces >> uint64(63)
        masks.tokens_W[k] = tokens
        masks.tokens_before_W[k] = num_tokens
        num_tokens += int(popcount(tokens))
        blocks_without_space = 0 if spaces | cuts != uint64(0) else blocks_without_space + 1
        has_long_token |= blocks_without_space >= LONG_TOKEN_BLOCKS

        # Quotes and brackets behind a mark: the sum carries a bit over each run of them to the byte behind.
        marks = (equal_mask(buffer_N, i, 46) | equal_mask(buffer_N, i, 33) | equal_mask(buffer_N, i, 63)) & valid
        closing = (equal_mask(buffer_N, i, 34) | equal_mask(buffer_N, i, 39) | equal_mask(buffer_N, i, 41)) & valid
        closing |= equal_mask(buffer_N, i, 93) & valid
        after_marks = (marks << uint64(1)) | previous_mark
        previous_mark = marks >> uint64(63)
        begun = closing + (after_marks & closing)
        after_runs = begun + carried_run
        carried_run = uint64(begun < closing) | uint64(after_runs < begun)
        sentence_ends = (after_marks | after_runs) & ~closing & spaces
        masks.ends_W[k] = sentence_ends
        masks.ends_before_W[k] = num_ends
        num_ends += int(popcount(sentence_ends))
        masks.wide_ends_W[k] = wide_ends
        all_wide_ends |= wide_ends

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
        if cuts != uint64(0):  # one word ends there, another begins
            edges |= cuts
            while edges != uint64(0):
                place = int(trailing_zeros(edges))
                masks.edges_E[num_edges] = masks.edges_E[num_edges + 1] = 64 * k + place
                num_edges += 1 + int((cuts >> uint64(place)) & uint64(1))
                edges &= edges - uint64(1)
        after_edges = num_edges + int(popcount(edges))
        while num_edges < after_edges:  # so many at once that the loop ends after one or two; the next overwrite more
            for j in range(EDGES_AT_ONCE):
                masks.edges_E[num_edges + j] = 64 * k + int(trailing_zeros(edges))
                edges &= edges - uint64(1)
            num_edges += EDGES_AT_ONCE
        num_edges = after_edges

    if num_edges & 1:
        masks.edges_E[num_edges] = num_bytes
        num_edges += 1
    for bits_W in (masks.spaces_W, masks.tokens_W, masks.newlines_W, masks.breaks_W, masks.inner_W, masks.ends_W):
        bits_W[num_blocks] = uint64(0)
    masks.ends_before_W[num_blocks] = num_ends
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
        all_cuts != uint64(0),
        all_wide_ends != uint64(0),
        has_other_ends,
    )


@leaf
def _may_end(buffer_N, start, position):
    """Whether the character before this one can be the end of a sentence, or of quotes and brackets behind one."""
    if position == start:
        return False
    byte = buffer_N[position - 1]
    is_mark = byte == 46 or byte == 33 or byte == 63
    return is_mark or byte >= 0x80 or byte == 34 or byte == 39 or byte == 41 or byte == 93


@leaf
def _is_cut(apart_before, point_before, found, point):
    """Whether a word ends between two neighbouring word characters, of which one at least stands apart."""
    apart = found & (ALONE | KATAKANA)
    if apart != apart_before:
        return True
    if apart & KATAKANA:
        return False
    pairs = CUTS_ALPHABET if found & OF_ALPHABET else CUTS_SYLLABARY if found & OF_SYLLABARY else CUTS_LOGOGRAMS
    return mix_multiply(uint64(point_before) << uint64(21) | uint64(point), uint64(HASH_LAST)) >> uint64(32) < uint64(
        pairs
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


@leaf
def is_in_capitals(buffer_N, start, end):
    """Whether most ASCII letters are."""
    upper = lower = 0
    for i in range(start, end, 64):
        valid = low_bits(end - i)
        upper += int(popcount(range_mask(buffer_N, i, 65, 26) & valid))
        lower += int(popcount(range_mask(buffer_N, i, 97, 26) & valid))
    return upper > lower


@leaf
def count_lower_stop_words(masks, num_words):
    """Different stop words of a scanned document in lower case: THE is one, too."""
    found = uint64(0)
    for m in range(num_words):
        first = masks.edges_E[2 * m]
        length = masks.edges_E[2 * m + 1] - first
        head = load_u64(masks.lower_N, first) & KEEP_FIRST[min(length, 16)]
        slot = head * uint64(STOP_MULTIPLIER) >> uint64(61)
        found |= uint64((STOP_WORDS_8[slot] == head) & (length <= LONGEST_STOP_WORD)) << slot
    return int(popcount(found))
