"""Rows of CSV and TSV: the first names the fields, every other one is a record, quoted as spreadsheets do (RFC 4180).

Python's csv module reads them. A record with another number of fields than the header is none, for a quote or a
separator is amiss there, and its texts may be those of its neighbours. Blank lines are passed over.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain

from consumers.files.json_values import HEAD_BYTES, Value
from consumers.files.unpacking import BLOCK_BYTES, Blocks
from consumers.formats.codec import document_of
from consumers.formats.fields import FieldNames
from consumers.formats.input_config import InputConfig
from consumers.formats.undecodable import no_text, not_utf8, too_large
from curatord.errors import Undecodable
from curatord.records import Document

SEPARATORS = {"csv": ",;\t|", "tsv": "\t,;|"}


def records_of(blocks: Blocks, kind: str, config: InputConfig) -> Iterator[list[Value]]:
    """The records as documents, in lists of about 1 MiB; the reason why there are no more comes last.

    Blocks are in UTF-8. The separator is the first of `SEPARATORS` by which a field of the header is that of the text.
    """
    lines = _Lines(blocks, config.max_document_bytes)
    csv.field_size_limit(config.max_document_bytes)
    head = next((line for line in map(_without_mark, lines) if line and not line.isspace()), "")
    rows = csv.reader(chain([head], lines), delimiter=_separator(head, kind, config.fields))
    names = next(rows, []) if head else []
    if config.fields.text not in names and lines.problem is None:
        if names:
            yield [(Undecodable("no_text", no_text(config.fields, names)), b"")]
        return
    found: list[Value] = []
    num_characters = 0
    while (row := _next(rows)) is not None:
        if lines.ended and lines.problem is not None:
            break  # its end is lost with all behind it
        if not row:
            continue
        found.append(_value(row, names, config, is_open=lines.ended))
        num_characters += 0 if isinstance(row, csv.Error) else sum(map(len, row))
        if num_characters >= BLOCK_BYTES:
            yield found
            found, num_characters = [], 0
    if lines.problem is not None:
        found.append((lines.problem, b""))
    if found:
        yield found


def _without_mark(line: str) -> str:
    return line.removeprefix("\ufeff")


def _next(rows: Iterator[list[str]]) -> list[str] | csv.Error | None:
    """The next row, why it is none, or None after the last."""
    try:
        return next(rows, None)
    except csv.Error as error:
        return error


def _separator(head: str, kind: str, fields: FieldNames) -> str:
    """The separator of a header."""
    for separator in SEPARATORS[kind]:
        try:
            if fields.text in next(csv.reader([head], delimiter=separator), []):
                return separator
        except csv.Error:
            continue
    return SEPARATORS[kind][0]


def _value(row: list[str] | csv.Error, names: list[str], config: InputConfig, *, is_open: bool) -> Value:
    """A row as a document, or why it is none, with its beginning."""
    if isinstance(row, csv.Error):
        return Undecodable("not_csv", f"{row}: a quote is missing, or there is one too many"), b""
    raw = ",".join(row).encode("utf-8", "surrogateescape")
    try:
        if is_open:
            raise Undecodable(
                "not_csv", "a quote that is opened here is never closed: all to the end of the file is lost"
            )
        if len(row) != len(names):
            raise Undecodable(
                "not_csv",
                f"{len(row)} fields, where the header has {len(names)}: a quote or a separator is amiss",
            )
        if len(raw) > config.max_document_bytes:
            raise too_large(len(raw), config.max_document_bytes)
        return _document(row, names, raw, config.fields), b""
    except Undecodable as error:
        return error.with_traceback(None), raw[:HEAD_BYTES]


def _document(row: list[str], names: list[str], raw: bytes, fields: FieldNames) -> Document:
    """A record with as many fields as the header. Raises Undecodable."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(raw, error) from None
    record: dict[str, object] = dict(zip(names, row, strict=True))
    for name in fields.numbers().values():
        if name in record:
            record[name] = _number(str(record[name]))
    moment = str(record.get(fields.timestamp, ""))
    if moment.isdecimal() and len(moment) < 20:
        record[fields.timestamp] = int(moment)
    return document_of(record, fields, keep_metadata=False)


def _number(digits: str) -> object:
    """A number, None for nothing; anything else as it is."""
    try:
        return float(digits) if digits.strip() else None
    except ValueError:
        return digits


class _Lines:
    """Lines with their ends. One over the limit comes in parts, so that no more than that is held.

    `ended` once there was none to give; `problem` if that is for a reason, and then the line that it cut is not given.
    """

    def __init__(self, blocks: Blocks, max_bytes: int) -> None:
        self._lines = self._read(blocks, max_bytes)
        self.ended = False
        self.problem: Undecodable | None = None

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._lines, None)
        if line is None:
            self.ended = True
            raise StopIteration
        return line.decode("utf-8", "surrogateescape")

    def _read(self, blocks: Blocks, max_bytes: int) -> Iterator[bytes]:
        tail: list[bytes] = []
        tail_bytes = 0
        for block in blocks:
            if isinstance(block, Undecodable):
                self.problem = block
                return
            *lines, rest = block.split(b"\n")
            if lines:
                lines[0] = b"".join((*tail, lines[0]))
                tail, tail_bytes = [], 0
                for line in lines:
                    yield line + b"\n"
            tail.append(rest)
            tail_bytes += len(rest)
            if tail_bytes > max_bytes:
                yield b"".join(tail)
                tail, tail_bytes = [], 0
        if tail_bytes:
            yield b"".join(tail)
