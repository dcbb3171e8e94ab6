"""Rows of one input file, from any row on. A damaged file gives what can be read, then one dead letter for the rest.

Positions count every line (blank ones too, which give no row), element of a JSON array or row of a table, from 0; they
do not depend on how the file is cut into blocks. Lines end at LF only: the other separators of Unicode are text.
Memory is bounded by a block, a longest document and, for a JSON array, MAX_ARRAY_BYTES, however small the file was
compressed. JSON lines cost one slice and one Row each, 0.4 µs.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Any

import msgspec
import zstandard

from consumers.codec import (
    DEFAULT_FIELDS,
    MAX_DOCUMENT_BYTES,
    FieldNames,
    explain,
    not_utf8,
    too_large,
)
from consumers.inputs import Compression, InputFile
from consumers.tables import documents_of, first_line, open_parquet
from curatord.errors import Undecodable, UsageError
from curatord.records import Document

BLOCK_BYTES = 1 << 20
BLOCK_ROWS = 1000
HEAD_BYTES = 64 << 10  # kept of what cannot be read
MAX_ARRAY_BYTES = 256 << 20
FEED_BYTES = 512  # unpacks to 16 MiB at the very most (zstd; gzip 0.5 MiB), so a bomb goes off in small pieces

_BOM = b"\xef\xbb\xbf"
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row: JSON still to be decoded, a document from a columnar or text file, or what is wrong with the row."""

    position: int
    value: bytes | Document | Undecodable
    original: bytes = b""  # the beginning of what could not be read, where it is at hand


def read_rows(
    file: InputFile,
    start: int = 0,
    *,
    fields: FieldNames = DEFAULT_FIELDS,
    max_document_bytes: int = MAX_DOCUMENT_BYTES,
) -> Iterator[list[Row]]:
    """The rows at positions `start` and later, in lists of about 1 MiB; a growing file only to its size at opening.

    Raises UsageError if the file cannot be opened or read at all, or is a table without the text column.
    """
    if file.kind == "parquet":
        yield from _table_rows(file, start, fields, max_document_bytes)
    elif file.kind == "json":
        yield from _json_rows(_blocks(file), start, max_document_bytes)
    elif file.kind == "jsonl":
        yield from _line_rows(_blocks(file), start, max_document_bytes)
    elif start == 0:
        yield [_text_row(file, max_document_bytes)]


def check_tables(files: Sequence[InputFile], fields: FieldNames = DEFAULT_FIELDS) -> None:
    """Open every Parquet file, before any work starts. Raises UsageError listing all that cannot be used."""
    problems: list[str] = []
    for file in files:
        if file.kind == "parquet":
            try:
                with ExitStack() as stack:
                    open_parquet(_open(file, stack), file.uri, fields)
            except UsageError as error:
                problems.append(str(error))
    if len(problems) > 1:
        raise UsageError(f"{len(problems)} inputs cannot be used:\n  " + "\n  ".join(problems))
    if problems:
        raise UsageError(problems[0])


def _line_rows(blocks: Iterator[bytes | Undecodable], start: int, max_document_bytes: int) -> Iterator[list[Row]]:
    """Rows of JSON lines. Of a line over the limit only the beginning and the length are kept while it passes by."""
    position = 0
    tail: list[bytes] = []  # what is kept of the line in progress
    tail_bytes = 0  # its whole length so far
    # One more LF ends a last line that has none, and adds but a blank line to a file that has.
    for block in chain(blocks, (b"\n",)):
        if isinstance(block, Undecodable):
            if position >= start:
                yield [Row(position, block, b"".join(tail)[:HEAD_BYTES])]
            return
        *lines, rest = block.split(b"\n")
        if lines:
            rows: list[Row] = []
            if tail_bytes:
                size = tail_bytes + len(lines[0])
                if size <= max_document_bytes:
                    lines[0] = b"".join((*tail, lines[0]))
                else:
                    rows = [Row(position, too_large(size, max_document_bytes), tail[0][:HEAD_BYTES])]
                    lines[0] = b""
            if position == 0:
                lines[0] = lines[0].removeprefix(_BOM)
            if position + len(lines) > start:
                rows += [Row(at, line) for at, line in enumerate(lines, position) if line and not line.isspace()]
                yield rows if position >= start else [row for row in rows if row.position >= start]
            position += len(lines)
            tail, tail_bytes = [], 0
        tail_bytes += len(rest)
        tail.append(rest)
        if tail_bytes > max_document_bytes:
            tail = [b"".join(piece[:HEAD_BYTES] for piece in tail)[:HEAD_BYTES]]


def _json_rows(blocks: Iterator[bytes | Undecodable], start: int, max_document_bytes: int) -> Iterator[list[Row]]:
    """Rows of a .json file: JSON lines, one array of objects, or one object printed over many lines."""
    first = next(blocks, b"")
    if isinstance(first, Undecodable) or _is_json_lines(first):
        yield from _line_rows(chain((first,), blocks), start, max_document_bytes)
        return
    is_array = first.removeprefix(_BOM).lstrip().startswith(b"[")
    read, problem = _read_whole(chain((first,), blocks), MAX_ARRAY_BYTES if is_array else max_document_bytes)
    values: list[bytes] = []
    if problem is None:
        values, problem = _json_values(b"".join(read).removeprefix(_BOM), is_array)  # type: ignore[arg-type]
    if problem is None:
        for at in range(start, len(values), BLOCK_ROWS):
            yield [Row(position, value) for position, value in enumerate(values[at : at + BLOCK_ROWS], at)]
    elif not is_array:
        yield from _line_rows(chain(read, blocks), start, max_document_bytes)
    elif start == 0:
        yield [Row(0, problem, first[:HEAD_BYTES])]


def _is_json_lines(block: bytes) -> bool:
    """Whether the first line is a whole JSON value, and more follows."""
    line, _, rest = block.removeprefix(_BOM).lstrip().partition(b"\n")
    if not rest or rest.isspace():
        return False
    try:
        _decode_raw(line)
    except (ValueError, RecursionError):
        return False
    return True


def _json_values(whole: bytes, is_array: bool) -> tuple[list[bytes], Undecodable | None]:
    """The elements of an array, or the one value, still to be decoded; or why they cannot be told apart."""
    try:
        return [bytes(value) for value in (_decode_array(whole) if is_array else [_decode_raw(whole)])], None
    except (ValueError, RecursionError) as error:
        return [], explain(whole, error)


def _text_row(file: InputFile, max_document_bytes: int) -> Row:
    """A text file is one document, named by its uri. A byte-order mark is no part of the text."""
    read, problem = _read_whole(_blocks(file), max_document_bytes)
    raw = b"".join(piece for piece in read if isinstance(piece, bytes))
    if problem is None:
        try:
            return Row(0, Document(id=file.uri, text=raw.removeprefix(_BOM).decode()))
        except UnicodeDecodeError as error:
            problem = not_utf8(raw, error)
    return Row(0, problem, raw[:HEAD_BYTES])


def _read_whole(
    blocks: Iterator[bytes | Undecodable], limit: int
) -> tuple[list[bytes | Undecodable], Undecodable | None]:
    """The blocks as long as they are not more than `limit` bytes together, and what keeps them from being whole."""
    read: list[bytes | Undecodable] = []
    size = 0
    for block in blocks:
        read.append(block)
        if isinstance(block, Undecodable):
            return read, block
        size += len(block)
        if size > limit:
            return read, Undecodable(
                "too_large",
                f"more than {limit:,} bytes in one piece; split it, or make JSON lines of an array: jq -c '.[]' FILE",
            )
    return read, None


def _table_rows(file: InputFile, start: int, fields: FieldNames, max_document_bytes: int) -> Iterator[list[Row]]:
    """Rows of a Parquet file. A damaged row group gives one dead letter for the rest of it; the next are read."""
    import pyarrow as pa

    with ExitStack() as stack:
        table, columns = open_parquet(_open(file, stack), file.uri, fields)
        end = 0
        for group in range(table.num_row_groups):
            group_metadata = table.metadata.row_group(group)
            at, end = end, end + group_metadata.num_rows
            if end <= start:
                continue
            row_bytes = max(1, group_metadata.total_byte_size // max(1, group_metadata.num_rows))
            batches = table.iter_batches(
                batch_size=max(1, min(BLOCK_ROWS, BLOCK_BYTES // row_bytes)),
                row_groups=[group],
                columns=columns,
                use_threads=False,
            )
            try:
                for batch in batches:
                    for rows in _batch_rows(batch, at, fields, max_document_bytes):
                        at += len(rows)
                        if at > start:
                            yield [row for row in rows if row.position >= start]
            except (pa.ArrowException, OSError) as error:
                if at >= start:
                    message = f"row group {group} is damaged: its rows {at} to {end - 1} are lost ({first_line(error)})"
                    yield [Row(at, Undecodable("damaged_file", message))]


def _batch_rows(batch: Any, first: int, fields: FieldNames, max_document_bytes: int) -> Iterator[list[Row]]:
    """The rows of a batch, the first at position `first`; in parts, where they unpack to too much for one list."""
    try:
        rows = [Row(at, value) for at, value in enumerate(documents_of(batch, fields, max_document_bytes), first)]
    except Undecodable as error:
        rows = [Row(first, error.with_traceback(None))]
    if len(rows) >= len(batch):
        yield rows
        return
    half = len(batch) // 2
    yield from _batch_rows(batch.slice(0, half), first, fields, max_document_bytes)
    yield from _batch_rows(batch.slice(half), first + half, fields, max_document_bytes)


def _blocks(file: InputFile) -> Iterator[bytes | Undecodable]:
    """The unpacked content, in blocks of about 1 MiB; if it cannot be had to its end, the reason comes last."""
    if not file.compression:
        yield from _source(file)
        return
    pieces: list[bytes] = []
    size = 0
    damage: Undecodable | None = None
    for piece in _unpacked(_source(file), file.compression):
        if isinstance(piece, Undecodable):
            damage = piece
            break
        pieces.append(piece)
        size += len(piece)
        if size >= BLOCK_BYTES:
            yield b"".join(pieces)
            pieces, size = [], 0
    yield b"".join(pieces)
    if damage is not None:
        yield damage


def _unpacked(source: Iterator[bytes], compression: Compression) -> Iterator[bytes | Undecodable]:
    """The content of a gzip file of any number of members, or a zstd file of any number of frames."""
    unpacker: Any = None  # None between members
    try:
        for block in source:
            for at in range(0, len(block), FEED_BYTES):
                data = block[at : at + FEED_BYTES]
                while data := data.lstrip(b"\0") if unpacker is None else data:  # members may be padded with zeros
                    if unpacker is None:
                        unpacker = _new_unpacker(compression)
                    yield unpacker.decompress(data)
                    data = b""
                    if unpacker.eof:
                        data, unpacker = unpacker.unused_data, None
    except (zlib.error, zstandard.ZstdError) as error:
        yield Undecodable("damaged_file", f"the {compression} data is damaged, the rest of the file is lost ({error})")
    else:
        if unpacker is not None:
            yield Undecodable("damaged_file", f"the {compression} data ends early, as after an interrupted copy")


def _new_unpacker(compression: Compression) -> Any:
    return zlib.decompressobj(wbits=31) if compression == "gzip" else zstandard.ZstdDecompressor().decompressobj()


def _source(file: InputFile) -> Iterator[bytes]:
    """The bytes of the file as it lies there. Raises UsageError."""
    if file.is_stdin:
        yield file.head
        while block := sys.stdin.buffer.read1(BLOCK_BYTES):  # type: ignore[union-attr]
            yield block
        return
    try:
        with ExitStack() as stack:
            raw = _open(file, stack)
            size = (getattr(raw, "size", None) or file.size) if file.is_remote else os.fstat(raw.fileno()).st_size
            left = size or sys.maxsize  # some servers do not tell
            while block := raw.read(min(BLOCK_BYTES, left)):
                left -= len(block)
                yield block
    except OSError as error:
        raise UsageError(f"{file.uri}: cannot be read: {error.strerror or error}") from None


def _open(file: InputFile, stack: ExitStack) -> Any:
    """The file, open for reading until the stack closes. Raises UsageError."""
    try:
        if not file.is_remote:
            return stack.enter_context(open(file.uri, "rb"))
        import fsspec

        return stack.enter_context(fsspec.open(file.uri, "rb"))
    except OSError as error:
        raise UsageError(f"{file.uri}: cannot be opened: {error.strerror or error}") from None
