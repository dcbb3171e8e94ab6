"""Members of a tar, in its order, read as a stream: nothing is written to disk, and no name leads out of the archive.

Links, devices and hidden files are passed over, as in folders. A tar that ends early, or is damaged, gives its members
up to there, then the reason.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Any

from consumers.files.unpacking import BLOCK_BYTES, Blocks
from curatord.errors import Undecodable

Member = tuple[str, Blocks]  # its name, and its bytes: to be read before the next member is asked for


def members(content: Blocks) -> Iterator[Member | Undecodable]:
    """The regular files of an unpacked tar; if it cannot be read to its end, the reason comes last."""
    stream: Any = _Stream(content)
    why: object = None
    try:
        # In a stream the library reads ahead of nothing, so that a member is at hand when its header was read.
        with tarfile.open(fileobj=stream, mode="r|", bufsize=BLOCK_BYTES, tarinfo=_Entry) as tar:
            for entry in tar:
                if entry.isreg() and not any(part.startswith(".") for part in entry.name.split("/") if part != "."):
                    yield entry.name, _blocks(tar.extractfile(entry))
            why = getattr(tar, "header_error", None)
    except tarfile.TarError as error:
        why = error
    if stream.problem is not None:
        yield stream.problem
    elif not isinstance(why, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
        yield _cut(why)


def _cut(why: object) -> Undecodable:
    return Undecodable("damaged_file", f"the tar is damaged or ends early: what follows here is lost ({why})")


def _blocks(file: Any) -> Blocks:
    """The content of a member."""
    try:
        while block := file.read(BLOCK_BYTES):
            yield block
    except tarfile.TarError as error:
        yield _cut(error)


class _Entry(tarfile.TarInfo):
    """A header. The library takes any that it cannot read for the end of the archive; this keeps the difference."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> _Entry:
        try:
            return super().fromtarfile(tarfile)
        except Exception as error:
            tarfile.header_error = error  # type: ignore[attr-defined]
            raise


class _Stream:
    """Blocks as a file that is read from its beginning to its end; a problem among them ends it."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._left = b""
        self.problem: Undecodable | None = None

    def read(self, size: int) -> bytes:
        """So many bytes; fewer at the end alone."""
        taken = [self._left]
        num_bytes = len(self._left)
        while num_bytes < size and self.problem is None:
            block = next(self._blocks, None)
            if block is None:
                break
            if isinstance(block, Undecodable):
                self.problem = block
                break
            taken.append(block)
            num_bytes += len(block)
        whole = b"".join(taken)
        self._left = whole[size:]
        return whole[:size]
