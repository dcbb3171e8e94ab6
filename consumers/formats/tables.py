"""Arrow tables to documents: messages that hold an Arrow IPC stream, row groups of Parquet files.

Only the columns named in [input.fields] are read, so the metadata is empty. A row means what the same record means as
JSON: the rules are those of `consumers.formats.codec`.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import numpy as np

from consumers.formats.arrow_sizes import record_batches
from consumers.formats.codec import document_of
from consumers.formats.fields import DEFAULT_FIELDS, MAX_DOCUMENT_BYTES, FieldNames
from consumers.formats.undecodable import no_text, not_utf8, too_large
from curatord.errors import Undecodable, first_line
from curatord.records import Document

# A message of more would take gigabytes as rows, however few bytes it came in: it is one dead letter.
MAX_ROWS = 1 << 20
MAX_UNPACKED = 256 << 20  # bytes of the batches of a message; of a column whose rows may share them
TOO_MANY = Undecodable("too_large", f"more than {MAX_ROWS:,} documents in one message; send smaller messages")
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

    index = unpacked = 0
    try:
        for batch in checked_batches(raw):
            values = documents_of(batch, fields, max_document_bytes)
            if index + len(batch) > max_rows:  # known before any of them is an object
                yield None, TOO_MANY
                return
            for value in values:
                unpacked += len(value.text) if isinstance(value, Document) else 0
                if unpacked > MAX_UNPACKED:
                    raise Undecodable("too_large", f"more than {MAX_UNPACKED:,} characters in one message")
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
        for batch in checked_batches(raw):
            if first <= index < first + len(batch):
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, batch.schema) as stream:
                    stream.write_batch(batch.slice(index - first, 1))
                return bytes(sink.getvalue())
            first += len(batch)
    except (Undecodable, pa.ArrowException, OSError, ValueError, KeyError):
        pass
    return b""


def checked_batches(raw: bytes) -> Iterator[Any]:
    """The record batches, checked to their last byte: what comes out may be looked at without fear."""
    return map(checked, record_batches(raw, MAX_UNPACKED, in_all=True))


def checked(batch: Any) -> Any:
    """The batch, checked in full; with bytes for strings if one of them is no UTF-8, for that costs its row only."""
    import pyarrow as pa

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
    batch: Any, fields: FieldNames, max_document_bytes: int = MAX_DOCUMENT_BYTES, id_problem: str = ""
) -> Iterator[Document | Undecodable]:
    """The rows of one pyarrow.RecordBatch, by the rules of this module; `id_problem` if their ids were not even read.

    Raises Undecodable without a text column of strings; the rows do for a table that is small only while it is packed.
    """
    present = batch.schema.names
    paths = paths_of(batch.schema, fields)
    body = next(iter(paths), "")
    if not body or body not in (fields.text, fields.html):
        raise Undecodable("no_text", no_text(fields, present))
    columns = {name: column_at(batch, path) for name, path in paths.items()}
    # A column of nulls or of runs may have any number of rows in no bytes at all; strings take four bytes each.
    if not _is_text(columns[body].type):
        raise Undecodable("text_not_a_string", f"column {body!r} holds {columns[body].type}, not strings")
    documents = _documents(columns, fields, max_document_bytes)
    return (_without_id(document, id_problem) for document in documents) if id_problem else documents


def _without_id(document: Document | Undecodable, id_problem: str) -> Document | Undecodable:
    return msgspec.structs.replace(document, id_problem=id_problem) if isinstance(document, Document) else document


def _values_of(column: Any, name: str, fields: FieldNames) -> list[Any]:
    """The values of a field: a page in a column of bytes is in the charset that it names."""
    if name == fields.id:
        return id_values(column)
    if name == fields.html and "binary" in str(column.type):
        return list(column.to_pylist())
    return _values(column)


def _documents(
    columns: dict[str, Any], fields: FieldNames, max_document_bytes: int
) -> Iterator[Document | Undecodable]:
    """The rows of the columns with these names, the text first."""
    names = list(columns)
    values = [_values_of(column, name, fields) for name, column in columns.items()]
    for row in zip(*values, strict=True):
        try:
            if isinstance(row[0], Undecodable):
                raise row[0]
            record = {
                name: None if isinstance(value, Undecodable) else value for name, value in zip(names, row, strict=True)
            }
            document = document_of(record, fields, keep_metadata=False)
            # UTF-8 is at most four bytes a character: most texts need no second look.
            if 4 * len(document.text) > max_document_bytes:
                size = len(document.text.encode())
                if size > max_document_bytes:
                    raise too_large(size, max_document_bytes)
            yield document
        except Undecodable as error:
            yield error.with_traceback(None)


def paths_of(schema: Any, fields: FieldNames) -> dict[str, tuple[str, ...]]:
    """Where the fields are that the schema has: a column of that name or, behind its dots, a member of structs.

    That of the text comes first; that of pages in its place, where there is no text.
    """
    found = {}
    is_pages = not _path(schema, fields.text) and fields.html
    for name in (fields.html, *fields.all) if is_pages else fields.all:
        path = _path(schema, name) if name else ()
        if path:
            found[name] = path
    return found


def _path(schema: Any, name: str) -> tuple[str, ...]:
    """The way to one field; empty if there is none."""
    import pyarrow as pa

    if name in schema.names:
        return (name,)
    first, *rest = path = tuple(name.split("."))
    if not rest or first not in schema.names:
        return ()
    kind = schema.field(_place(first, schema.names)).type
    for part in rest:
        if not pa.types.is_struct(kind) or kind.get_field_index(part) < 0:
            return ()
        kind = kind.field(part).type
    return path


def column_at(batch: Any, path: tuple[str, ...]) -> Any:
    """The column at the end of a way, without the clothes of an extension type."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = batch.column(_place(path[0], batch.schema.names))
    if len(path) > 1:
        column = pc.struct_field(column, list(path[1:]))
    return column.storage if isinstance(column.type, pa.BaseExtensionType) else column


def open_parquet(raw: Any, fields: FieldNames) -> tuple[Any, list[str]]:
    """The Parquet file in an open binary file, and which of its columns to read. Raises Undecodable."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        table = ParquetFile(raw)
    except (pa.ArrowException, OSError) as error:
        raise Undecodable("damaged_file", f"not a readable Parquet file: {first_line(error)}") from None
    check_schema(table.schema_arrow, fields)
    return table, columns_to_read(table.schema_arrow, fields)


def check_schema(schema: Any, fields: FieldNames) -> None:
    """Raise Undecodable if a table has no column of texts."""
    path = _path(schema, fields.text) or (_path(schema, fields.html) if fields.html else ())
    if not path:
        raise Undecodable("no_text", no_text(fields, schema.names))
    kind = _kind_at(schema, path)
    if not _is_text(kind):
        hint = (
            f'a field inside of it: [input.fields] text = "{fields.text}.NAME"'
            if "struct" in str(kind)[:7]
            else ("name another in [input.fields]")
        )
        raise Undecodable("text_not_a_string", f"column {fields.text!r} holds {kind}, not strings; {hint}")


def columns_to_read(schema: Any, fields: FieldNames) -> list[str]:
    """The columns that have a meaning, and one value a row: lists and structs would be unpacked for nothing."""
    paths = paths_of(schema, fields)
    return [".".join(path) for name, path in paths.items() if not _is_nested(_kind_at(schema, path))]


def unread_ids(schema: Any, fields: FieldNames) -> str:
    """Why the column of ids is not among those to read; "" if it is, or there is none."""
    path = _path(schema, fields.id) if fields.id else ()
    return (
        f"the id is {_kind_at(schema, path)}; it must be a string or a whole number"
        if path and _is_nested(_kind_at(schema, path))
        else ""
    )


def _kind_at(schema: Any, path: tuple[str, ...]) -> Any:
    """The type at the end of a way, without the clothes of an extension type."""
    import pyarrow as pa

    kind = schema.field(_place(path[0], schema.names)).type
    for part in path[1:]:
        kind = kind.field(part).type
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _is_nested(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_nested(kind) and not pa.types.is_dictionary(kind)


def _place(name: str, present: list[str]) -> int:
    """Which column counts: of two with one name the last, as in JSON."""
    return len(present) - 1 - present[::-1].index(name)


def _is_text(kind: Any) -> bool:
    """Whether a column of this type holds strings."""
    import pyarrow as pa

    return str(kind.value_type if pa.types.is_dictionary(kind) else kind) in _TEXT_TYPES


def id_values(column: Any) -> list[Any]:
    """The values of a column of ids, each as `document_of` takes it: an object stands for one that cannot be an id.

    Bytes are their UTF-8 if they are; 16 in a column of that width are a UUID, others hexadecimal. Decimals are whole
    numbers or the string of all their digits, times their string in ISO 8601: of two ids none becomes the other.
    """
    import pyarrow as pa

    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return id_values(column.storage)
    if pa.types.is_dictionary(kind):
        entries = id_values(column.dictionary)
        return [None if at is None else entries[at] for at in column.indices.to_pylist()]
    if _is_text(kind):
        return [_bytes_as_id(value) if isinstance(value, bytes) else value for value in _strings_or_bytes(column)]
    if pa.types.is_fixed_size_binary(kind):
        as_id = _uuid if kind.byte_width == 16 else bytes.hex
        return [None if value is None else as_id(value) for value in column.to_pylist()]
    if pa.types.is_decimal(kind):
        return [None if value is None else _decimal_as_id(value) for value in column.to_pylist()]
    if pa.types.is_floating(kind):
        return [None if value is None else float(value) for value in column.to_pylist()]
    if pa.types.is_duration(kind):
        return list(column.cast(pa.int64()).to_pylist())
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        if pa.types.is_timestamp(kind):  # as UTC: the names of zones are not known everywhere
            column = column.cast(pa.timestamp(kind.unit))
        return list(column.cast(pa.string()).to_pylist())
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return list(column.to_pylist())
    return [{}] * len(column)


def _bytes_as_id(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.hex()


def _uuid(raw: bytes) -> str:
    return str(UUID(bytes=raw))


def _decimal_as_id(value: Decimal) -> int | str:
    return int(value) if value == value.to_integral_value() else str(value)


def _strings_or_bytes(column: Any) -> list[Any]:
    """The values of a column of strings or bytes; as bytes if one of them is no UTF-8. Raises as `_check_unpacked`."""
    import pyarrow as pa

    if str(column.type) in ("string_view", "binary_view") and len(column):
        # A view is four numbers, its length first; of a null it may be anything.
        views = np.frombuffer(column.buffers()[1], np.int32, 4 * (column.offset + len(column)))
        lengths = views[4 * column.offset :: 4]
        _check_unpacked(int(lengths[column.is_valid().to_numpy(zero_copy_only=False)].sum(dtype=np.int64)))
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return list(column.cast(pa.large_binary()).to_pylist())


def _values(column: Any) -> list[Any]:
    """The values of one Arrow column as Python objects; a string that is no UTF-8 becomes an Undecodable."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        return _dictionary_values(column)
    if _is_text(kind):
        return [_text_or_error(value) if isinstance(value, bytes) else value for value in _strings_or_bytes(column)]
    if pa.types.is_timestamp(kind):  # to UTC without a zone; Python knows no nanoseconds
        column = column.cast(pa.timestamp(kind.unit)).cast(pa.timestamp("us"), safe=False)
    elif not (pa.types.is_primitive(kind) or pa.types.is_null(kind)):
        return [{}] * len(column)  # an object of any content: no field may be one
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):  # a time that Python cannot hold
        return [_time_or_none(value) for value in column]


def _text_or_error(raw: bytes) -> str | Undecodable:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        return not_utf8(raw, error)


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
