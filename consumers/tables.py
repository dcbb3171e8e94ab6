"""Arrow tables to documents: messages that hold an Arrow IPC stream, row groups of Parquet files.

Only the columns named in [input.fields] are read, so the metadata is empty. A row means what the same record means as
JSON: the rules are those of `consumers.codec`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from consumers.codec import DEFAULT_FIELDS, MAX_DOCUMENT_BYTES, FieldNames, document_of, no_text, not_utf8, too_large
from curatord.errors import Undecodable, UsageError
from curatord.records import Document

# A message of more would take gigabytes as rows, however few bytes it came in: it is one dead letter.
MAX_ROWS = 1 << 20
MAX_UNPACKED = 256 << 20  # bytes of a batch in a message; of a column whose rows may share them
TOO_MANY = Undecodable("too_large", f"more than {MAX_ROWS:,} documents in one message; send smaller messages")
_FILE_MAGIC = b"ARROW1"
_TEXT_TYPES = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")


def decode_arrow(
    raw: bytes,
    fields: FieldNames = DEFAULT_FIELDS,
    *,
    max_document_bytes: int = MAX_DOCUMENT_BYTES,
    max_rows: int = MAX_ROWS,
) -> Iterator[tuple[int | None, Document | Undecodable]]:
    """The documents of a message that holds an Arrow IPC stream or file, with their row number.

    Only the named columns are read, so the metadata is empty. A stream that breaks off gives the documents before the
    break and one `not_arrow` in place of the rest. No number means the whole message, of which nothing is
    to be taken: it cannot be read from its first row on, or holds more than `max_rows`.
    """
    import pyarrow as pa

    index = 0
    try:
        for batch in _batches(raw):
            values = documents_of(batch, fields, max_document_bytes)
            if index + len(batch) > max_rows:  # known before any of them is an object
                yield None, TOO_MANY
                return
            for value in values:
                yield index, value
                index += 1
    except Undecodable as error:
        yield index or None, error.with_traceback(None)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:  # KeyError: a type that only C++ knows
        message = f"not readable as Arrow IPC from row {index} on: {first_line(error)}"
        yield index or None, Undecodable("not_arrow", message)


def arrow_row(raw: bytes, index: int) -> bytes:
    """One row of an Arrow IPC stream or file, as a stream of its own; empty if it cannot be cut out."""
    import pyarrow as pa

    first = 0
    try:
        for batch in _batches(raw):
            if first <= index < first + len(batch):
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, batch.schema) as stream:
                    stream.write_batch(batch.slice(index - first, 1))
                return bytes(sink.getvalue())
            first += len(batch)
    except (Undecodable, pa.ArrowException, OSError, ValueError, KeyError):
        pass
    return b""


def _batches(raw: bytes) -> Iterator[Any]:
    """The record batches, checked to their last byte: what comes out may be looked at without fear."""
    import pyarrow as pa

    if raw.startswith(_FILE_MAGIC):
        with pa.ipc.open_file(raw) as file:
            for number in range(file.num_record_batches):
                yield _checked(file.get_batch(number))
        return
    with pa.ipc.open_stream(raw) as stream:
        for batch in stream:
            yield _checked(batch)


def _checked(batch: Any) -> Any:
    """The batch, checked in full; with bytes for strings if one of them is no UTF-8, for that costs its row only.

    Raises Undecodable for a batch that is small only as long as it is packed.
    """
    import pyarrow as pa

    size = batch.get_total_buffer_size()
    if size > MAX_UNPACKED:
        raise Undecodable(
            "too_large", f"a batch unpacks to {size:,} bytes; {MAX_UNPACKED:,} are read; send smaller ones"
        )
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        batch = pa.RecordBatch.from_arrays([*map(_as_bytes, batch.columns)], names=batch.schema.names)
        batch.validate(full=True)
    return batch


def _as_bytes(column: Any) -> Any:
    """The same buffers, as bytes if they were strings."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        return pa.DictionaryArray.from_arrays(column.indices, _as_bytes(column.dictionary), safe=False)
    kinds = {"string": pa.binary(), "large_string": pa.large_binary(), "string_view": pa.binary_view()}
    kind = kinds.get(str(column.type))
    return column if kind is None else column.view(kind)


def documents_of(
    batch: Any, fields: FieldNames, max_document_bytes: int = MAX_DOCUMENT_BYTES
) -> Iterator[Document | Undecodable]:
    """The rows of one pyarrow.RecordBatch, by the rules of this module.

    Raises Undecodable without a text column of strings; the rows do for a table that is small only while it is packed.
    """
    present = batch.schema.names
    if fields.text not in present:
        raise Undecodable("no_text", no_text(fields, present))
    names = [name for name in fields.all if name and name in present]
    columns = [batch.column(_place(name, present)) for name in names]
    # A column of nulls or of runs may have any number of rows in no bytes at all; strings take four bytes each.
    if not _is_text(columns[0].type):
        raise Undecodable("text_not_a_string", f"column {fields.text!r} holds {columns[0].type}, not strings")
    return _documents(names, columns, fields, max_document_bytes)


def _documents(
    names: list[str], columns: list[Any], fields: FieldNames, max_document_bytes: int
) -> Iterator[Document | Undecodable]:
    """The rows of the columns with these names."""
    for row in zip(*map(_values, columns), strict=True):
        try:
            if any(isinstance(value, Undecodable) for value in row):
                raise next(value for value in row if isinstance(value, Undecodable))
            document = document_of(dict(zip(names, row, strict=True)), fields, keep_metadata=False)
            # UTF-8 is at most four bytes a character: most texts need no second look.
            if 4 * len(document.text) > max_document_bytes:
                size = len(document.text.encode())
                if size > max_document_bytes:
                    raise too_large(size, max_document_bytes)
            yield document
        except Undecodable as error:
            yield error.with_traceback(None)


def open_parquet(raw: Any, uri: str, fields: FieldNames) -> tuple[Any, list[str]]:
    """The Parquet file in an open binary file, and which of its columns to read. Raises UsageError, naming `uri`."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        table = ParquetFile(raw)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{uri}: not a readable Parquet file: {first_line(error)}") from None
    present = table.schema_arrow.names
    if fields.text not in present:
        raise UsageError(f"{uri}: {no_text(fields, present)}")
    kind = table.schema_arrow.field(_place(fields.text, present)).type
    if not _is_text(kind):
        raise UsageError(f"{uri}: column {fields.text!r} holds {kind}, not strings; name another in [input.fields]")
    return table, [name for name in fields.all if name and name in present]


def first_line(error: Exception) -> str:
    """What Arrow has to say, without its call stack."""
    return str(error).partition("\n")[0]


def _place(name: str, present: list[str]) -> int:
    """Which column counts: of two with one name the last, as in JSON."""
    return len(present) - 1 - present[::-1].index(name)


def _is_text(kind: Any) -> bool:
    """Whether a column of this type holds strings."""
    import pyarrow as pa

    return str(kind.value_type if pa.types.is_dictionary(kind) else kind) in _TEXT_TYPES


def _values(column: Any) -> list[Any]:
    """The values of one Arrow column as Python objects; a string that is no UTF-8 becomes an Undecodable."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        return _dictionary_values(column)
    if str(kind) in ("string_view", "binary_view") and len(column):
        # A view is four numbers, its length first; of a null it may be anything.
        views = np.frombuffer(column.buffers()[1], np.int32, 4 * (column.offset + len(column)))
        lengths = views[4 * column.offset :: 4]
        _check_unpacked(int(lengths[column.is_valid().to_numpy(zero_copy_only=False)].sum(dtype=np.int64)))
    if pa.types.is_timestamp(kind):  # to UTC without a zone; Python knows no nanoseconds
        column = column.cast(pa.timestamp(kind.unit)).cast(pa.timestamp("us"), safe=False)
    elif not (_is_text(kind) or pa.types.is_primitive(kind) or pa.types.is_null(kind)):
        return [{}] * len(column)  # an object, whatever is in it: no field may be one
    if str(kind) not in ("binary", "large_binary", "binary_view"):
        try:
            return list(column.to_pylist())
        except UnicodeDecodeError:
            column = column.cast(pa.large_binary())
        except (ValueError, OverflowError):  # a time that Python cannot hold
            return [_time_or_none(value) for value in column]
    values: list[Any] = []
    for raw in column.to_pylist():
        try:
            values.append(raw if raw is None else raw.decode())
        except UnicodeDecodeError as error:
            values.append(not_utf8(raw, error))
    return values


def _time_or_none(value: Any) -> Any:
    """A pyarrow.Scalar as a Python object; None if Python cannot hold it."""
    try:
        return value.as_py()
    except (ValueError, OverflowError):
        return None


def _dictionary_values(column: Any) -> list[Any]:
    """The values of a dictionary column, each entry once in memory. Raises Undecodable if it unpacks to too much."""
    entries = _values(column.dictionary)
    values = [None if at is None else entries[at] for at in column.indices.to_pylist()]
    _check_unpacked(sum(len(value) for value in values if isinstance(value, str)))
    return values


def _check_unpacked(size: int) -> None:
    """Raises Undecodable for a column whose rows are too much by themselves, however often they share their bytes."""
    if size > MAX_UNPACKED:
        raise Undecodable("too_large", f"a column unpacks to {size:,} characters; {MAX_UNPACKED:,} are read")
