"""The bytes of a file as they lie there, and text of any encoding as UTF-8, in blocks of about 1 MiB."""

from __future__ import annotations

import codecs
import os
import sys
from contextlib import ExitStack
from itertools import chain
from typing import Any

from consumers.files.inputs import InputFile
from consumers.files.unpacking import BLOCK_BYTES, Blocks, is_utf8_so_far, peek
from consumers.formats.encodings import HEAD_BYTES, wide_encoding
from curatord.errors import Undecodable, UsageError


def in_utf8(blocks: Blocks, *, is_json: bool) -> Blocks:
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
