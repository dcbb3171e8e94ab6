"""Records of WARC (0.17 to 1.1) and ARC (1, 2), cut apart; reading them is left to `curation.acquisition`.

Records that may hold a page (response, resource, conversion) are given whole; the others (warcinfo, request, metadata,
revisit) have a position and no row, as blank lines of JSON lines have. Bytes that are no record, a length that is not
that of its record, and an end too early are dead letters, each with its beginning, and the next record is looked for.

A WARC: https://iipc.github.io/warc-specifications/ ; an ARC: https://archive.org/web/researcher/ArcFileFormat.php
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from consumers.files.json_values import HEAD_BYTES, Value
from consumers.files.unpacking import BLOCK_BYTES, Blocks
from consumers.formats.pages import Page
from consumers.formats.undecodable import too_large
from curatord.errors import Undecodable

MAX_HEAD_BYTES = 64 << 10  # of the header of a record
BEGINNING = re.compile(rb"WARC/[01]\.\d{1,3}\s|filedesc://")

_WARC_NEXT = re.compile(rb"(?:(?<=\n)|\A)WARC/[01]\.\d{1,3}\s")
_WARC_END = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"\ncontent-length:[ \t]*(\d{1,15})[ \t]*\r?\n", re.IGNORECASE)
_TYPE = re.compile(rb"\nwarc-type:[ \t]*([a-z]{1,20})", re.IGNORECASE)
_ARC_NEXT = re.compile(
    rb"(?:(?<=\n)|\A)(?:https?|ftp|dns|filedesc|whois)://?[^ \n]* [^ \n]{1,60} \d{8,14} [^\n]{1,2000}\n"
)
_ARC_LENGTH = re.compile(rb" (\d{1,15})\r?\n\Z")
_HOLDS_PAGE = (b"response", b"resource", b"conversion")
_BLANK = re.compile(rb"[\r\n]*")


def records_of(blocks: Blocks, kind: Literal["warc", "arc"], max_bytes: int) -> Iterator[list[Value | None]]:
    """The records in order, in lists of about 1 MiB; None for one that holds no page."""
    found: list[Value | None] = []
    num_bytes = 0
    for value in _Archive(blocks, kind, max_bytes).values():
        found.append(value)
        num_bytes += len(value[0].content) if value is not None and isinstance(value[0], Page) else 100
        if num_bytes >= BLOCK_BYTES:
            yield found
            found, num_bytes = [], 0
    if found:
        yield found


class _Archive:
    """The part of an archive that is at hand, and not given out yet."""

    def __init__(self, blocks: Blocks, kind: Literal["warc", "arc"], max_bytes: int) -> None:
        self._blocks = blocks
        self._kind: Literal["warc", "arc"] = kind
        self._max_bytes = max_bytes
        self._next = _WARC_NEXT if kind == "warc" else _ARC_NEXT
        self._buffer = bytearray()
        self._has_ended = False
        self._problem: Undecodable | None = None

    def _fill(self, size: int) -> bool:
        """Have so many bytes at hand; False if there are not so many."""
        while len(self._buffer) < size and not self._has_ended:
            block = next(self._blocks, None)
            if block is None or isinstance(block, Undecodable):
                self._has_ended, self._problem = True, block
            else:
                self._buffer += block
        return len(self._buffer) >= size

    def values(self) -> Iterator[Value | None]:
        """All records."""
        while True:
            self._fill(MAX_HEAD_BYTES)
            blank = _BLANK.match(self._buffer)
            del self._buffer[: blank.end() if blank else 0]
            if not self._buffer and not self._fill(1):
                break
            if bytes(self._buffer[:1]) in (b"\r", b"\n"):
                continue
            yield from self._record()
        if self._problem is not None:
            yield self._problem, b""

    def _record(self) -> Iterator[Value | None]:
        self._fill(MAX_HEAD_BYTES)
        head_bytes = self._head_bytes()
        head = bytes(self._buffer[:head_bytes])
        length = (_LENGTH if self._kind == "warc" else _ARC_LENGTH).search(head)
        if not length:
            yield from self._lost(1, "no record begins here, or its header tells no length")
            return
        size = int(length[1])
        if size > self._max_bytes:
            yield (too_large(size, self._max_bytes), head) if self._holds_page(head) else None
            self._pass(head_bytes + size)
            return
        end = head_bytes + size
        if not self._fill(end):
            if self._problem is None:
                yield from self._lost(head_bytes, f"the record says {size:,} bytes, and the file ends before")
            else:
                self._problem_at(head)
            return
        self._fill(end + 16)
        # Some writers leave the blank lines out.
        follows = bytes(self._buffer[end : end + 1])
        if follows not in (b"", b"\r", b"\n") and not BEGINNING.match(self._buffer, end):
            yield from self._lost(head_bytes, f"the record says {size:,} bytes, and another number stands there")
            return
        raw = bytes(self._buffer[:end])
        del self._buffer[:end]
        if self._holds_page(head):
            yield Page(id=None, text="", content=raw, form=self._kind), b""
        else:
            yield None

    def _problem_at(self, head: bytes) -> None:
        """The file ends within a record, for a reason that is told."""
        del self._buffer[:]
        assert self._problem is not None
        self._problem = Undecodable(self._problem.reason, f"{self._problem}; it is within a record: {head[:200]!r}")

    def _head_bytes(self) -> int:
        """Bytes of the header at hand; 0 if there is none."""
        if self._kind == "warc":
            end = _WARC_END.search(self._buffer, 0, MAX_HEAD_BYTES) if self._next.match(self._buffer) else None
        else:
            end = self._next.match(self._buffer)
        return end.end() if end else 0

    def _holds_page(self, head: bytes) -> bool:
        if self._kind == "arc":
            return not head.startswith(b"filedesc:")
        kind = _TYPE.search(head)
        return kind is not None and kind[1].lower() in _HOLDS_PAGE

    def _pass(self, size: int) -> None:
        """Leave so many bytes behind, without holding them."""
        while size > 0 and self._fill(1):
            part = min(size, len(self._buffer))
            del self._buffer[:part]
            size -= part

    def _lost(self, first: int, why: str) -> Iterator[Value]:
        """One dead letter for all up to the next record that begins at `first` or later."""
        head = bytes(self._buffer[:HEAD_BYTES])
        passed = 0
        while True:
            self._fill(max(BLOCK_BYTES, first + MAX_HEAD_BYTES))
            found = self._next.search(self._buffer, first)
            if found or self._has_ended:
                end = found.start() if found else len(self._buffer)
                del self._buffer[:end]
                passed += end
                break
            # A beginning may be cut by the end of what is at hand.
            end = max(0, len(self._buffer) - MAX_HEAD_BYTES)
            del self._buffer[:end]
            passed += end
            first = 0
        yield Undecodable("bad_record", f"{why}: {passed:,} bytes, up to the next record, are lost"), head
