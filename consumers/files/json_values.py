"""A text of JSON values that are not one a line: printed over many lines, run together, an array, RFC 7464.

The values are told apart by brackets and strings, and decoded later, so that a damaged one costs no other. The elements
of an array are values like any others, so an array may be of any size: no more than one value is held at a time. What
can stand in no JSON begins anew: a line that begins with `{` behind what no member can follow, a line end in a string.

Cost: one pass, linear in the bytes; 0.3 µs a bracket or string, however long.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from consumers.files.unpacking import BLOCK_BYTES, Blocks
from consumers.formats.codec import is_json
from consumers.formats.undecodable import too_large
from curatord.errors import Undecodable
from curatord.records import Document

HEAD_BYTES = 64 << 10  # kept of what cannot be read
BOM = b"\xef\xbb\xbf"

_BETWEEN = re.compile(rb"[ \t\r\n,\x1e\xef\xbb\xbf]*+")
_SCALAR = re.compile(rb"[^ \t\r\n,\x1e\[\]{}\"]*+")
_LINE = re.compile(rb"[^\n\x1e]*+")
_TOKEN = re.compile(rb'[{}\[\]"]')
_STRING_END = re.compile(rb'[^"\\\n]*+(?:\\.[^"\\\n]*+)*+', re.DOTALL)
_NEW_VALUE = re.compile(rb"(?<=\n)[{\x1e]|\x1e")

Value = tuple[bytes | Document | Undecodable, bytes]  # the value, or what is wrong with it and its beginning


def holds_lines(head: bytes, *, named_lines: bool) -> bool:
    """Whether a file that begins so holds a value a line. In doubt the name says it."""
    text = head.removeprefix(BOM).lstrip()
    if not text.startswith((b"{", b"[", b"\x1e")):
        return named_lines or not text.startswith(b'"')
    if not text.startswith(b"{"):
        return False
    first, newline, rest = text.partition(b"\n")
    if not newline and len(head) >= BLOCK_BYTES:
        return named_lines
    if is_json(first):
        return True
    if is_json(first.rstrip().removesuffix(b",")):
        return False
    # What pretty-printers write inside of an object is indented.
    return any(line.startswith(b"{") and is_json(line) for line in rest.split(b"\n"))


class _Open:
    """The value in progress: its pieces, as far as they are within the limit, and its length."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pieces: list[bytes] = []
        self.size = 0

    def add(self, piece: bytes) -> None:
        """Go on with these bytes."""
        self.size += len(piece)
        self._pieces.append(piece)
        if self.size > self._max_bytes:
            self._pieces = [b"".join(self._pieces)[:HEAD_BYTES]]

    def take(self) -> Value:
        """The value as it is now; the next begins."""
        raw, size = b"".join(self._pieces), self.size
        self._pieces, self.size = [], 0
        return (raw, b"") if size <= self._max_bytes else (too_large(size, self._max_bytes), raw[:HEAD_BYTES])


def values_of(blocks: Blocks, max_bytes: int) -> Iterator[list[Value]]:
    """The values, a list a block. The reason why there are no more comes last."""
    value = _Open(max_bytes)
    depth = 0  # of the value in progress; 0 between values
    in_array = in_string = in_scalar = is_escaped = is_broken = False
    before, solid = b"\n", b""  # the last byte of the block before, and the last that is no space
    for block in blocks:
        if isinstance(block, Undecodable):
            yield [(block, value.take()[0][:HEAD_BYTES] if value.size <= max_bytes else b"")]  # type: ignore[index]
            return
        found: list[Value] = []
        at = start = 0
        while at < len(block):
            if is_broken:
                match = _NEW_VALUE.search(block, at)
                if at == 0 and before == b"\n" and block[:1] == b"{":
                    end = 0
                elif match is None:
                    break
                else:
                    end = match.start()
                value.add(block[start:end])
                found.append(value.take())
                at = start = end
                is_broken, depth = False, 0
            elif in_string:
                if is_escaped:
                    at, is_escaped = at + 1, False
                at = _STRING_END.match(block, at).end()  # type: ignore[union-attr]
                if block[at : at + 1] == b'"':
                    at, in_string = at + 1, False
                    if not depth:
                        value.add(block[start:at])
                        found.append(value.take())
                        start = at
                elif block[at : at + 1] == b"\n":
                    in_string, is_broken = False, True
                else:  # the block ends here, perhaps behind a backslash
                    is_escaped = at < len(block)
                    at = len(block)
            elif in_scalar:
                at = (_SCALAR if in_array else _LINE).match(block, at).end()  # type: ignore[union-attr]
                if at < len(block):
                    value.add(block[start:at])
                    found.append(value.take())
                    start, in_scalar = at, False
            elif depth:
                token = _TOKEN.search(block, at)
                if token is None:
                    break
                at = token.end()
                mark = token[0]
                if mark == b'"':
                    in_string = True
                elif mark in b"{[":
                    if mark == b"{" and _begins_anew(block, token.start(), before, solid):
                        value.add(block[start : token.start()])
                        found.append(value.take())
                        start, depth = token.start(), 0
                    depth += 1
                else:
                    depth -= 1
                    if not depth:
                        value.add(block[start:at])
                        found.append(value.take())
                        start = at
            else:
                at = start = _BETWEEN.match(block, at).end()  # type: ignore[union-attr]
                mark = block[at : at + 1]
                if not mark:
                    break
                if mark == b"[" and not in_array:
                    in_array, at = True, at + 1
                elif mark == b"]" and in_array:
                    in_array, at = False, at + 1
                elif mark in b"{[":
                    depth, at = 1, at + 1
                elif mark == b'"':
                    in_string, at = True, at + 1
                else:
                    in_scalar, at = True, at + 1
        if depth or in_string or in_scalar or is_broken:
            value.add(block[start:])
        before, solid = block[-1:] or before, block.rstrip()[-1:] or solid
        if found:
            yield found
    if value.size:
        yield [value.take()]


def _begins_anew(block: bytes, at: int, before: bytes, solid: bytes) -> bool:
    """Whether the `{` here begins a line, behind what it cannot follow in any value."""
    if (block[at - 1 : at] if at else before) != b"\n":
        return False
    while at > 0 and block[at - 1] in b" \t\r\n":
        at -= 1
    return (block[at - 1 : at] if at else solid) not in (b"[", b",", b":")
