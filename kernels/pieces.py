r"""Pieces: where a tokenizer's splitting expression would cut a text, without a regex engine.

Byte-level tokenizers cut a text into pieces before they merge anything, with a regular expression of seven or eight
alternatives. Here each family of expressions is an automaton over a table of character classes, one byte a code
point. The table is asked from the regex engine of the reference tokenizer (`packing.bpe`), so both agree on every
code point for any Unicode version of the engine. Backtracking is done by hand: where the expression would give
back characters, the automaton has remembered how many. Cost: ~7 ns a byte, ~35 ns a piece.
"""

# mypy: disable-error-code="call-overload"

from numba import int64, njit

# Character classes, one bit each, so that a set of classes is a mask.
UPPER = 1  # \p{Lu} \p{Lt}
LOWER = 2  # \p{Ll}
LETTER = 4  # \p{Lm} \p{Lo}: letters without case
MARK = 8  # \p{M}
NUMBER = 16  # \p{N}
SPACE = 32  # \s but for the line ends
NEWLINE = 64  # \r \n
OTHER = 128  # all else
ALPHABETIC = UPPER | LOWER | LETTER
WHITE = SPACE | NEWLINE

# Families of splitting expressions; `packing.bpe` holds the expressions themselves.
CASED = 0  # Tekken, o200k: words split where case changes, marks belong to words
UNCASED = 1  # cl100k, Llama 3, Qwen 2: a word is a run of letters, one other character may lead it
GPT2 = 2  # GPT-2: only a space may lead a word, a number or a run of signs

kernel = njit(cache=True, nogil=True, boundscheck=False)
# Functions that allocate nothing are compiled without reference counts: numba would else count the arrays that they
# are handed, atomically, at every call, which takes four fifths of the time of a piece.
leaf = njit(cache=True, nogil=True, boundscheck=False, _nrt=False)
inlined = njit(cache=True, nogil=True, boundscheck=False, _nrt=False, inline="always")


@inlined
def character(buffer_N, i, classes):
    """(class, width in bytes) of the character that starts at byte `i` of valid UTF-8."""
    c = int64(buffer_N[i])
    if c < 0x80:
        return int(classes[c]), 1
    if c < 0xE0:
        return int(classes[(c & 31) << 6 | (buffer_N[i + 1] & 63)]), 2
    if c < 0xF0:
        return int(classes[(c & 15) << 12 | (int64(buffer_N[i + 1]) & 63) << 6 | (buffer_N[i + 2] & 63)]), 3
    point = (c & 7) << 18 | (int64(buffer_N[i + 1]) & 63) << 12 | (int64(buffer_N[i + 2]) & 63) << 6
    return int(classes[point | (buffer_N[i + 3] & 63)]), 4


@leaf
def run_end(buffer_N, i, end, classes, mask):
    """First byte at or after `i` whose character is in none of the classes of `mask`."""
    while i < end:
        kind, width = character(buffer_N, i, classes)
        if not kind & mask:
            break
        i += width
    return i


@leaf
def cased_word(buffer_N, i, end, classes):
    """Ends of `[U]*[L]+` and of `[U]+` from `i`, where U and L share uncased letters and marks; -1 = no match.

    The first is greedy with backtracking: where no lower-case letter follows the run of U, the expression gives
    back what it took until it can end on a letter or a mark that is in both classes.
    """
    start = i
    shared_end = -1
    while i < end:
        kind, width = character(buffer_N, i, classes)
        if not kind & (UPPER | LETTER | MARK):
            if kind & LOWER:
                stop = run_end(buffer_N, i + width, end, classes, LOWER | LETTER | MARK)
                return stop, stop
            break
        i += width
        if kind & (LETTER | MARK):
            shared_end = i
    return shared_end, i if i > start else -1


@leaf
def contraction_end(buffer_N, i, end, any_case):
    """End of `'s 't 're 've 'm 'll 'd` at `i`, or `i`. Without case, the long s (U+017F) is an s as well."""
    if i + 1 >= end or buffer_N[i] != 39:
        return i
    fold = 0x20 if any_case else 0
    first = buffer_N[i + 1] | fold
    if first == 115 or first == 116 or first == 109 or first == 100:  # s t m d
        return i + 2
    if i + 2 < end:
        second = buffer_N[i + 2] | fold
        if (first == 108 and second == 108) or ((first == 114 or first == 118) and second == 101):  # ll, re, ve
            return i + 3
        if any_case and buffer_N[i + 1] == 0xC5 and buffer_N[i + 2] == 0xBF:
            return i + 3
    return i


@leaf
def white_end(buffer_N, i, end, classes, newlines, to_the_end):
    r"""End of `\s*[\r\n]+|\s+(?!\S)|\s+` at white space `i`.

    `newlines` false leaves the first alternative out; `to_the_end` true puts `\s+$` before it.
    """
    start = i
    last = i
    newline_end = -1
    while i < end:
        kind, width = character(buffer_N, i, classes)
        if not kind & WHITE:
            break
        last = i
        i += width
        if kind & NEWLINE:
            newline_end = i
    if to_the_end and i == end:
        return i
    if newlines and newline_end > 0:
        return newline_end
    if i == end or last == start:
        return i
    return last


@leaf
def cased_piece(buffer_N, i, end, classes, contractions, num_digits):
    """End of the piece at `i`: Tekken and o200k."""
    kind, width = character(buffer_N, i, classes)
    after = i + width
    stop = -1
    if kind & ALPHABETIC:
        stop, upper_end = cased_word(buffer_N, i, end, classes)
        if stop < 0:
            stop = upper_end
    elif kind & (SPACE | MARK | OTHER):
        stop, upper_end = cased_word(buffer_N, after, end, classes)
        if stop < 0:
            # A mark is a word of its own before it is the sign that leads an upper-case one.
            stop = after if kind & MARK else upper_end
    if stop > 0:
        return contraction_end(buffer_N, stop, end, True) if contractions else stop
    if kind & NUMBER:
        for _ in range(num_digits - 1):
            if after < end:
                kind, width = character(buffer_N, after, classes)
                if kind & NUMBER:
                    after += width
        return after
    if buffer_N[i] == 32 and after < end and character(buffer_N, after, classes)[0] & (MARK | OTHER):
        kind = OTHER
    if kind & OTHER:
        after = run_end(buffer_N, after, end, classes, MARK | OTHER)
        while after < end and (buffer_N[after] == 10 or buffer_N[after] == 13 or buffer_N[after] == 47):
            after += 1
        return after
    return white_end(buffer_N, i, end, classes, True, False)


@leaf
def uncased_piece(buffer_N, i, end, classes, num_digits, to_the_end):
    """End of the piece at `i`: cl100k, Llama 3, Qwen 2."""
    kind, width = character(buffer_N, i, classes)
    after = i + width
    if kind & ALPHABETIC:
        return run_end(buffer_N, after, end, classes, ALPHABETIC)
    stop = contraction_end(buffer_N, i, end, True)
    if stop > i:
        return stop
    if kind & (SPACE | MARK | OTHER):
        stop = run_end(buffer_N, after, end, classes, ALPHABETIC)
        if stop > after:
            return stop
    if kind & NUMBER:
        for _ in range(num_digits - 1):
            if after < end:
                kind, width = character(buffer_N, after, classes)
                if kind & NUMBER:
                    after += width
        return after
    if buffer_N[i] == 32 and after < end and character(buffer_N, after, classes)[0] & (MARK | OTHER):
        kind = OTHER
    if kind & (MARK | OTHER):
        after = run_end(buffer_N, after, end, classes, MARK | OTHER)
        while after < end and (buffer_N[after] == 10 or buffer_N[after] == 13):
            after += 1
        return after
    return white_end(buffer_N, i, end, classes, True, to_the_end)


@leaf
def gpt2_piece(buffer_N, i, end, classes):
    """End of the piece at `i`: GPT-2."""
    stop = contraction_end(buffer_N, i, end, False)
    if stop > i:
        return stop
    kind, width = character(buffer_N, i, classes)
    if buffer_N[i] == 32 and i + 1 < end:
        next_kind, next_width = character(buffer_N, i + 1, classes)
        if not next_kind & WHITE:
            kind = next_kind
            width = next_width + 1
    if kind & WHITE:
        return white_end(buffer_N, i, end, classes, False, False)
    mask = NUMBER if kind & NUMBER else ALPHABETIC if kind & ALPHABETIC else MARK | OTHER
    return run_end(buffer_N, i + width, end, classes, mask)


@leaf
def piece_end(buffer_N, i, end, classes, pattern):
    """End of the piece that starts at byte `i`; `pattern` = (family, contractions, num_digits, to_the_end)."""
    if pattern[0] == CASED:
        return cased_piece(buffer_N, i, end, classes, pattern[1] != 0, pattern[2])
    if pattern[0] == UNCASED:
        return uncased_piece(buffer_N, i, end, classes, pattern[2], pattern[3] != 0)
    return gpt2_piece(buffer_N, i, end, classes)
