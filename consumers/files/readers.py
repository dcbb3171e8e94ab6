"""Rows of one input file, from any row on. A damaged file gives what can be read, then one dead letter for the rest.

Positions count every line (blank ones too, which give no row), value of JSON that is not one a line, or row of a table,
from 0; they do not depend on how the file is cut into blocks. Lines end at LF only: the other separators of Unicode are
text. Memory is bounded by a block and a longest document, however small the file was packed. JSON lines cost one slice
and one Row each, 0.4 µs.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import Any

import msgspec

from consumers.files import web_archives as archives
from consumers.files.content import decoded, in_utf8, opened, source_of
from consumers.files.inputs import MAX_URI_BYTES, InputFile, Kind, kind_of
from consumers.files.json_values import BOM, HEAD_BYTES, Value, holds_lines, values_of
from consumers.files.parquet_pages import largest_page, largest_repeated
from consumers.files.separated import records_of
from consumers.files.tar import members
from consumers.files.unpacking import BLOCK_BYTES, Blocks, compression_of, peek, unpacked
from consumers.formats.arrow_sizes import record_batches
from consumers.formats.columns import TableRow
from consumers.formats.input_config import DEFAULT_INPUT, InputConfig
from consumers.formats.pages import Page
from consumers.formats.plain_tables import plain_columns
from consumers.formats.tables import (
    MAX_UNPACKED,
    check_schema,
    checked,
    documents_of,
    open_parquet,
    unread_ids,
)
from consumers.formats.undecodable import not_utf8, too_large
from curatord.errors import Undecodable, UsageError, first_line
from curatord.records import Document

BLOCK_ROWS = 1000
_MAGICS: tuple[tuple[bytes, Kind], ...] = ((b"PAR1", "parquet"), (b"ARROW1", "arrow"), (b"\xff\xff\xff\xff", "arrow"))
MAX_BATCH_BYTES = 64 << 20  # of a batch of a table whose rows repeat their values


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row: JSON still to be decoded, a document from a columnar or text file, or what is wrong with the row."""

    position: int
    value: bytes | Document | TableRow | Undecodable
    original: bytes = b""  # the beginning of what could not be read, where it is at hand


def read_rows(file: InputFile, start: int = 0, config: InputConfig = DEFAULT_INPUT) -> Iterator[list[Row]]:
    """The rows at positions `start` and later, in lists of about 1 MiB; a growing file only to its size at opening.

    A file that cannot be opened as what it is, or is a table without the text column, is one row that says so.
    Raises UsageError if the file cannot be opened or read at all.
    """
    kind = _kind(file)
    if kind == "parquet":
        yield from _table_rows(file, start, config)
    elif kind == "arrow":
        yield from _arrow_rows(file, start, config)
    else:
        content = unpacked(source_of(file), file.compression, config.max_window_bytes)
        rows_of = _tar_rows if kind == "tar" else partial(_stream_rows, kind)
        yield from rows_of(content, file.uri, start, config)


def _stream_rows(kind: Kind, content: Blocks, name: str, start: int, config: InputConfig) -> Iterator[list[Row]]:
    """The rows at positions `start` and later of unpacked content that is read from its beginning."""
    if kind in ("text", "html"):
        if start == 0:
            yield [_page_row(content, name, config) if kind == "html" else _text_row(content, name, config)]
        return
    beginning, content = peek(content, HEAD_BYTES)
    if begins := archives.BEGINNING.match(beginning):
        kind = "warc" if begins[0].startswith(b"WARC") else "arc"
    if kind == "warc" or kind == "arc":
        yield from _numbered(archives.records_of(content, kind, config.pages.max_record_bytes), start)
        return
    blocks = in_utf8(content, is_json=kind in ("json", "jsonl"))
    if kind in ("csv", "tsv"):
        values = decoded(blocks, config.encoding) if config.encoding else blocks
        yield from _numbered(records_of(values, kind, config), start)
        return
    head, blocks = peek(blocks, BLOCK_BYTES)
    if table := next((kind for magic, kind in _MAGICS if head.startswith(magic)), ""):
        if start == 0:
            message = f"{table.title()} that is packed once more, or piped in: put it into a file of its own"
            yield [Row(0, Undecodable("damaged_file", message))]
    elif holds_lines(head, named_lines=kind == "jsonl"):
        yield from _line_rows(blocks, start, config.max_document_bytes)
    else:
        values = decoded(blocks, config.encoding) if config.encoding else blocks
        yield from _numbered(values_of(values, config.max_document_bytes), start)


def _tar_rows(content: Blocks, uri: str, start: int, config: InputConfig) -> Iterator[list[Row]]:
    """The rows of all members of a tar, numbered through; the members that are not read come last, in one row."""
    position = 0
    passed_over: Counter[str] = Counter()
    for member in members(content):
        if isinstance(member, Undecodable):
            rows: Iterator[list[Row]] = iter([[Row(0, member)]])
        elif (found := kind_of(member[0])) is None or found[0] in ("parquet", "arrow", "tar"):
            passed_over[os.path.splitext(member[0].lower())[1] or "(no suffix)"] += 1
            continue
        else:
            name, blocks = f"{uri}/{member[0]}", unpacked(member[1], found[1], config.max_window_bytes)
            rows = _stream_rows(found[0], blocks, name, 0, config)
        first = position
        for part in rows:
            moved = [Row(first + row.position, row.value, row.original) for row in part]
            position = moved[-1].position + 1 if moved else position
            if position > start:
                yield [row for row in moved if row.position >= start]
    if passed_over and position >= start:
        listed = ", ".join(f"{count} {suffix}" for suffix, count in passed_over.most_common(5))
        message = f"members of this tar that are not read: {listed}; unpack it if they are wanted"
        yield [Row(position, Undecodable("not_read", message))]


def _kind(file: InputFile) -> Kind:
    """The kind of a file, by its first bytes; by its name if they say nothing."""
    if file.is_stdin or file.kind in ("text", "html"):
        return file.kind
    with ExitStack() as stack:
        try:
            head = opened(file, stack).read(8)
        except OSError as error:
            raise UsageError(f"{file.uri}: cannot be read: {error.strerror or error}") from None
    for magic, kind in _MAGICS:
        if head.startswith(magic):
            return kind
    is_json = head[:1] in (b"{", b"[") or bool(compression_of(head))
    return "jsonl" if is_json and file.kind in ("parquet", "arrow") else file.kind


def check_tables(files: Sequence[InputFile], config: InputConfig = DEFAULT_INPUT) -> dict[str, str]:
    """Problems of tables that cannot be used, by uri, before any work starts."""
    problems: dict[str, str] = {}
    for file in files:
        if file.kind == "parquet":
            try:
                if _kind(file) != "parquet":
                    continue
                with ExitStack() as stack:
                    open_parquet(opened(file, stack), config.fields)
            except UsageError as error:
                problems[file.uri] = str(error)
            except Undecodable as error:
                problems[file.uri] = f"{file.uri}: {error}"
    return problems


def _line_rows(blocks: Blocks, start: int, max_document_bytes: int) -> Iterator[list[Row]]:
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
                lines[0] = lines[0].removeprefix(BOM)
            if position + len(lines) > start:
                rows += [Row(at, line) for at, line in enumerate(lines, position) if line and not line.isspace()]
                yield rows if position >= start else [row for row in rows if row.position >= start]
            position += len(lines)
            tail, tail_bytes = [], 0
        tail_bytes += len(rest)
        tail.append(rest)
        if tail_bytes > max_document_bytes:
            tail = [b"".join(piece[:HEAD_BYTES] for piece in tail)[:HEAD_BYTES]]


def _numbered(found: Iterator[Sequence[Value | None]], start: int) -> Iterator[list[Row]]:
    """Rows of values that are not one a line, from a position on; None has a position, and no row."""
    position = 0
    for values in found:
        rows = [Row(at, *value) for at, value in enumerate(values, position) if value is not None]
        position += len(values)
        if position > start:
            yield [row for row in rows if row.position >= start]


def _usable(name: str) -> str | None:
    """The name of a file, or of a member of one, as an id; None if it cannot be one."""
    try:
        return name if len(name.encode()) <= MAX_URI_BYTES else None
    except UnicodeEncodeError:
        return None


def _whole(content: Blocks, max_bytes: int) -> tuple[bytes, Undecodable | None]:
    """All of it, or as much as there was, and what is wrong with it."""
    read: list[bytes] = []
    size = 0
    for block in content:
        if isinstance(block, Undecodable):
            return b"".join(read), block
        read.append(block)
        size += len(block)
        if size > max_bytes:
            return b"".join(read), too_large(size, max_bytes)
    return b"".join(read), None


def _page_row(content: Blocks, name: str, config: InputConfig) -> Row:
    """A file of HTML is one page of that name."""
    raw, problem = _whole(content, config.max_document_bytes)
    if problem is not None:
        return Row(0, problem, raw[:HEAD_BYTES])
    return Row(0, Page(id=_usable(name), text="", content=raw, form="html"))


def _text_row(content: Blocks, name: str, config: InputConfig) -> Row:
    """A text file is one document of that name. A byte-order mark is no part of the text."""
    doc_id = _usable(name)
    raw, problem = _whole(in_utf8(content, is_json=False), config.max_document_bytes)
    raw = raw.removeprefix(BOM)
    if problem is None:
        try:
            return Row(0, Document(id=doc_id, text=raw.decode()))
        except UnicodeDecodeError as error:
            problem = not_utf8(raw, error)
            if config.encoding:
                return Row(0, Document(id=doc_id, text=raw.decode(config.encoding, "replace")))
    return Row(0, problem, raw[:HEAD_BYTES])


def _table_rows(file: InputFile, start: int, config: InputConfig) -> Iterator[list[Row]]:
    """Rows of a Parquet file. A damaged row group gives one dead letter for the rest of it; the next are read."""
    import pyarrow as pa

    with ExitStack() as stack:
        raw = opened(file, stack)
        try:
            table, columns = open_parquet(raw, config.fields)
        except Undecodable as error:
            if start == 0:
                yield [Row(0, error.with_traceback(None))]
            return
        id_problem = unread_ids(table.schema_arrow, config.fields)
        end = 0
        for group in range(table.num_row_groups):
            at, end = end, end + table.metadata.row_group(group).num_rows
            if end <= start:
                continue
            try:
                batches = table.iter_batches(
                    batch_size=_rows_at_once(raw, table, group, columns),
                    row_groups=[group],
                    columns=columns,
                    use_threads=False,
                )
                for batch in batches:
                    for rows in _batch_rows(batch, at, config, id_problem):
                        at += len(rows)
                        if at > start:
                            yield [row for row in rows if row.position >= start]
            except Undecodable as error:
                if at >= start:
                    yield [Row(at, Undecodable(error.reason, f"row group {group}, rows {at} to {end - 1}: {error}"))]
            except (pa.ArrowException, OSError) as error:
                if at >= start:
                    message = f"row group {group} is damaged: its rows {at} to {end - 1} are lost ({first_line(error)})"
                    yield [Row(at, Undecodable("damaged_file", message))]


def _rows_at_once(raw: Any, table: Any, group: int, columns: list[str]) -> int:
    """How many rows of a group may be unpacked together. Raises Undecodable if not even one page may."""
    metadata = table.metadata.row_group(group)
    row_bytes = max(1, int(metadata.total_byte_size) // max(1, metadata.num_rows))
    count: int = max(1, min(BLOCK_ROWS, BLOCK_BYTES // row_bytes))
    for number in range(metadata.num_columns):
        chunk = metadata.column(number)
        if chunk.path_in_schema not in columns:
            continue
        page, repeated = largest_page(raw, chunk), largest_repeated(raw, chunk)
        if max(page, repeated) > MAX_UNPACKED:
            raise Undecodable(
                "too_large",
                f"one page of column {chunk.path_in_schema!r} unpacks to {max(page, repeated):,} bytes, where "
                f"{MAX_UNPACKED:,} are read; write the file anew with smaller pages",
            )
        if repeated * count > MAX_BATCH_BYTES:
            if "DELTA_BYTE_ARRAY" not in chunk.encodings:
                repeated = _longest_entry(raw, group, chunk.path_in_schema) or repeated
            count = max(1, min(count, MAX_BATCH_BYTES // repeated))
    return count


def _longest_entry(raw: Any, group: int, column: str) -> int:
    """Bytes of the longest entry of a dictionary; 0 if it cannot be told."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow.parquet import ParquetFile

    file = ParquetFile(raw, read_dictionary=[column])
    for batch in file.iter_batches(batch_size=BLOCK_ROWS, row_groups=[group], columns=[column], use_threads=False):
        values = batch.column(0)
        if not pa.types.is_dictionary(values.type):
            break
        if len(values.dictionary):  # with the first value comes the whole page; rows are numbers of entries here
            return int(pc.max(pc.binary_length(values.dictionary)).as_py() or 1)
    return 0


def _arrow_rows(file: InputFile, start: int, config: InputConfig) -> Iterator[list[Row]]:
    """Rows of an Arrow IPC file or stream, as `datasets` saves them."""
    import pyarrow as pa

    at = 0
    try:
        with ExitStack() as stack:
            if file.is_remote:
                raw = pa.py_buffer(opened(file, stack).read())
            else:
                raw = stack.enter_context(pa.memory_map(file.uri)).read_buffer()
            for batch in record_batches(raw, MAX_UNPACKED, in_all=False):
                check_schema(batch.schema, config.fields)
                part = checked(batch)
                for first in range(0, len(part), BLOCK_ROWS):
                    if at + len(part) - first <= start:
                        at += len(part) - first
                        break
                    for rows in _batch_rows(part.slice(first, BLOCK_ROWS), at, config):
                        at += len(rows)
                        if at > start:
                            yield [row for row in rows if row.position >= start]
    except Undecodable as error:
        if at >= start:
            yield [Row(at, error.with_traceback(None))]
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        if at >= start:
            message = f"not readable as Arrow IPC from row {at} on: {first_line(error)}"
            yield [Row(at, Undecodable("damaged_file", message))]


def _batch_rows(batch: Any, first: int, config: InputConfig, id_problem: str = "") -> Iterator[list[Row]]:
    """The rows of a batch, the first at position `first`; in parts, where they unpack to too much for one list."""
    if not id_problem and (columns := plain_columns(batch, config.fields, config.max_document_bytes)):
        sizes = columns.texts.num_bytes().tolist()
        yield [Row(first + at, TableRow(columns, at, size)) for at, size in enumerate(sizes)]
        return
    try:
        values = documents_of(batch, config.fields, config.max_document_bytes, id_problem)
        rows = [Row(at, value) for at, value in enumerate(values, first)]
    except Undecodable as error:
        rows = [Row(first, error.with_traceback(None))]
    if len(rows) >= len(batch):
        yield rows
        return
    half = len(batch) // 2
    yield from _batch_rows(batch.slice(0, half), first, config, id_problem)
    yield from _batch_rows(batch.slice(half), first + half, config, id_problem)
