"""The content of a file of any compression and encoding: blocks of UTF-8, and the reason why they end.

Compression and encoding are told by the first bytes; a name only breaks the tie. Memory is bounded by a block, by what
one small feed unpacks to and, for zstd, by the window that the file asks for: at most `max_window_bytes`.
"""

from __future__ import annotations

import codecs
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from typing import Any

import zstandard

from consumers.files.inputs import Compression, InputFile
from consumers.formats.encodings import HEAD_BYTES, wide_encoding
from curatord.errors import Undecodable, UsageError

BLOCK_BYTES = 1 << 20
FEED_BYTES = 512  # unpacks to 16 MiB at the very most (zstd; gzip 0.5 MiB), so a bomb goes off in small pieces
MAX_WINDOW_BYTES = 1 << 31  # of zstd --long=31, as the field's largest dumps are packed
MAX_LAYERS = 3  # of compression, one in another
MAGICS: tuple[tuple[bytes, Compression], ...] = ((b"\x1f\x8b\x08", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))
_SKIPPABLE = (b"\x2a\x4d\x18", "zstd")  # of zstd, behind one byte of 0x50 to 0x5f

Blocks = Iterator[bytes | Undecodable]


def blocks_of(file: InputFile, max_window_bytes: int = MAX_WINDOW_BYTES, *, is_json: bool = True) -> Blocks:
    """The content, unpacked and in UTF-8, in blocks of about 1 MiB; if it cannot be had to its end, why comes last.

    Bytes that are in no Unicode encoding stay as they are. Raises UsageError if the file cannot be opened or read.
    """
    return _in_utf8(_unpacked(source_of(file), file.compression, max_window_bytes), is_json)


def compression_of(head: bytes, named: Compression = "") -> Compression:
    """How something is packed that begins so; a beginning that is too short to tell is taken for what it is `named`."""
    for magic, compression in MAGICS:
        if head.startswith(magic) or (compression == named and head and magic.startswith(head)):
            return compression
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


def _unpacked(blocks: Blocks, named: Compression, max_window_bytes: int, layers: int = MAX_LAYERS) -> Blocks:
    """The content within all layers of compression."""
    head, blocks = peek(blocks, 4)
    compression = compression_of(head, named)
    if compression and layers:
        yield from _unpacked(_joined(_layer(blocks, compression, max_window_bytes)), "", max_window_bytes, layers - 1)
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
    """The content of gzip of any number of members, or of zstd of any number of frames."""
    unpacker: Any = None  # None between members
    first = b""  # of the member
    try:
        for block in blocks:
            if isinstance(block, Undecodable):
                yield block
                return
            for at in range(0, len(block), FEED_BYTES):
                data = block[at : at + FEED_BYTES]
                while data := data.lstrip(b"\0") if unpacker is None else data:  # members may be padded with zeros
                    if unpacker is None:
                        unpacker, first = _new_unpacker(compression, max_window_bytes), data
                    yield unpacker.decompress(data)
                    data = b""
                    if unpacker.eof:
                        data, unpacker = unpacker.unused_data, None
    except (zlib.error, zstandard.ZstdError) as error:
        yield _damage(compression, first, error, max_window_bytes)
    else:
        if unpacker is not None:
            yield Undecodable(
                "damaged_file",
                f"the {compression} data ends early, as after an interrupted copy: what follows here is lost",
            )


def _new_unpacker(compression: Compression, max_window_bytes: int) -> Any:
    if compression == "gzip":
        return zlib.decompressobj(wbits=31)
    return zstandard.ZstdDecompressor(max_window_size=max_window_bytes).decompressobj()


def _damage(compression: Compression, head: bytes, error: Exception, max_window_bytes: int) -> Undecodable:
    """Why unpacking ended."""
    if compression == "zstd":
        try:
            window = zstandard.get_frame_parameters(head).window_size
        except zstandard.ZstdError:
            window = 0
        if window > max_window_bytes:
            return Undecodable(
                "window_too_large",
                f"window too large: zstd needs {window:,} bytes for it, where [input] max_window_bytes allows "
                f"{max_window_bytes:,}; raise it, or pack the file anew without --long",
            )
    return Undecodable("damaged_file", f"the {compression} data is damaged: what follows here is lost ({error})")


def _in_utf8(blocks: Blocks, is_json: bool) -> Blocks:
    """UTF-16 and UTF-32 as UTF-8. Half surrogate pairs stay, and cost no more than their row."""
    head, blocks = peek(blocks, HEAD_BYTES)
    name = wide_encoding(head[:HEAD_BYTES], is_json=is_json)
    if not name:
        yield from blocks
        return
    decoder = codecs.getincrementaldecoder(name)("surrogatepass")
    is_first = True
    for block in chain(blocks, (b"",)):
        if isinstance(block, Undecodable):
            yield block
            return
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            yield Undecodable("damaged_file", f"the {name} is damaged: what follows here is lost ({error.reason})")
            return
        yield (text.removeprefix("\ufeff") if is_first else text).encode("utf-8", "surrogatepass")
        is_first = is_first and not text


def decoded(blocks: Blocks, encoding: str) -> Blocks:
    """Blocks of another encoding as UTF-8; as they are, if their first one is UTF-8.

    For JSON that is told apart by its bytes: in Shift JIS, Big5 and GB 18030 the second byte of a character may be one
    that JSON has a meaning for.
    """
    head, blocks = peek(blocks, BLOCK_BYTES)
    if is_utf8_so_far(head):
        yield from blocks
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for block in blocks:
        yield block if isinstance(block, Undecodable) else decoder.decode(block).encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")


def is_utf8_so_far(head: bytes) -> bool:
    """Whether a beginning is UTF-8; its last character may be cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def source_of(file: InputFile) -> Blocks:
    """The bytes of the file as it lies there. Raises UsageError."""
    if file.is_stdin:
        yield file.head
        while block := sys.stdin.buffer.read1(BLOCK_BYTES):  # type: ignore[union-attr]
            yield block
        return
    try:
        with ExitStack() as stack:
            raw = opened(file, stack)
            size = (getattr(raw, "size", None) or file.size) if file.is_remote else os.fstat(raw.fileno()).st_size
            left = size or sys.maxsize  # some servers do not tell
            while block := raw.read(min(BLOCK_BYTES, left)):
                left -= len(block)
                yield block
    except OSError as error:
        raise UsageError(f"{file.uri}: cannot be read: {error.strerror or error}") from None


def opened(file: InputFile, stack: ExitStack) -> Any:
    """The file, open for reading until the stack closes. Raises UsageError."""
    try:
        if not file.is_remote:
            return stack.enter_context(open(file.uri, "rb"))
        import fsspec

        return stack.enter_context(fsspec.open(file.uri, "rb"))
    except OSError as error:
        raise UsageError(f"{file.uri}: cannot be opened: {error.strerror or error}") from None
