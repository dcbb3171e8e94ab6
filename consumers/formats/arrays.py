"""Arrow arrays over buffers that are there already.

`pyarrow.array`, `pyarrow.scalar` and `Array.to_numpy` import pandas when they are first called, wherever it is
installed: a second of start-up, and memory, for nothing that a commit or a summary needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Array = Any  # pyarrow has no types
INT32_LIMIT = 1 << 31


def numbers(values_B: NDArray[Any], known_B: NDArray[np.bool_] | None = None) -> Array:
    """A column of numbers over the memory of `values_B`; null where `known_B` is not set."""
    values_B = np.ascontiguousarray(values_B)
    buffers = [_validity(known_B), pa.py_buffer(values_B)]
    return pa.Array.from_buffers(pa.from_numpy_dtype(values_B.dtype), len(values_B), buffers)


def as_numbers(column: Array) -> NDArray[Any]:
    """The numbers of a column without nulls, over its memory."""
    kind = np.dtype(column.type.to_pandas_dtype())
    if not len(column):
        return np.zeros(0, kind)
    return np.frombuffer(column.buffers()[-1], kind, len(column), column.offset * kind.itemsize)


def strings(values: Sequence[str | None], *, large: bool = False) -> Array:
    """A column of strings, null where there is None; `large` if they may be 2 GiB together."""
    encoded = [b"" if value is None else value.encode() for value in values]
    bounds = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, encoded), np.int64, count=len(encoded)), out=bounds[1:])
    if not large and bounds[-1] >= INT32_LIMIT:
        raise ValueError("strings of 2 GiB and more need a large column")
    known_B = None
    if None in values:
        known_B = np.fromiter((value is not None for value in values), np.bool_, count=len(encoded))
    buffers = [_validity(known_B), _bounds(bounds, large=large), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string() if large else pa.string(), len(encoded), buffers)


def joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The parts one behind the other; without a copy where they follow one another in one array."""
    whole, kind = parts[0].base, parts[0].dtype
    if not isinstance(whole, np.ndarray) or [
        part for part in parts if part.base is not whole or part.dtype != kind or not part.flags.c_contiguous
    ]:
        return np.concatenate(parts)
    buffers = [pa.py_buffer(part) for part in parts if part.size]
    if any(before.address + before.size != after.address for before, after in pairwise(buffers)):
        return np.concatenate(parts)
    if not buffers:
        return np.zeros(0, kind)
    first, last = buffers[0].address, buffers[-1].address + buffers[-1].size
    return np.frombuffer(pa.foreign_buffer(first, last - first, whole), kind)


def lists(values: Array, lengths_B: NDArray[np.integer[Any]]) -> Array:
    """A column of lists of these lengths."""
    bounds = np.zeros(len(lengths_B) + 1, np.int32)
    np.cumsum(lengths_B, out=bounds[1:])
    return pa.ListArray.from_arrays(numbers(bounds), values)


def _bounds(bounds: NDArray[np.int64], *, large: bool) -> Any:
    return pa.py_buffer(bounds if large else bounds.astype(np.int32))


def _validity(known_B: NDArray[np.bool_] | None) -> Any:
    return None if known_B is None or known_B.all() else pa.py_buffer(np.packbits(known_B, bitorder="little"))
