"""Shapes of personal data and secrets: what begins or stands at a place, and where it ends. See `kernels.pii`.

Each function takes a place, scans what lies around it, and moves on from there no further than the thing may be long;
e-mail addresses, which have no length, never look at a byte for two `@`s on the same side.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.characters import leaf

MAX_PHONE_DIGITS = 17  # 15 of E.164, and a trunk prefix in brackets
ALNUM, LOCAL, DIGIT, HEX, OF_TOKEN, UPPER = 1, 2, 4, 8, 16, 32
TOKEN_PREFIXES = (
    *("AKIA", "ASIA", "ABIA", "ACCA", "aws_secret", "AWS_SECRET", "awsSecret", "AwsSecret"),
    *("SecretAccessKey", "secretAccessKey", "secret_access_key", "SECRET_ACCESS_KEY"),
    *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-"),
    *("xoxa-", "xoxb-", "xoxe-", "xoxp-", "xoxr-", "xoxs-", "xapp-"),
    *("AIza", "GOCSPX-", "eyJ", "sk_live_", "sk_test_", "rk_live_", "rk_test_", "sk-"),
    *("hf_", "npm_", "pypi-AgEI", "dop_v1_", "AGE-SECRET-KEY-1"),
)


def _classes() -> NDArray[np.uint8]:
    classes = np.zeros(256, np.uint8)
    digits, upper, lower = b"0123456789", bytes(range(65, 91)), bytes(range(97, 123))
    for characters, bit in (
        (digits + upper + lower, ALNUM),
        (digits + upper + lower + b"!#$%&'*+/=?^_`{|}~-", LOCAL),
        (digits, DIGIT),
        (digits + b"abcdefABCDEF", HEX),
        (digits + upper + lower + b"_-", OF_TOKEN),
        (upper, UPPER),
    ):
        classes[list(characters)] |= np.uint8(bit)
    return classes


CLASSES = _classes()
_PREFIXES = np.zeros((len(TOKEN_PREFIXES), 20), np.uint8)  # length, and the bytes
for _row, _prefix in enumerate(TOKEN_PREFIXES):
    _PREFIXES[_row, 0] = len(_prefix)
    _PREFIXES[_row, 1 : 1 + len(_prefix)] = list(_prefix.encode())
MAY_BEGIN = np.zeros(256, np.bool_)  # a token with this byte
MAY_BEGIN[_PREFIXES[:, 1]] = True


@njit(inline="always")
def has_class(buffer_N, i, bits):
    return CLASSES[buffer_N[i]] & bits != 0


@njit(inline="always")
def is_word_byte(byte):
    """One of `[A-Za-z0-9_]`. A letter beyond ASCII is none: in many scripts nothing stands between it and a number."""
    return byte == 95 or CLASSES[byte] & ALNUM != 0


@leaf
def _local_part(buffer_N, at, floor):
    """Where the local part before an `@` begins, not before `floor`; `at` if there is none."""
    first = at
    while first > floor:
        before = buffer_N[first - 1]
        if before == 46:
            if first == at or buffer_N[first] == 46:
                break
        elif CLASSES[before] & LOCAL == 0:
            break
        first -= 1
    return first


@leaf
def email_span(buffer_N, at, begin, floor, end):
    """(first byte, one past the last) of the address around an `@`, (at, at) for none; end is -1 before a bracket."""
    first = _local_part(buffer_N, at, floor)
    was_word = first > begin and is_word_byte(buffer_N[first - 1])
    while first < at:
        byte = buffer_N[first]
        is_word = is_word_byte(byte)
        if byte != 46 and is_word != was_word:
            break
        was_word = is_word
        first += 1
    if first == at:
        return at, at
    i, last = at + 1, at
    if i < end and buffer_N[i] == 91:
        return first, -1
    num_labels = 0
    while i < end and CLASSES[buffer_N[i]] & ALNUM != 0:
        stop = alnum = i
        while stop < end and (CLASSES[buffer_N[stop]] & ALNUM != 0 or buffer_N[stop] == 45):
            if buffer_N[stop] != 45:
                alnum = stop
            stop += 1
        num_labels += 1
        last = alnum + 1
        if last < stop or stop >= end or buffer_N[stop] != 46:
            break
        i = stop + 1
    return (first, last) if num_labels >= 2 else (at, at)


@leaf
def iban_end(buffer_N, first, end, lengths_CC):
    """One past an IBAN that begins with its country's letters at `first`; -1 for none. Groups may be apart."""
    length = lengths_CC[buffer_N[first] - 65, buffer_N[first + 1] - 65]
    if length == 0:
        return -1
    # The check digits and the country stand behind the rest in the number that is 1 modulo 97.
    remainder, num, i = 0, 0, first
    head = np.int64(0)
    while i < end and num < length:
        byte = buffer_N[i]
        if CLASSES[byte] & (DIGIT | UPPER) != 0:
            value = byte - 48 if byte < 58 else byte - 55
            if num < 4:
                head = head * (10 if byte < 58 else 100) + value
            else:
                remainder = (remainder * (10 if byte < 58 else 100) + value) % 97
            num += 1
        elif num < 4 or (byte != 32 and byte != 45) or CLASSES[buffer_N[i - 1]] & ALNUM == 0:
            return -1
        i += 1
    if num < length or (i < end and is_word_byte(buffer_N[i])):
        return -1
    return i if (remainder * 1_000_000 + head) % 97 == 1 else -1


@leaf
def _is_card(digits, num):
    """Whether so many digits are those of a card: the ranges of the brands (ISO/IEC 7812), and Luhn."""
    two = digits[0] * 10 + digits[1]
    four = two * 100 + digits[2] * 10 + digits[3]
    is_brand = (
        (digits[0] == 4 and num == 16)
        or (num == 16 and (51 <= two <= 55 or 2221 <= four <= 2720))
        or (num == 15 and (two == 34 or two == 37))
        or (num == 14 and (two == 36 or two == 38 or two == 39 or 3000 <= four <= 3059))
        or (num >= 16 and (two == 62 or two == 65 or four == 6011 or 6440 <= four <= 6499 or 3528 <= four <= 3589))
        or (
            num >= 16 and (four == 5018 or four == 5020 or four == 5038 or four == 6304 or four == 6759 or four == 6763)
        )
    )
    if not is_brand:
        return False
    total = 0
    for place in range(num):
        digit = digits[num - 1 - place]
        if place % 2 == 1:
            digit = digit * 2 - 9 if digit > 4 else digit * 2
        total += digit
    return total % 10 == 0


@leaf
def card_end(buffer_N, first, stop, end, digits):
    """One past the card number whose first run of digits is [first, stop); -1 for none."""
    num, i, separator, group = 0, first, np.uint8(0), 0
    if stop - first != 4 and not 14 <= stop - first <= 19:
        return -1
    while i < end and num < 20:
        byte = buffer_N[i]
        if CLASSES[byte] & DIGIT != 0:
            if num == 19:
                return -1
            digits[num] = byte - 48
            num += 1
            group += 1
        elif (byte == 32 or byte == 45) and i + 1 < end and has_class(buffer_N, i + 1, DIGIT) and num < 16:
            if separator == 0:
                separator = byte
            # 4-4-4-4, with 3 more for the longest; 4-6-5 and 4-6-4.
            if byte != separator or not (group == 4 or (group == 6 and num == 10)):
                break
            group = 0
        else:
            break
        i += 1
    if num < 14 or (i < end and is_word_byte(buffer_N[i])):
        return -1
    if i + 1 < end and (
        (buffer_N[i] == 46 and has_class(buffer_N, i + 1, DIGIT))
        or (buffer_N[i] == 45 and has_class(buffer_N, i + 1, ALNUM))
    ):
        return -1
    return i if _is_card(digits, num) else -1


@leaf
def ipv6_end(buffer_N, first, end):
    """One past a run of hexadecimal groups, the first of four digits, that may be an address; -1 for none."""
    if first + 4 >= end or buffer_N[first + 4] != 58:
        return -1
    for i in range(first, first + 4):
        if not has_class(buffer_N, i, HEX):
            return -1
    i, num_colons, num_groups, is_short = first, 0, 1, False
    while i < end and i < first + 48 and (buffer_N[i] == 58 or has_class(buffer_N, i, HEX)):
        if buffer_N[i] == 58:
            num_colons += 1
            is_short |= buffer_N[i - 1] == 58
        else:
            num_groups += i > first and buffer_N[i - 1] == 58
        i += 1
    if num_colons > 0 and buffer_N[i - 1] == 58 and buffer_N[i - 2] != 58:  # the colon of a sentence
        i, num_colons = i - 1, num_colons - 1
    # A network of two groups is of no person, and `2006::` is a year before an example.
    if (num_colons != 7 and not (is_short and num_groups >= 3)) or (i < end and is_word_byte(buffer_N[i])):
        return -1
    return i


@njit(inline="always")
def _space_bytes(buffer_N, i):
    """Bytes of what may stand between groups of a phone number, beyond ASCII; 0 for none."""
    if buffer_N[i] == 0xC2 and buffer_N[i + 1] == 0xA0:
        return 2
    if buffer_N[i] == 0xE2 and buffer_N[i + 1] == 0x80:
        third = buffer_N[i + 2]
        return 3 if 0x80 <= third <= 0x8A or 0x90 <= third <= 0x93 or third == 0xAF else 0
    return 0


@leaf
def phone_end(buffer_N, plus, end):
    """One past the last digit of what may be a phone number; -1 for none."""
    i, last, num, num_between = plus + 1, -1, 0, 0
    if i >= end or (CLASSES[buffer_N[i]] & DIGIT == 0 and buffer_N[i] != 40):
        return -1
    while i < end and num < MAX_PHONE_DIGITS and num_between <= 3:
        byte = buffer_N[i]
        if CLASSES[byte] & DIGIT != 0:
            num, num_between, last = num + 1, 0, i + 1
            i += 1
        elif byte == 32 or 45 <= byte <= 47 or byte == 40 or byte == 41:
            num_between += 1
            i += 1
        else:
            width = _space_bytes(buffer_N, i) if byte >= 0xC2 else 0
            if width == 0 or i + width > end:
                break
            num_between += 1
            i += width
    return last if num >= 7 else -1


@leaf
def begins_as_token(buffer_N, i):
    for row in range(len(_PREFIXES)):
        length = np.int64(_PREFIXES[row, 0])
        if _PREFIXES[row, 1] != buffer_N[i]:
            continue
        is_equal = True
        for place in range(1, length):
            is_equal &= buffer_N[i + place] == _PREFIXES[row, 1 + place]
        if is_equal:
            return True
    return False
