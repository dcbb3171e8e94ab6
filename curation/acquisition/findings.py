"""Findings: where in texts personal data and secrets stand. A kernel finds candidates, libraries verify the few.

| kind | found | verified |
|---|---|---|
| email | the addresses of datatrove's expression | by the kernel, exactly |
| ip | runs of digits and full stops, IPv6 of 2000::/3 | datatrove's expression and `ipaddress`: global ones alone |
| phone | `+` and 7 to 15 digits in groups | phonenumbers: a number that the numbering plan of its country has |
| iban | length of the country, mod 97 | stdnum: the structure of the country's account numbers |
| card | prefixes and lengths of the brands, Luhn | by the kernel, exactly |
| secret | tokens by their first letters, blocks of private keys | expressions below |
| national_id | number of digits | stdnum: check digits of the countries that were chosen |

Where two overlap the one with more of a reason stays: a secret before an address, an address before a number.
"""

from __future__ import annotations

import importlib
import ipaddress
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from enum import StrEnum
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kernels.columns import Texts
from kernels.pii import Candidate, find_candidates
from kernels.spans import without_overlaps


class Kind(StrEnum):
    """Kinds of findings, the one first that stays where two overlap."""

    SECRET = "secret"
    EMAIL = "email"
    IBAN = "iban"
    CARD = "card"
    PHONE = "phone"
    IP = "ip"
    NATIONAL_ID = "national_id"


NationalId = Literal[
    "be.nn",
    "bg.egn",
    "br.cpf",
    "ca.sin",
    "ch.ssn",
    "cl.rut",
    "cn.ric",
    "cz.rc",
    "de.idnr",
    "ee.ik",
    "es.dni",
    "fr.nir",
    "gb.nhs",
    "hr.oib",
    "il.idnr",
    "in_.aadhaar",
    "jp.in_",
    "kr.rrn",
    "lt.asmens",
    "nl.bsn",
    "no.fodselsnummer",
    "pl.pesel",
    "ro.cnp",
    "se.personnummer",
    "tr.tckimlik",
    "za.idnr",
]
"""Ids of persons with check digits, by their modules in stdnum."""

# Digits that each may have; a check letter is not counted.
_ID_DIGITS: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("be.nn", "br.cpf", "de.idnr", "ee.ik", "hr.oib", "lt.asmens"), (11,)),
    **dict.fromkeys(("no.fodselsnummer", "pl.pesel", "tr.tckimlik"), (11,)),
    **dict.fromkeys(("ca.sin", "il.idnr", "nl.bsn"), (9,)),
    **dict.fromkeys(("ch.ssn", "kr.rrn", "ro.cnp", "za.idnr"), (13,)),
    **dict.fromkeys(("in_.aadhaar", "jp.in_"), (12,)),
    **dict.fromkeys(("bg.egn", "gb.nhs", "cz.rc"), (10,)),
    "cl.rut": (7, 8, 9),
    "cn.ric": (17, 18),
    "es.dni": (8,),
    "fr.nir": (15,),
    "se.personnummer": (10, 12),
}


Span = tuple[int, int]  # first byte, one past the last
Verify = Callable[[memoryview, int, int, int], Iterator[Span]]  # buffer, start, end, end of the text

KINDS = tuple(Kind)
_KINDS = {
    Candidate.EMAIL: Kind.EMAIL,
    Candidate.EMAIL_AT_ADDRESS: Kind.EMAIL,
    Candidate.IPV4: Kind.IP,
    Candidate.IPV6: Kind.IP,
    Candidate.IBAN: Kind.IBAN,
    Candidate.CARD: Kind.CARD,
    Candidate.PHONE: Kind.PHONE,
    Candidate.KEY_BLOCK: Kind.SECRET,
    Candidate.TOKEN: Kind.SECRET,
    Candidate.NATIONAL_ID: Kind.NATIONAL_ID,
}

_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)"
_IPV4 = re.compile(rb"(?:" + _OCTET + rb"\.){3}" + _OCTET)
_AT_ADDRESS = re.compile(rb"@\[(?:" + _OCTET + rb"\.){3}(?:" + _OCTET + rb"|[A-Za-z0-9-]{0,62}[A-Za-z0-9]:)\]")
_DIGITS = re.compile(r"[0-9]+")
_TOKEN = re.compile(
    rb"(?:A(?:KI|SI|BI|CC)A[A-Z2-7]{16}"  # AWS
    rb"|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}|glpat-[A-Za-z0-9_-]{20,64}"
    rb"|xox[abeprs]-[A-Za-z0-9-]{10,250}|xapp-[0-9]-[A-Za-z0-9-]{20,250}"  # Slack
    rb"|AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{28}|ya29\.[A-Za-z0-9_-]{20,500}"  # Google
    rb"|[sr]k_(?:live|test)_[A-Za-z0-9]{16,250}"  # Stripe
    rb"|sk-(?=[A-Za-z0-9_-]{0,80}[0-9])(?=[A-Za-z0-9_-]{0,80}[A-Z])[A-Za-z0-9_-]{40,250}"  # OpenAI, Anthropic
    rb"|hf_[A-Za-z0-9]{34}|npm_[A-Za-z0-9]{36}|pypi-AgEI[A-Za-z0-9_-]{50,1000}"
    rb"|SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}|dop_v1_[a-f0-9]{64}|AGE-SECRET-KEY-1[0-9A-Z]{58}"
    rb"|eyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]{10,})(?:\.[A-Za-z0-9_-]*){1,3}"  # JWS and JWE, RFC 7515 and 7516
    rb")(?![A-Za-z0-9_])"
)
_AWS_SECRET = re.compile(
    rb"(?i:aws_?)?(?i:secret_?(?:access_?)?key)[\"']?\s{0,3}(?:=>|:=|[:=])\s{0,3}[\"']?"
    rb"([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])"
)
_KEY_BEGINS = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_ENDS = re.compile(rb"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
# What follows where the end is not there: lines of base64, and headers.
_KEY_LINES = re.compile(
    rb"(?:(?:\s|\\[nrt]|[>|\"'`,*#+])*(?:[A-Za-z0-9+/]{16,}={0,2}|[A-Za-z-]{3,20}: [^\n\\]{0,200}))*"
)
MAX_KEY_BYTES = 64 << 10
# Phone numbers and accounts of one document that libraries are asked for; of a list of more all are taken as they look,
# since a library takes 100 us each.
MAX_ASKED = 1000
TOKEN_BYTES = 16 << 10  # of the longest token that is looked for


class Finder:
    """Finds what is of these kinds. Pure, and safe to share between threads once it has found anything."""

    def __init__(self, kinds: Collection[Kind], national_ids: Collection[str] = ()) -> None:
        wanted = frozenset(kinds)
        self._national_ids = tuple(sorted(national_ids)) if Kind.NATIONAL_ID in wanted else ()
        self._is_wanted_C = np.array([_KINDS[candidate] in wanted for candidate in Candidate])
        self._lengths = tuple({length for name in self._national_ids for length in _ID_DIGITS[name]})

    def find(self, texts: Texts) -> NDArray[np.int64]:
        """Spans [S, 4] for `kernels.spans`: document, place of its kind in `KINDS`, first byte, one past the last."""
        candidates_C4 = find_candidates(texts, iban_lengths(), self._lengths)
        if not len(candidates_C4):
            return candidates_C4
        candidates_C4 = candidates_C4[self._is_wanted_C[candidates_C4[:, 1]]]
        is_exact_C = _IS_EXACT_C[candidates_C4[:, 1]]
        spans_S4 = candidates_C4[is_exact_C]
        spans_S4[:, 1] = _RANKS_C[spans_S4[:, 1]]
        if not is_exact_C.all():
            verified = list(self._verified(texts, candidates_C4[~is_exact_C]))
            spans_S4 = np.concatenate((spans_S4, np.array(verified, np.int64).reshape(-1, 4)))
        return without_overlaps(spans_S4)

    def _verified(self, texts: Texts, candidates_C4: NDArray[np.int64]) -> Iterator[tuple[int, int, int, int]]:
        buffer, ends = texts.buffer_N.data, texts.ends_B
        key_ends = _KeyEnds(buffer)
        asked, num_asked = -1, 0
        for document, number, start, end in candidates_C4.tolist():
            if number in (Candidate.PHONE, Candidate.IBAN):
                num_asked = num_asked + 1 if document == asked else 1
                asked = document
                if num_asked > MAX_ASKED:
                    yield document, _RANKS_C[number], start, end
                    continue
            text_end = int(ends[document])
            spans: Iterator[Span]
            if number == Candidate.KEY_BLOCK:
                spans = _key_block(buffer, start, text_end, key_ends)
            elif number == Candidate.NATIONAL_ID:
                spans = self._national_id(buffer, start, end)
            else:
                spans = _VERIFY[number](buffer, start, end, text_end)
            for first, last in spans:
                yield document, _RANKS_C[number], first, last

    def _national_id(self, buffer: memoryview, start: int, end: int) -> Iterator[Span]:
        text = str(buffer[start:end], "utf-8")
        num_digits = sum(map(str.isdecimal, text))
        for name in self._national_ids:
            if num_digits in _ID_DIGITS[name] and _id_module(name).is_valid(text):
                yield start, end
                return


def versions() -> str:
    """Of the libraries on which it hangs what is found."""
    return f"phonenumbers {version('phonenumbers')}, python-stdnum {version('python-stdnum')}"


@cache
def iban_lengths() -> NDArray[np.int64]:
    """Length of an IBAN by the two letters of its country, [26, 26]; 0 where there is none."""
    from stdnum.iban import _ibandb

    lengths_CC = np.zeros((26, 26), np.int64)
    for first in range(26):
        for second in range(26):
            info = _ibandb.info(chr(65 + first) + chr(65 + second) + "0" * 32)[0][1]
            if "bban" in info:
                lengths_CC[first, second] = 4 + sum(int(part) for part in re.findall(r"([0-9]+)!", info["bban"]))
    return lengths_CC


@cache
def _id_module(name: str) -> Any:
    return importlib.import_module(f"stdnum.{name}")


def _at_address(buffer: memoryview, start: int, end: int, text_end: int) -> Iterator[Span]:
    if (match := _AT_ADDRESS.match(buffer, end, min(text_end, end + 128))) is not None:
        yield start, match.end()


def _ipv4(buffer: memoryview, start: int, end: int, text_end: int) -> Iterator[Span]:
    for match in _IPV4.finditer(buffer, start, end):
        if _is_global(str(buffer[match.start() : match.end()], "ascii")):
            yield match.span()


def _ipv6(buffer: memoryview, start: int, end: int, text_end: int) -> Iterator[Span]:
    if _is_global(str(buffer[start:end], "ascii")):
        yield start, end


def _is_global(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def _iban(buffer: memoryview, start: int, end: int, text_end: int) -> Iterator[Span]:
    from stdnum import iban

    if iban.is_valid(str(buffer[start:end], "ascii")):
        yield start, end


def _phone(buffer: memoryview, start: int, end: int, text_end: int) -> Iterator[Span]:
    is_open = end < text_end and ((chr(buffer[end]).isalnum() and buffer[end] < 128) or buffer[end] == 95)
    text = str(buffer[start:end], "utf-8")
    if num_characters := _longest_phone(text, is_open):
        yield start, start + len(text[:num_characters].encode())


@lru_cache(maxsize=4096)
def _longest_phone(text: str, is_open: bool) -> int:
    """Characters of the longest beginning in whole groups that is a number of its country, 0 for none.

    `is_open` says that the last group goes on behind the text.
    """
    import phonenumbers

    ends = [match.end() for match in _DIGITS.finditer(text)]
    for end in reversed(ends[:-1] if is_open else ends):
        if sum(map(str.isdigit, text[:end])) < 7:
            break
        try:
            number = phonenumbers.parse(text[:end])
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            return end
    return 0


def _token(buffer: memoryview, start: int, end: int, text_end: int) -> Iterator[Span]:
    limit = min(text_end, start + TOKEN_BYTES)
    match, group = _TOKEN.match(buffer, start, limit), 0
    if match is None:
        match, group = _AWS_SECRET.match(buffer, start, limit), 1
    if match is not None:
        yield match.span(group)


class _KeyEnds:
    """The last lines of private keys, each looked for once."""

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._after, self._end = -1, -1  # the first one behind `_after` ends at `_end`; -1 for none
        self._text_end = -1

    def behind(self, place: int, text_end: int) -> int:
        """One past the first such line behind a place; -1 for none in the text."""
        if self._text_end != text_end or (self._end >= 0 and self._end <= place):
            match = _KEY_ENDS.search(self._buffer, place, text_end)
            self._end, self._text_end = -1 if match is None else match.end(), text_end
        return self._end


def _key_block(buffer: memoryview, start: int, text_end: int, key_ends: _KeyEnds) -> Iterator[Span]:
    begins = _KEY_BEGINS.match(buffer, start, min(text_end, start + 128))
    if begins is None:
        return
    end = key_ends.behind(begins.end(), text_end)
    if not 0 <= end <= start + MAX_KEY_BYTES:
        lines = _KEY_LINES.match(buffer, begins.end(), min(text_end, start + MAX_KEY_BYTES))
        end = begins.end() if lines is None else lines.end()
    yield start, end


_VERIFY: Mapping[int, Verify] = {
    Candidate.EMAIL_AT_ADDRESS: _at_address,
    Candidate.IPV4: _ipv4,
    Candidate.IPV6: _ipv6,
    Candidate.IBAN: _iban,
    Candidate.PHONE: _phone,
    Candidate.TOKEN: _token,
}
# By number of the candidate: those that the kernel has verified, and the place of their kind in `KINDS`.
_IS_EXACT_C = np.array([candidate in (Candidate.EMAIL, Candidate.CARD) for candidate in Candidate])
_RANKS_C = np.array([KINDS.index(_KINDS[candidate]) for candidate in Candidate])


def without_path(email: str) -> str:
    """An address without what may stand before it in a URL or an id, of which an address may consist, too.

    >>> without_path("users?mail=a@b.example")
    'a@b.example'
    """
    return email[max(map(email.rfind, "/?=&#")) + 1 :]


def same_value(kind: Kind, text: str) -> str:
    """One value for all ways in which a found text may be written: `+1 212-555-2368` is `+12125552368`."""
    if kind is Kind.EMAIL:
        return without_path(text).lower()
    if kind is Kind.IP:
        return ipaddress.ip_address(text).exploded
    if kind is Kind.PHONE:
        import phonenumbers

        return str(phonenumbers.format_number(phonenumbers.parse(text), phonenumbers.PhoneNumberFormat.E164))
    if kind is Kind.SECRET:
        return text
    return "".join(filter(str.isalnum, text)).upper()
