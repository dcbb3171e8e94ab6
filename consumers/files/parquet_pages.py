"""Unpacked size of a column chunk of a Parquet file, by the headers of its pages, before any of them is unpacked.

The size that the metadata give counts a dictionary once, however many rows repeat its entries, and says nothing of how
large one page is. A page header is a Thrift struct in the compact protocol; only its first three fields and the number
of values are read (parquet-format, PageHeader). A header that cannot be read counts as the worst that it could be.
"""

from __future__ import annotations

from typing import Any

_HEADER_BYTES = 64  # enough for the fields that are read; statistics come after them
_DICTIONARY_PAGE = 2
_REPEATING = ("PLAIN_DICTIONARY", "RLE_DICTIONARY", "DELTA_BYTE_ARRAY")  # a value costs less than its bytes
_HIGH_RATIO = 16  # text is packed to a third or a tenth
_MIN_SUSPECT_BYTES = 64 << 20


def largest_repeated(raw: Any, chunk: Any) -> int:
    """Bytes that one value may have which many rows can repeat for almost nothing; 0 if none can.

    `raw` is the open file, `chunk` a `ColumnChunkMetaData`.
    """
    if not any(encoding in _REPEATING for encoding in chunk.encodings):
        return 0
    unpacked = int(chunk.total_uncompressed_size)
    if "DELTA_BYTE_ARRAY" in chunk.encodings:
        return unpacked if (pages := _page_bytes(raw, chunk)) is None else max(pages, default=0)
    header = _page_header(raw, _start(chunk))
    return unpacked if header is None or header[0] != _DICTIONARY_PAGE else header[1]


def largest_page(raw: Any, chunk: Any) -> int:
    """Bytes of the largest page, where small pages may unpack to large ones; else a bound of no interest, 0."""
    unpacked = int(chunk.total_uncompressed_size)
    if unpacked < _MIN_SUSPECT_BYTES or unpacked < _HIGH_RATIO * chunk.total_compressed_size:
        return 0
    pages = _page_bytes(raw, chunk)
    return unpacked if pages is None else max(pages, default=0)


def _start(chunk: Any) -> int:
    """Where the first page of the chunk is."""
    dictionary = chunk.dictionary_page_offset
    return int(min(chunk.data_page_offset, dictionary) if dictionary else chunk.data_page_offset)


def _page_bytes(raw: Any, chunk: Any) -> list[int] | None:
    """Unpacked bytes of every page of the chunk; None if that cannot be told."""
    at, end = _start(chunk), _start(chunk) + int(chunk.total_compressed_size)
    sizes = []
    while at < end:
        header = _page_header(raw, at)
        if header is None or header[2] < 0:
            return None
        _, unpacked, packed, header_bytes = header
        sizes.append(unpacked)
        at += header_bytes + packed
    return sizes


def _page_header(raw: Any, at: int) -> tuple[int, int, int, int] | None:
    """Type, unpacked and packed bytes of a page, and the bytes of its header."""
    raw.seek(at)
    head = raw.read(_HEADER_BYTES)
    try:
        fields, end = _struct(head, 0)
    except (IndexError, ValueError):
        head += raw.read(1 << 20)  # statistics hold values of any length
        try:
            fields, end = _struct(head, 0)
        except (IndexError, ValueError):
            return None
    numbers = [fields.get(number) for number in (1, 2, 3)]
    if any(number is None or number < 0 for number in numbers):
        return None
    return numbers[0], numbers[1], numbers[2], end  # type: ignore[return-value]


def _struct(data: bytes, at: int, depth: int = 0) -> tuple[dict[int, int], int]:
    """The integers of a struct by field number, and where it ends. Raises IndexError, ValueError."""
    if depth > 8:
        raise ValueError("nested too deep for a page header")
    fields: dict[int, int] = {}
    number = 0
    while True:
        byte = data[at]
        at += 1
        if byte == 0:
            return fields, at
        kind, step = byte & 15, byte >> 4
        if step:
            number += step
        else:
            number, at = _zigzag(data, at)
        value, at = _value(data, at, kind, depth)
        if value is not None:
            fields[number] = value


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[int | None, int]:
    """An integer, or None for anything else, and where it ends."""
    if kind in (1, 2):  # a boolean is in its kind
        return None, at
    if kind == 3:
        return None, at + 1
    if kind in (4, 5, 6):
        return _zigzag(data, at)
    if kind == 7:
        return None, at + 8
    if kind == 8:
        size, at = _varint(data, at)
        if at + size > len(data):
            raise IndexError
        return None, at + size
    if kind == 12:
        return None, _struct(data, at, depth + 1)[1]
    raise ValueError(f"a page header has no field of kind {kind}")


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
