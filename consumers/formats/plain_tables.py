"""Tables to columns: the texts of a batch as Arrow has them, one behind the other, with no string in between.

Only plain batches are read here: a text in every row, ids that are strings or whole numbers, and strings beside them.
`consumers.formats.tables` reads all others, and would find in these just the same. A text is copied once: into memory
that ends in padding, and that no other process can change, as it can a mapped file after its text was checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.formats.codec import cut_name
from consumers.formats.columns import Columns, kept_numbers
from consumers.formats.fields import MAX_ID_BYTES, FieldNames
from consumers.formats.tables import column_at, paths_of
from kernels.columns import PADDING, Texts

_STRINGS = ("string", "large_string")
_WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_FRACTIONAL = ("halffloat", "float", "double")


def plain_columns(batch: Any, fields: FieldNames, max_document_bytes: int) -> Columns | None:
    """The rows of a pyarrow.RecordBatch; None if they are not plain."""
    import pyarrow as pa

    if not len(batch):
        return None
    number_fields = fields.numbers().values()
    columns = {name: column_at(batch, path) for name, path in paths_of(batch.schema, fields).items()}
    if fields.text not in columns or fields.timestamp in columns or columns[fields.text].null_count:
        return None
    for name, column in columns.items():
        kinds = _STRINGS + _WHOLE if name == fields.id else _WHOLE + _FRACTIONAL if name in number_fields else _STRINGS
        if str(column.type) not in kinds:
            return None
        try:
            column.validate(full=True)  # of strings, that they are UTF-8
        except pa.ArrowInvalid:
            return None
    numbers_BG = _numbers([columns.get(name) for name in number_fields], len(batch))
    if (
        fields.weight in columns
        and not ((numbers_BG[:, 0] >= 0) | columns[fields.weight].is_null().to_numpy(False)).all()
    ):
        return None
    texts = _texts(columns[fields.text])
    if int(texts.num_bytes().max()) > max_document_bytes:
        return None
    ids = _strings(columns.get(fields.id), len(batch))
    if max(map(len, ids)) > MAX_ID_BYTES // 4:  # UTF-8 is at most four bytes a character
        return None
    return Columns(
        is_read_B=np.ones(len(batch), np.bool_),
        texts=texts,
        ids=ids,
        urls=_strings(columns.get(fields.url), len(batch)),
        sources=list(map(cut_name, _strings(columns.get(fields.source), len(batch)))),
        languages=list(map(cut_name, _strings(columns.get(fields.language), len(batch)))),
        timestamps_us=[0] * len(batch),
        numbers_BG=numbers_BG,
    )


def _texts(column: Any) -> Texts:
    """A column of strings without a null."""
    _, bounds, data = column.buffers()
    kind = np.int64 if str(column.type) == "large_string" else np.int32
    bounds_B1 = np.frombuffer(bounds, kind)[column.offset : column.offset + len(column) + 1].astype(np.int64)
    first, last = int(bounds_B1[0]), int(bounds_B1[-1])
    raw = b"" if data is None else memoryview(data)[first:last]
    buffer_N = np.frombuffer(b"".join((raw, PADDING)), np.uint8)
    return Texts(buffer_N, bounds_B1[:-1] - first, bounds_B1[1:] - first)


def _numbers(columns: Sequence[Any], num_rows: int) -> NDArray[np.float32]:
    """The values of fields of numbers, [B, G]; NaN where there is none, and for what is too large."""
    numbers_BG = np.full((num_rows, len(columns)), np.nan, np.float32)
    for place, column in enumerate(columns):
        if column is not None:
            numbers_BG[:, place] = kept_numbers(column.to_numpy(zero_copy_only=False).astype(np.float64))
    return numbers_BG


def _strings(column: Any, num_rows: int) -> list[str]:
    """The values of a field, "" where there is none."""
    if column is None:
        return [""] * num_rows
    return ["" if value is None else str(value) for value in column.to_pylist()]
