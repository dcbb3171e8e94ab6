"""Candidates for personal data and secrets: one pass over the bytes of a batch, for all kinds together.

Masks of 64 bytes tell where a text needs a look, which is nowhere for most of them:

- `@`: an e-mail address around it, as datatrove's expression finds it (below);
- the first digit of a number: an IPv4 address (the whole run of digits and full stops), an IPv6 address of 2000::/3, an
  IBAN behind two capitals (length of its country, mod 97), a card number (prefixes of the brands, Luhn), a national id
  (number of digits);
- `+`: a phone number in international form;
- two dashes or more: a private key;
- the end of a run of 15 or more letters, digits, `_` and `-`: a token, if it begins as tokens do.

What a library knows better (which phone numbers a country has, what an address is for) is asked of the few candidates:
`curation.acquisition.findings`. Every scan from a stop is bounded, or goes on where the last one ended, so the work is
linear in the bytes for any text. Cost: 1 to 2 us a document of 4 KB with nothing in it.

E-mail addresses are those of the expression of datatrove 0.10 (`PIIFormatter`), `\\bL+(\\.L+)*@(label\\.)+label` with
L a letter, digit or one of ``!#$%&'*+/=?^_`{|}~-``. For each `@` in order the local part is the longest one without two
full stops in a row that begins at a `\\b` behind the last address; labels are taken greedily. Only ASCII letters count
as words here, so that an address is found right behind a word of another script.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numba import njit, uint64
from numpy.typing import NDArray

from kernels.characters import leaf
from kernels.columns import Texts
from kernels.pii_shapes import (
    ALNUM,
    CLASSES,
    DIGIT,
    MAY_BEGIN,
    OF_TOKEN,
    UPPER,
    begins_as_token,
    card_end,
    email_span,
    has_class,
    iban_end,
    ipv6_end,
    is_word_byte,
    phone_end,
)
from kernels.simd import equal_mask, range_mask, trailing_zeros


class Candidate(IntEnum):
    """Kinds of places."""

    EMAIL = 0
    EMAIL_AT_ADDRESS = 1  # an `@` before a bracket, with its local part
    IPV4 = 2
    IPV6 = 3
    IBAN = 4
    CARD = 5
    PHONE = 6
    KEY_BLOCK = 7
    TOKEN = 8
    NATIONAL_ID = 9


EMAIL, EMAIL_AT_ADDRESS, IPV4, IPV6, IBAN, CARD, PHONE, KEY_BLOCK, TOKEN, NATIONAL_ID = map(int, Candidate)
MIN_TOKEN = 15
MAX_ID_DIGITS = 18


@njit(inline="always")
def _put(found_C4, num, document, kind, start, end):
    if num < len(found_C4):
        found_C4[num, 0], found_C4[num, 1], found_C4[num, 2], found_C4[num, 3] = document, kind, start, end
    return num + 1


@leaf
def _national_ids(buffer_N, first, end, lengths, found_C4, num_found, document):
    """Every stretch of groups of digits from `first` on with one of these lengths, and a check letter or none."""
    num, i = 0, first
    while i < end and num < MAX_ID_DIGITS:
        if has_class(buffer_N, i, DIGIT):
            num += 1
            i += 1
            if lengths >> num & 1 == 0 or (i < end and has_class(buffer_N, i, DIGIT)):
                continue
            if not (i < end and is_word_byte(buffer_N[i])):
                num_found = _put(found_C4, num_found, document, NATIONAL_ID, first, i)
            letter = i + 1 if i < end and buffer_N[i] == 45 else i
            has_letter = letter < end and CLASSES[buffer_N[letter]] & (ALNUM | DIGIT) == ALNUM
            if has_letter and not (letter + 1 < end and is_word_byte(buffer_N[letter + 1])):
                num_found = _put(found_C4, num_found, document, NATIONAL_ID, first, letter + 1)
        elif (buffer_N[i] == 32 or 45 <= buffer_N[i] <= 47) and i + 1 < end and has_class(buffer_N, i + 1, DIGIT):
            i += 1
        else:
            break
    return num_found


@leaf
def _tokens(buffer_N, stop, begin, found_C4, num_found, document):
    """The places in the run of token characters before `stop` where a token may begin."""
    first = stop
    while first > begin and has_class(buffer_N, first - 1, OF_TOKEN):
        first -= 1
    # `SG.` and `ya29.`, whose runs are too short to end here.
    if first >= begin + 3 and buffer_N[first - 1] == 46 and buffer_N[first - 2] == 71 and buffer_N[first - 3] == 83:
        num_found = _put(found_C4, num_found, document, TOKEN, first - 3, stop)
    elif first >= begin + 5 and buffer_N[first - 1] == 46 and buffer_N[first - 2] == 57 and buffer_N[first - 5] == 121:
        num_found = _put(found_C4, num_found, document, TOKEN, first - 5, stop)
    for i in range(first, stop - MIN_TOKEN + 1):
        # A JWT has no length, so that one is looked for once a run.
        is_first = i == first or (not has_class(buffer_N, i - 1, ALNUM) and buffer_N[i] != 101)
        if is_first and MAY_BEGIN[buffer_N[i]] and begins_as_token(buffer_N, i):
            num_found = _put(found_C4, num_found, document, TOKEN, i, stop)
    return num_found


@leaf
def _number(buffer_N, first, begin, end, ip_end, lengths_CC, id_lengths, digits, found_C4, num, document):
    """All that the run of digits at `first` may begin: (candidates, end of the run of digits and full stops)."""
    stop = first + 1
    while stop < end and has_class(buffer_N, stop, DIGIT):
        stop += 1
    byte = buffer_N[stop] if stop < end else np.uint8(0)
    if byte == 46 and first >= ip_end:
        num_dots, ip_end = 0, stop
        while ip_end < end and (buffer_N[ip_end] == 46 or has_class(buffer_N, ip_end, DIGIT)):
            num_dots += buffer_N[ip_end] == 46 and buffer_N[ip_end - 1] != 46
            ip_end += 1
        if num_dots >= 3:
            num = _put(found_C4, num, document, IPV4, first, ip_end)
    before = buffer_N[first - 1] if first > begin else np.uint8(32)
    if before >= 65 and before <= 90:
        is_country = first >= begin + 2 and has_class(buffer_N, first - 2, UPPER) and stop - first >= 2
        if is_country and not (first >= begin + 3 and is_word_byte(buffer_N[first - 3])):
            last = iban_end(buffer_N, first - 2, end, lengths_CC)
            if last > 0:
                num = _put(found_C4, num, document, IBAN, first - 2, last)
        return num, ip_end
    if is_word_byte(before):
        return num, ip_end
    # A decimal place, or a part of something longer.
    joins = ALNUM if before == 45 else DIGIT if before == 46 else 0
    if joins != 0 and first >= begin + 2 and has_class(buffer_N, first - 2, joins):
        return num, ip_end
    if (buffer_N[first] == 50 or buffer_N[first] == 51) and before != 58:
        last = ipv6_end(buffer_N, first, end)
        if last > 0:
            num = _put(found_C4, num, document, IPV6, first, last)
    if before != 43:
        last = card_end(buffer_N, first, stop, end, digits)
        if last > 0:
            num = _put(found_C4, num, document, CARD, first, last)
        if id_lengths != 0:
            num = _national_ids(buffer_N, first, end, id_lengths, found_C4, num, document)
    return num, ip_end


@njit(inline="always")
def _shifted(mask, last, count):
    """A mask moved up, with bits of the one before it."""
    return (mask << uint64(count)) | (last >> uint64(64 - count))


@leaf
def _scan(buffer_N, starts_B, ends_B, lengths_CC, id_lengths, digits, found_C4):
    """Write candidates (document, kind, start, end), as many as there is room for; return how many there are."""
    num = 0
    for document in range(len(starts_B)):
        begin, end = starts_B[document], ends_B[document]
        email_end = ip_end = begin
        # Of the block before: bytes of tokens, of digits, dashes, and where 2, 4, 8 and 15 bytes of tokens end.
        token_1 = digit_1 = dash_1 = two_1 = four_1 = eight_1 = long_1 = uint64(0)
        for block in range(begin, end, 64):
            digit = range_mask(buffer_N, block, 48, 10)
            dash = equal_mask(buffer_N, block, 45)
            token = digit | dash | equal_mask(buffer_N, block, 95)
            token |= range_mask(buffer_N, block, 65, 26) | range_mask(buffer_N, block, 97, 26)
            stops = equal_mask(buffer_N, block, 64) | equal_mask(buffer_N, block, 43)
            if end - block < 64:
                within = (uint64(1) << uint64(end - block)) - uint64(1)
                digit, dash, token, stops = digit & within, dash & within, token & within, stops & within
            stops |= digit & ~_shifted(digit, digit_1, 1)
            stops |= dash & ~_shifted(dash, dash_1, 1) & ((dash >> uint64(1)) | (uint64(1) << uint64(63)))
            two = token & _shifted(token, token_1, 1)
            four = two & _shifted(two, two_1, 2)
            eight = four & _shifted(four, four_1, 4)
            long = eight & _shifted(eight, eight_1, 7)
            ends_of_long = _shifted(long, long_1, 1) & ~token
            stops |= ends_of_long
            token_1, digit_1, dash_1, two_1, four_1, eight_1, long_1 = token, digit, dash, two, four, eight, long
            while stops != uint64(0):
                place = trailing_zeros(stops)
                stops &= stops - uint64(1)
                i = block + np.int64(place)
                if (ends_of_long >> uint64(place)) & uint64(1) != uint64(0):
                    num = _tokens(buffer_N, i, begin, found_C4, num, document)
                    if i >= end:
                        break
                byte = buffer_N[i]
                if byte == 64:
                    first, last = email_span(buffer_N, i, begin, email_end, end)
                    if last < 0:
                        num = _put(found_C4, num, document, EMAIL_AT_ADDRESS, first, i)
                    elif last > first:
                        num = _put(found_C4, num, document, EMAIL, first, last)
                        email_end = last
                elif byte == 43:
                    if not (i > begin and (is_word_byte(buffer_N[i - 1]) or buffer_N[i - 1] == 43)):
                        last = phone_end(buffer_N, i, end)
                        if last > 0:
                            num = _put(found_C4, num, document, PHONE, i, last)
                elif byte == 45:
                    if i + 10 < end and buffer_N[i + 4] == 45 and buffer_N[i + 5] == 66 and buffer_N[i + 9] == 78:
                        num = _put(found_C4, num, document, KEY_BLOCK, i, end)
                elif 48 <= byte <= 57:
                    num, ip_end = _number(
                        *(buffer_N, i, begin, end, ip_end, lengths_CC, id_lengths, digits),
                        *(found_C4, num, document),
                    )
        if (end - begin) % 64 == 0 and long_1 >> uint64(63) != uint64(0):
            num = _tokens(buffer_N, end, begin, found_C4, num, document)
    return num


def find_candidates(
    texts: Texts, iban_lengths_CC: NDArray[np.int64], id_lengths: tuple[int, ...] = ()
) -> NDArray[np.int64]:
    """Places that may be personal data, [C, 4]: document, `Candidate`, first byte and one past the last, in the buffer.

    `iban_lengths_CC` has the length of a country's IBAN by its two letters, 0 without; `id_lengths` are the numbers of
    digits of the national ids that are looked for. Candidates come by document, each kind in the order of the text.
    """
    bits = sum(1 << length for length in set(id_lengths))
    found_C4, digits = np.empty((256, 4), np.int64), np.empty(20, np.int64)
    while True:
        num = _scan(texts.buffer_N, texts.starts_B, texts.ends_B, iban_lengths_CC, bits, digits, found_C4)
        if num <= len(found_C4):
            return found_C4[:num]
        found_C4 = np.empty((num, 4), np.int64)
