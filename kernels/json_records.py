"""JSON records: one object a line to the bytes of a few of its strings, unescaped, without an object in between.

A line is read in one pass. A string is copied 64 bytes at a time up to the next byte that means something: a quote, a
backslash or a control. Members without a name of ours are passed over, but checked as strictly, so that a line is
taken here only if it is JSON. Everything rare is left to an exact decoder: a line that is no object or no UTF-8, a name
of ours that comes twice or holds another kind of value, a key with an escape, half a surrogate pair, deep nesting.

Cost: 1.5 us a record of 4 KB, linear in its bytes.
"""

import numpy as np
from numba import int64, njit, uint8, uint64

from kernels.simd import copy_to_mark, equal_mask, range_mask, trailing_zeros

ABSENT, STRING, INTEGER, NUMBER = 0, 1, 2, 3  # kinds of a value; the last of all numbers that are no plain integers
SLACK_BYTES = 64  # room that the output needs beyond the input, because blocks are stored whole
MAX_DEPTH = 63
MAX_DIGITS = 18  # of an integer
NOT_READ = -1

QUOTE, BACKSLASH, COMMA, COLON = 0x22, 0x5C, 0x2C, 0x3A
OBJECT, OBJECT_END, ARRAY, ARRAY_END = 0x7B, 0x7D, 0x5B, 0x5D
ZERO, MINUS, PLUS, POINT, LETTER_U = 0x30, 0x2D, 0x2B, 0x2E, 0x75

# The byte that stands for each after a backslash; 0 for those that stand for none.
ESCAPES = np.zeros(256, np.uint8)
for _letter, _byte in zip('"\\/bfnrt', '"\\/\b\f\n\r\t', strict=True):
    ESCAPES[ord(_letter)] = ord(_byte)


@njit(cache=True, nogil=True, boundscheck=False)
def is_utf8(buffer_N, i, end):
    """Whether these bytes are UTF-8, as Python reads it: nothing too long, no surrogates."""
    while i < end:
        mask = range_mask(buffer_N, i, 0x80, 0x80)
        if mask == uint64(0):
            i += 64
            continue
        i += int64(trailing_zeros(mask))
        while i < end and buffer_N[i] >= 0x80:
            lead = buffer_N[i]
            low, high = 0x80, 0xBF  # of the second byte
            if 0xC2 <= lead <= 0xDF:
                width = 2
            elif 0xE0 <= lead <= 0xEF:
                width = 3
                low = 0xA0 if lead == 0xE0 else 0x80
                high = 0x9F if lead == 0xED else 0xBF
            elif 0xF0 <= lead <= 0xF4:
                width = 4
                low = 0x90 if lead == 0xF0 else 0x80
                high = 0x8F if lead == 0xF4 else 0xBF
            else:
                return False
            if i + width > end or not low <= buffer_N[i + 1] <= high:
                return False
            for k in range(2, width):
                if buffer_N[i + k] & 0xC0 != 0x80:
                    return False
            i += width
    return True


@njit(inline="always")
def _past_space(buffer_N, i, end):
    while i < end and (buffer_N[i] == 32 or buffer_N[i] == 9 or buffer_N[i] == 10 or buffer_N[i] == 13):
        i += 1
    return i


@njit(cache=True, nogil=True, boundscheck=False)
def _hex_4(buffer_N, i, end):
    """The number in four hexadecimal digits, or NOT_READ."""
    if i + 4 > end:
        return NOT_READ
    code = 0
    for k in range(i, i + 4):
        byte = int64(buffer_N[k])
        if 0x30 <= byte <= 0x39:
            digit = byte - 0x30
        elif 0x41 <= byte <= 0x46 or 0x61 <= byte <= 0x66:
            digit = (byte & 0xDF) - 0x37
        else:
            return NOT_READ
        code = code * 16 + digit
    return code


@njit(cache=True, nogil=True, boundscheck=False)
def _code_point(buffer_N, i, end):
    """The character of a `\\u` whose digits begin at `i`, and where it ends; (NOT_READ, i) for half a pair."""
    code = _hex_4(buffer_N, i, end)
    i += 4
    if code < 0xD800 or code > 0xDFFF:
        return code, i
    if code > 0xDBFF or i + 6 > end or buffer_N[i] != BACKSLASH or buffer_N[i + 1] != LETTER_U:
        return NOT_READ, i
    low = _hex_4(buffer_N, i + 2, end)
    if low < 0xDC00 or low > 0xDFFF:
        return NOT_READ, i
    return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00), i + 6


@njit(cache=True, nogil=True, boundscheck=False)
def _put_character(code, out_N, at):
    """Write one character as UTF-8; where it ends."""
    if code < 0x80:
        out_N[at] = uint8(code)
        return at + 1
    width = 2 if code < 0x800 else 3 if code < 0x10000 else 4
    for k in range(width - 1, 0, -1):
        out_N[at + k] = uint8(0x80 | (code & 0x3F))
        code >>= 6
    out_N[at] = uint8((0xF00 >> width) & 0xFF | code)
    return at + width


@njit(cache=True, nogil=True, boundscheck=False)
def _copy_string(buffer_N, i, end, out_N, at):
    """Unescape the string whose first byte is at `i`: (one past its closing quote or NOT_READ, its end in `out_N`).

    The marks of a block are found once. Behind an escape the rest of the block is copied again, one byte or more to
    the left of where it was.
    """
    while i < end:
        block_end = i + 64
        marks = copy_to_mark(buffer_N, i, out_N, at)
        while marks != uint64(0):
            mark = block_end - 64 + int64(trailing_zeros(marks))
            at += mark - i
            if mark >= end or buffer_N[mark] < 32:
                return NOT_READ, at
            if buffer_N[mark] == QUOTE:
                return mark + 1, at
            if mark + 1 >= end:
                return NOT_READ, at
            letter = buffer_N[mark + 1]
            i = mark + 2
            if letter == LETTER_U:
                code, i = _code_point(buffer_N, i, end)
                if code == NOT_READ:
                    return NOT_READ, at
                at = _put_character(code, out_N, at)
            elif ESCAPES[letter] == 0:
                return NOT_READ, at
            else:
                out_N[at] = ESCAPES[letter]
                at += 1
            if i >= block_end:
                break
            marks &= ~uint64(0) << uint64(i + 64 - block_end)
            copy_to_mark(buffer_N, i, out_N, at)
        if i < block_end:
            at += block_end - i
            i = block_end
    return NOT_READ, at


@njit(cache=True, nogil=True, boundscheck=False)
def _skip_string(buffer_N, i, end):
    """One past the closing quote of the string whose first byte is at `i`, or NOT_READ."""
    while i < end:
        marks = equal_mask(buffer_N, i, QUOTE) | equal_mask(buffer_N, i, BACKSLASH) | range_mask(buffer_N, i, 0, 32)
        if marks == uint64(0):
            i += 64
            continue
        i += int64(trailing_zeros(marks))
        if i >= end:
            break
        if buffer_N[i] == QUOTE:
            return i + 1
        if buffer_N[i] != BACKSLASH or i + 1 >= end:
            break
        letter = buffer_N[i + 1]
        i += 2
        if letter == LETTER_U:
            code, i = _code_point(buffer_N, i, end)
            if code == NOT_READ:
                break
        elif ESCAPES[letter] == 0:
            break
    return NOT_READ


@njit(cache=True, nogil=True, boundscheck=False)
def _past_digits(buffer_N, i, end):
    while i < end and ZERO <= buffer_N[i] <= ZERO + 9:
        i += 1
    return i


@njit(cache=True, nogil=True, boundscheck=False)
def _skip_number(buffer_N, i, end):
    """One past a number, or NOT_READ."""
    if i < end and buffer_N[i] == MINUS:
        i += 1
    first = i
    i = _past_digits(buffer_N, i, end)
    if i == first or (buffer_N[first] == ZERO and i > first + 1):
        return NOT_READ
    if i < end and buffer_N[i] == POINT:
        first = i + 1
        i = _past_digits(buffer_N, first, end)
        if i == first:
            return NOT_READ
    if i < end and buffer_N[i] | 0x20 == 0x65:
        first = i + 1
        if first < end and (buffer_N[first] == PLUS or buffer_N[first] == MINUS):
            first += 1
        i = _past_digits(buffer_N, first, end)
        if i == first:
            return NOT_READ
    return i


@njit(cache=True, nogil=True, boundscheck=False)
def _skip_word(buffer_N, i, end):
    """One past `true`, `false` or `null`, or NOT_READ."""
    for word in (b"true", b"false", b"null"):
        if i + len(word) <= end:
            k = 0
            while k < len(word) and buffer_N[i + k] == word[k]:
                k += 1
            if k == len(word):
                return i + k
    return NOT_READ


@njit(cache=True, nogil=True, boundscheck=False)
def _skip_simple(buffer_N, i, end):
    """One past a value that is no container, or NOT_READ."""
    byte = buffer_N[i]
    if byte == QUOTE:
        return _skip_string(buffer_N, i + 1, end)
    if byte == MINUS or ZERO <= byte <= ZERO + 9:
        return _skip_number(buffer_N, i, end)
    return _skip_word(buffer_N, i, end)


@njit(cache=True, nogil=True, boundscheck=False)
def _skip_key(buffer_N, i, end):
    """From where a key is to begin to where its value does, or NOT_READ."""
    if i >= end or buffer_N[i] != QUOTE:
        return NOT_READ
    i = _skip_string(buffer_N, i + 1, end)
    if i == NOT_READ:
        return NOT_READ
    i = _past_space(buffer_N, i, end)
    if i >= end or buffer_N[i] != COLON:
        return NOT_READ
    return _past_space(buffer_N, i + 1, end)


@njit(cache=True, nogil=True, boundscheck=False)
def _skip_value(buffer_N, i, end):
    """One past any value, or NOT_READ."""
    depth, in_object = 0, uint64(0)  # a bit a level, the innermost lowest
    while i != NOT_READ and i < end:
        byte = buffer_N[i]
        if byte in (OBJECT, ARRAY):
            i = _past_space(buffer_N, i + 1, end)
            if i >= end or depth == MAX_DEPTH:
                return NOT_READ
            if buffer_N[i] != byte + 2:  # the bracket that closes it
                in_object = (in_object << uint64(1)) | uint64(byte == OBJECT)
                depth += 1
                if byte == OBJECT:
                    i = _skip_key(buffer_N, i, end)
                continue
            i += 1
        else:
            i = _skip_simple(buffer_N, i, end)
        # A value has ended: containers may end with it, or the next begins.
        while i != NOT_READ:
            if depth == 0:
                return i
            i = _past_space(buffer_N, i, end)
            if i >= end:
                return NOT_READ
            is_member = in_object & uint64(1)
            if buffer_N[i] == COMMA:
                i = _past_space(buffer_N, i + 1, end)
                if is_member:
                    i = _skip_key(buffer_N, i, end)
                break
            if buffer_N[i] != (OBJECT_END if is_member else ARRAY_END):
                return NOT_READ
            in_object >>= uint64(1)
            depth -= 1
            i += 1
    return NOT_READ


@njit(cache=True, nogil=True, boundscheck=False)
def _field_of(buffer_N, first, last, names_N, bounds_F1):
    """Which of the names a key is, or NOT_READ."""
    for f in range(len(bounds_F1) - 1):
        start = bounds_F1[f]
        size = bounds_F1[f + 1] - start
        if size == last - first and size:
            k = 0
            while k < size and names_N[start + k] == buffer_N[first + k]:
                k += 1
            if k == size:
                return f
    return NOT_READ


@njit(cache=True, nogil=True, boundscheck=False)
def _take_value(buffer_N, i, end, out_N, at, span_2, kind_1):
    """Read the value of a field: (one past it or NOT_READ, its end in `out_N`)."""
    byte = buffer_N[i]
    span_2[0] = at
    if byte == QUOTE:
        i, at = _copy_string(buffer_N, i + 1, end, out_N, at)
        kind_1[0] = STRING
    elif byte == MINUS or ZERO <= byte <= ZERO + 9:
        first, i = i, _skip_number(buffer_N, i, end)
        kind_1[0] = INTEGER if i - first <= MAX_DIGITS else NUMBER
        for k in range(first, i):
            if not ZERO <= buffer_N[k] <= ZERO + 9:
                kind_1[0] = NUMBER
            out_N[at] = buffer_N[k]
            at += 1
    else:
        i = _skip_word(buffer_N, i, end) if byte == 0x6E else NOT_READ  # null
    span_2[1] = at
    return i, at


@njit(cache=True, nogil=True, boundscheck=False)
def _read_record(buffer_N, i, end, names_N, bounds_F1, out_N, at, spans_F2, kinds_F):
    """Read one line: its end in `out_N`, or NOT_READ."""
    i = _past_space(buffer_N, i, end)
    if i >= end or buffer_N[i] != OBJECT or not is_utf8(buffer_N, i, end):
        return NOT_READ
    seen = uint64(0)
    i = _past_space(buffer_N, i + 1, end)
    while True:
        if i >= end or buffer_N[i] != QUOTE:
            return NOT_READ
        first, i = i + 1, _skip_string(buffer_N, i + 1, end)
        if i == NOT_READ:
            return NOT_READ
        last = i - 1
        for k in range(first, last):
            if buffer_N[k] == BACKSLASH:
                return NOT_READ
        i = _past_space(buffer_N, i, end)
        if i >= end or buffer_N[i] != COLON:
            return NOT_READ
        i = _past_space(buffer_N, i + 1, end)
        if i >= end:
            return NOT_READ
        f = _field_of(buffer_N, first, last, names_N, bounds_F1)
        if f == NOT_READ:
            i = _skip_value(buffer_N, i, end)
        else:
            if seen >> uint64(f) & uint64(1):
                return NOT_READ
            seen |= uint64(1) << uint64(f)
            i, at = _take_value(buffer_N, i, end, out_N, at, spans_F2[f], kinds_F[f : f + 1])
        if i == NOT_READ:
            return NOT_READ
        i = _past_space(buffer_N, i, end)
        if i >= end:
            return NOT_READ
        if buffer_N[i] == OBJECT_END:
            return at if _past_space(buffer_N, i + 1, end) >= end else NOT_READ
        if buffer_N[i] != COMMA:
            return NOT_READ
        i = _past_space(buffer_N, i + 1, end)


@njit(cache=True, nogil=True, boundscheck=False)
def read_records(buffer_N, bounds_B1, names_N, bounds_F1, out_N, spans_BF2, kinds_BF):
    """Read B lines, one behind the other, into `out_N`: field f of line b is out_N[slice(*spans_BF2[b, f])].

    A field without a name is never found. `kinds_BF` says what is there; a line that is left to an exact decoder has
    nothing. Returns the bytes written.
    """
    at = int64(0)
    for b in range(len(bounds_B1) - 1):
        kinds_BF[b] = ABSENT
        spans_BF2[b] = at
        end = _read_record(
            buffer_N, bounds_B1[b], bounds_B1[b + 1], names_N, bounds_F1, out_N, at, spans_BF2[b], kinds_BF[b]
        )
        if end == NOT_READ:
            kinds_BF[b] = ABSENT
            spans_BF2[b] = at
        else:
            at = end
    return at
