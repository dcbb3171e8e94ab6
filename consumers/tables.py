"""Arrow tables to documents: messages that hold an Arrow IPC stream, row groups of Parquet files.

Only the columns named in [input.fields] are read, so the metadata is empty. A row means what the same record means as
JSON: the rules are those of `consumers.codec`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from consumers.codec import DEFAULT_FIELDS, MAX_DOCUMENT_BYTES, FieldNames, document_of, no_text, not_utf8, too_large
from curatord.errors import Undecodable, UsageError
from curatord.records import Document


def decode_arrow(
    raw: bytes, fields: FieldNames = DEFAULT_FIELDS, *, max_document_bytes: int = MAX_DOCUMENT_BYTES
) -> Iterator[tuple[int, Document | Undecodable]]:
    """The documents of a message that holds an Arrow IPC stream, with their row number.

    Only the named columns are read, so the metadata is empty. A stream that breaks off gives the documents before the
    break and one `not_arrow` in place of the rest.
    """
    import pyarrow as pa

    index = 0
    try:
        with pa.ipc.open_stream(raw) as stream:
            for batch in stream:
                batch.validate(full=True)
                for value in documents_of(batch, fields, max_document_bytes):
                    yield index, value
                    index += 1
    except Undecodable as error:
        yield index, error.with_traceback(None)
    except (pa.ArrowException, OSError, ValueError) as error:
        yield (
            index,
            Undecodable("not_arrow", f"not readable as an Arrow IPC stream from row {index} on: {first_line(error)}"),
        )


def documents_of(
    batch: Any, fields: FieldNames, max_document_bytes: int = MAX_DOCUMENT_BYTES
) -> Iterator[Document | Undecodable]:
    """The rows of one pyarrow.RecordBatch, by the rules of this module. Raises Undecodable without a text column."""
    present = batch.schema.names
    if fields.text not in present:
        raise Undecodable("no_text", no_text(fields, present))
    names = [name for name in fields.all if name and name in present]
    # Of two columns with one name the last counts, as in JSON.
    columns = [_values(batch.column(len(present) - 1 - present[::-1].index(name))) for name in names]
    for row in zip(*columns, strict=True):
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
    kind = table.schema_arrow.field(present.index(fields.text)).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if str(kind) not in ("string", "large_string", "string_view", "binary", "large_binary"):
        raise UsageError(f"{uri}: column {fields.text!r} holds {kind}, not strings; name another in [input.fields]")
    return table, [name for name in fields.all if name and name in present]


def first_line(error: Exception) -> str:
    """What Arrow has to say, without its call stack."""
    return str(error).partition("\n")[0]


def _values(column: Any) -> list[Any]:
    """The values of one Arrow column as Python objects; a string that is no UTF-8 becomes an Undecodable."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type):  # to UTC without a zone; Python knows no nanoseconds
        column = column.cast(pa.timestamp(column.type.unit)).cast(pa.timestamp("us"), safe=False)
    if not pa.types.is_binary(column.type) and not pa.types.is_large_binary(column.type):
        try:
            return list(column.to_pylist())
        except UnicodeDecodeError:
            column = column.cast(pa.large_binary())
        except (ValueError, OverflowError):  # a time that Python cannot hold
            return [None] * len(column)
    values: list[Any] = []
    for raw in column.to_pylist():
        try:
            values.append(raw if raw is None else raw.decode())
        except UnicodeDecodeError as error:
            values.append(not_utf8(raw, error))
    return values
