"""Unpacked size of the messages of an Arrow IPC stream or file, before any of their buffers is unpacked.

A packed buffer begins with the number of bytes that it unpacks to (Arrow columnar format, BodyCompression). Where the
buffers are stands in the flatbuffer of each message, of which only RecordBatch and DictionaryBatch are looked into.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Any

from curatord.errors import Undecodable

_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
_FILE_MAGIC = b"ARROW1"
_FILE_PADDING = 8  # the magic and two zeros; what follows is a stream, up to the footer


def record_batches(raw: Any, limit: int, *, in_all: bool) -> Iterator[Any]:
    """The batches of a stream or file, in order, as long as each, or all together, unpack to at most `limit` bytes.

    `raw` is bytes or a pyarrow.Buffer. Raises Undecodable for the first that does not, ValueError or what pyarrow
    raises for damage.
    """
    import pyarrow as pa

    data = pa.py_buffer(raw)
    count, problem = _within(data, limit, in_all=in_all)
    if _is_file(data):
        with pa.ipc.open_file(data) as file:
            for number in range(min(count, file.num_record_batches)):
                yield file.get_batch(number)
    else:
        with pa.ipc.open_stream(data) as stream:
            yield from islice(stream, count)
    if problem is not None:
        raise problem


def _within(data: Any, limit: int, *, in_all: bool) -> tuple[int, Exception | None]:
    """How many batches come before one that is too large, or damaged; and what is wrong with that."""
    import pyarrow as pa

    total = count = 0
    try:
        for is_batch, size in _unpacked_sizes(data):
            total = total + size if in_all else size
            if total > limit:
                return count, Undecodable(
                    "too_large",
                    f"a batch of Arrow unpacks to more: {total:,} bytes, where {limit:,} are read; write smaller ones",
                )
            count += is_batch
    except (pa.ArrowException, OSError, ValueError) as error:
        return count, error
    return count, None


def _is_file(data: Any) -> bool:
    return bool(data.slice(0, min(len(_FILE_MAGIC), data.size)).to_pybytes() == _FILE_MAGIC)


def _unpacked_sizes(data: Any) -> Iterator[tuple[bool, int]]:
    """Whether a message is a batch, not a dictionary, and its bytes, of each message with data, in order."""
    import pyarrow as pa

    for message in pa.ipc.MessageReader.open_stream(data.slice(_FILE_PADDING) if _is_file(data) else data):
        if message.type in ("record batch", "dictionary"):
            try:
                yield message.type == "record batch", _unpacked(memoryview(message.metadata), memoryview(message.body))
            except struct.error:
                raise ValueError("a message of the Arrow stream is damaged") from None


def _unpacked(metadata: memoryview, body: memoryview) -> int:
    root = _indirect(metadata, 0)
    kind = _field(metadata, root, 1)
    header = _field(metadata, root, 2)
    if not kind or not header:
        return len(body)
    batch = _indirect(metadata, header)
    if metadata[kind] == _DICTIONARY_BATCH:
        data = _field(metadata, batch, 1)
        batch = _indirect(metadata, data) if data else batch
    elif metadata[kind] != _RECORD_BATCH:
        return len(body)
    buffers = _field(metadata, batch, 2)
    if not buffers or not _field(metadata, batch, 3):  # not packed
        return len(body)
    vector = _indirect(metadata, buffers)
    (count,) = struct.unpack_from("<I", metadata, vector)
    if count > len(metadata) // 16:
        raise ValueError("a message of the Arrow stream is damaged")
    total = 0
    for number in range(count):
        offset, length = struct.unpack_from("<qq", metadata, vector + 4 + 16 * number)
        if length >= 8 and 0 <= offset <= len(body) - 8:
            (size,) = struct.unpack_from("<q", body, offset)
            total += length if size < 0 else size
    return total


def _indirect(data: memoryview, at: int) -> int:
    """Where the offset at `at` leads."""
    return at + int(struct.unpack_from("<I", data, at)[0])


def _field(data: memoryview, table: int, number: int) -> int:
    """Where a field of a table is; 0 if it has its default."""
    if not 0 <= table <= len(data) - 4:
        raise ValueError("a message of the Arrow stream is damaged")
    vtable = table - int(struct.unpack_from("<i", data, table)[0])
    if not 0 <= vtable <= len(data) - 4:
        raise ValueError("a message of the Arrow stream is damaged")
    (size,) = struct.unpack_from("<H", data, vtable)
    place = 4 + 2 * number
    if place + 2 > size:
        return 0
    (offset,) = struct.unpack_from("<H", data, vtable + place)
    return table + int(offset) if offset else 0
