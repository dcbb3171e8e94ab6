"""JSON as Python, pandas and broken producers write it: one object, taken apart without building what is not used.

JSON itself is decoded by msgspec. Here comes what that refuses, for one strange value must not cost the text beside it:
NaN and Infinity, numbers of any size, control characters in strings, half a surrogate pair, bytes that are no UTF-8,
any nesting. The structure has to be whole: members of an object, each of a value that is balanced; what was cut off,
misses a comma or ends in another one is no JSON here either.

Cost: one pass of a few regular expressions, linear in the bytes, 10 µs for 4 KB. A value that is nested deeper than
MAX_DEPTH, a container of more than MAX_VALUE_CHARACTERS and members after the first MAX_MEMBERS are passed over, so
what a record unpacks to is bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Protocol

MAX_DEPTH = 128  # levels; Python's own limit of 1,000 frames would depend on the caller's stack
MAX_VALUE_CHARACTERS = 1 << 20  # of one list or object; "[]," makes 60 bytes of three
MAX_MEMBERS = 10_000  # of an object; those that have a meaning count at any number
MAX_DIGITS = 4300  # Python refuses to read longer integers

_STRING = r'"(?:[^"\\]++|\\.)*+"'
_KEY = re.compile(rf"[ \t\n\r]*+({_STRING})[ \t\n\r]*+:[ \t\n\r]*+", re.DOTALL)
_SCALAR = re.compile(rf'{_STRING}|[^\s,:{{}}\[\]"]++', re.DOTALL)
_COMMA = re.compile(r"[ \t\n\r]*+,")
_END = re.compile(r"[ \t\n\r]*+\}[ \t\n\r]*+\Z")
_START = re.compile(r"[ \t\n\r]*+\{(?:[ \t\n\r]*+(\})[ \t\n\r]*+\Z)?")
_BRACKET = re.compile(rf'[{{}}\[\]]|{_STRING}|"', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
_CLOSING = {"{": "}", "[": "]"}


class Names(Protocol):
    """Names of the members that have a meaning; dots lead into objects."""

    @property
    def text(self) -> str:
        """Of the text."""

    @property
    def id(self) -> str:
        """Of the id."""

    @property
    def all(self) -> tuple[str, ...]:
        """Of everything, the text included."""


def read_object(raw: bytes, names: Names) -> dict[str, Any] | None:
    """The members of an object; None if it is none. Of two with one key the last one counts.

    Half surrogate pairs become U+FFFD, but for those in the text, which is read by the rules of JSON, and in the id:
    there they stay, bytes that are no UTF-8 as U+DC80 to U+DCFF. Values that are too deep or too long are left out.
    """
    wanted, exact = _ways(names.all), _ways((names.id,))
    return _members(raw.decode("utf-8", "surrogateescape"), names.text, wanted, exact)


def _ways(names: Iterable[str]) -> frozenset[str]:
    """The names, and those of the objects that their dots lead into."""
    return frozenset(part for name in names for part in (name, name.partition(".")[0]))


def _inside(member: str, names: frozenset[str]) -> frozenset[str]:
    """The names that lead into a member, as they are in there."""
    return _ways(name.removeprefix(f"{member}.") for name in names if name.startswith(f"{member}."))


def _members(
    whole: str, text_name: str, wanted: frozenset[str], exact: frozenset[str] = frozenset()
) -> dict[str, Any] | None:
    """As `read_object`, of characters. Beyond MAX_MEMBERS only the `wanted` count; the `exact` keep half surrogates."""
    start = _START.match(whole)
    if start is None or start[1]:
        return None if start is None else {}
    first_part, _, rest = text_name.partition(".")
    record: dict[str, Any] = {}
    at = start.end()
    while True:
        key_match = _KEY.match(whole, at)
        if key_match is None:
            return None
        found = _value_end(whole, key_match.end())
        if found is None:
            return None
        end, depth = found
        raw_value = whole[key_match.end() : end]
        is_bounded = depth < MAX_DEPTH and (not depth or len(raw_value) <= MAX_VALUE_CHARACTERS)
        try:
            key = with_whole_characters(json.loads(key_match[1], strict=False))
            record.pop(key, None)
            if rest and key == first_part and raw_value.startswith("{"):
                inner = _members(raw_value, rest, _inside(first_part, wanted), _inside(first_part, exact))
                if inner is None:
                    return None
                record[key] = inner
            elif is_bounded and key == text_name:
                record[key] = json.loads(raw_value, parse_int=_integer)
            elif is_bounded and (len(record) < MAX_MEMBERS or key in wanted):
                value = json.loads(raw_value, strict=False, parse_int=_integer)
                record[key] = value if key in exact else with_whole_characters(value)
        except ValueError:
            return None
        comma = _COMMA.match(whole, end)
        if comma is None:
            return record if _END.match(whole, end) else None
        at = comma.end()


def with_whole_characters(value: Any) -> Any:
    """The same JSON value, U+FFFD in place of every half of a surrogate pair."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [with_whole_characters(inner) for inner in value]
    if isinstance(value, dict):
        return {with_whole_characters(key): with_whole_characters(inner) for key, inner in value.items()}
    return value


def half_surrogate(text: str) -> str:
    """The first half of a surrogate pair in a text, or ""."""
    found = _SURROGATE.search(text)
    return found[0] if found else ""


def _value_end(whole: str, at: int) -> tuple[int, int] | None:
    """Where the value that begins at `at` ends, and how deep it is nested; None if it does not end."""
    scalar = _SCALAR.match(whole, at)
    if scalar is not None:
        return scalar.end(), 0
    if whole[at : at + 1] not in _CLOSING:
        return None
    open_brackets = bytearray()  # the brackets that are to come
    depth = 0
    for match in _BRACKET.finditer(whole, at):
        mark = match[0]
        if mark in _CLOSING:
            open_brackets.append(ord(_CLOSING[mark]))
            depth = max(depth, len(open_brackets))
        elif mark in "}]":
            if open_brackets.pop() != ord(mark):
                return None
            if not open_brackets:
                return match.end(), depth
        elif mark == '"':  # of a string that does not end
            return None
    return None


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)
