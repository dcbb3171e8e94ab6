"""Compression of any number of layers, members and frames, undone in pieces of bounded size.

How bytes are packed is told by their first ones; a name only breaks the tie. Memory is bounded by what one small feed
unpacks to and, for zstd and xz, by the window that the data ask for: at most `max_window_bytes`.

| format | members one behind the other | what is lost where it is damaged |
|---|---|---|
| gzip, bzip2, xz, lz4 | yes, zeros between them are padding | the rest of the file |
| zstd | frames; a dictionary in a first skippable frame is used, as web archives have it (.warc.zst) | the rest |

The dictionary: https://iipc.github.io/warc-specifications/specifications/warc-zstd/
"""

from __future__ import annotations

import bz2
import codecs
import lzma
import re
import zlib
from collections.abc import Iterator
from itertools import chain
from typing import Any, Literal

import lz4.frame
import zstandard

from consumers.formats.encodings import HEAD_BYTES, wide_encoding
from curatord.errors import Undecodable

Compression = Literal["", "gzip", "zstd", "bzip2", "xz", "lz4"]
Blocks = Iterator[bytes | Undecodable]

BLOCK_BYTES = 1 << 20
FEED_BYTES = 512  # unpacks to 16 MiB at the very most (zstd; gzip 0.5 MiB), so a bomb goes off in small pieces
MAX_LAYERS = 3  # of compression, one in another
MAX_DICTIONARY_BYTES = 100 << 20  # the specification's limit
MAGICS: tuple[tuple[bytes, Compression], ...] = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
_SKIPPABLE = (b"\x2a\x4d\x18", "zstd")  # of zstd, behind one byte of 0x50 to 0x5f
_DICTIONARY = b"\x5d\x2a\x4d\x18"
_BZIP2 = re.compile(rb"BZh[1-9](?:1AY|\x17rE|\Z)")
_XZ_BYTES = 16 << 20  # of its decoder beside the window
_BOUNDED: tuple[Compression, ...] = ("bzip2", "xz", "lz4")  # unpackers that say when they have more
_ERRORS = (zlib.error, zstandard.ZstdError, lzma.LZMAError, OSError, EOFError, RuntimeError)


def compression_of(head: bytes, named: Compression = "") -> Compression:
    """How something is packed that begins so; a beginning that is too short to tell is taken for what it is `named`."""
    for magic, compression in MAGICS:
        if head.startswith(magic) or (compression == named and head and magic.startswith(head)):
            return compression
    if _BZIP2.match(head) or (named == "bzip2" and head and b"BZh".startswith(head[:3])):
        return "bzip2"
    if head[1:4] == _SKIPPABLE[0] and 0x50 <= head[0] <= 0x5F:
        return "zstd"
    return ""


def peek(blocks: Blocks, size: int) -> tuple[bytes, Blocks]:
    """The first `size` bytes or more, if there are so many, and all the blocks again."""
    taken: list[bytes | Undecodable] = []
    head = b""
    for block in blocks:
        taken.append(block)
        if isinstance(block, Undecodable):
            break
        head += block
        if len(head) >= size:
            break
    return head, chain(taken, blocks)


def unpacked(blocks: Blocks, named: Compression, max_window_bytes: int, layers: int = MAX_LAYERS) -> Blocks:
    """The content within all layers of compression."""
    head, blocks = peek(blocks, 4)
    compression = compression_of(head, named)
    if compression and layers:
        yield from unpacked(_joined(_layer(blocks, compression, max_window_bytes)), "", max_window_bytes, layers - 1)
    elif named and head and not _is_text(head):
        yield Undecodable("damaged_file", f"this is no {named}, as the name says: it begins with {head[:4].hex(' ')}")
    else:
        yield from blocks


def _is_text(head: bytes) -> bool:
    """Whether it may be text that was unpacked on the way, as browsers do, and kept its name."""
    if wide_encoding(head[:HEAD_BYTES], is_json=False):
        return True
    return is_utf8_so_far(head) and b"\0" not in head and head[:1] >= b"\t"


def _joined(pieces: Blocks) -> Blocks:
    """The same in blocks of about 1 MiB."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        if isinstance(piece, Undecodable):
            yield b"".join(waiting)
            yield piece
            return
        waiting.append(piece)
        size += len(piece)
        if size >= BLOCK_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


def _layer(blocks: Blocks, compression: Compression, max_window_bytes: int) -> Blocks:
    """The content of members, or frames, of any number."""
    unpacker: Any = None  # None between members
    first = b""  # of the member
    dictionary = None
    if compression == "zstd":
        dictionary, blocks = _dictionary(blocks)
    try:
        for block in blocks:
            if isinstance(block, Undecodable):
                yield block
                return
            for at in range(0, len(block), FEED_BYTES):
                data = block[at : at + FEED_BYTES]
                while data := data.lstrip(b"\0") if unpacker is None else data:  # members may be padded with zeros
                    if unpacker is None:
                        unpacker, first = _new_unpacker(compression, max_window_bytes, dictionary), data
                    yield from _pieces(unpacker, data, compression)
                    data = b""
                    if unpacker.eof:
                        data, unpacker = unpacker.unused_data or b"", None
    except _ERRORS as error:
        yield _damage(compression, first, error, max_window_bytes)
    else:
        if unpacker is not None:
            yield Undecodable(
                "damaged_file",
                f"the {compression} data ends early, as after an interrupted copy: what follows here is lost",
            )


def _pieces(unpacker: Any, data: bytes, compression: Compression) -> Iterator[bytes]:
    """All that some bytes unpack to."""
    if compression not in _BOUNDED:
        yield unpacker.decompress(data)
        return
    yield unpacker.decompress(data, BLOCK_BYTES)
    while not unpacker.eof and not unpacker.needs_input:
        yield unpacker.decompress(b"", BLOCK_BYTES)


def _new_unpacker(compression: Compression, max_window_bytes: int, dictionary: Any) -> Any:
    if compression == "gzip":
        return zlib.decompressobj(wbits=31)
    if compression == "bzip2":
        return bz2.BZ2Decompressor()
    if compression == "xz":
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, max_window_bytes + _XZ_BYTES)
    if compression == "lz4":
        return lz4.frame.LZ4FrameDecompressor()
    return zstandard.ZstdDecompressor(dictionary, max_window_size=max_window_bytes).decompressobj()


def _dictionary(blocks: Blocks) -> tuple[Any, Blocks]:
    """The dictionary in the first frame of zstd data, None without one, and all the blocks again."""
    head, blocks = peek(blocks, 8)
    size = int.from_bytes(head[4:8], "little")
    if not head.startswith(_DICTIONARY) or size > MAX_DICTIONARY_BYTES:
        return None, blocks
    head, blocks = peek(blocks, 8 + size)
    raw = head[8 : 8 + size]
    if compression_of(raw) == "zstd":
        try:
            raw = zstandard.ZstdDecompressor().decompress(raw, MAX_DICTIONARY_BYTES)
        except zstandard.ZstdError:
            return None, blocks  # the first frame that needs it says so
    return zstandard.ZstdCompressionDict(raw), blocks


def _damage(compression: Compression, head: bytes, error: Exception, max_window_bytes: int) -> Undecodable:
    """Why unpacking ended."""
    window = 0
    if compression == "zstd":
        try:
            window = zstandard.get_frame_parameters(head).window_size
        except zstandard.ZstdError:
            window = 0
    if window > max_window_bytes or "emory usage limit" in str(error):
        needed = f"{window:,} bytes" if window else "more memory"
        return Undecodable(
            "window_too_large",
            f"window too large: {compression} needs {needed} for it, where [input] max_window_bytes allows "
            f"{max_window_bytes:,}; raise it, or pack the file anew with a smaller window",
        )
    return Undecodable("damaged_file", f"the {compression} data is damaged: what follows here is lost ({error})")


def is_utf8_so_far(head: bytes) -> bool:
    """Whether a beginning is UTF-8; its last character may be cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True
