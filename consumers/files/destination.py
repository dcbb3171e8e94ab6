"""Where the files of an output go: a folder of this machine, or one on an object store. A file is there whole, or not.

Moving a file there again is harmless: its name says which sequences it holds, and these decide its bytes.
"""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Protocol

from curatord.object_store import ObjectStore, is_url
from curatord.output_folder import SHARDS
from state.durable import sync


class Destination(Protocol):
    """The place of an output."""

    name: str

    def put(self, path: Path, name: str) -> None:
        """Move a file, whole and durable when `sync` returns; `name` may be in a folder below.

        Raises `OSError` or `StoreUnavailable`: the file is where it was, and the place as before.
        """

    def sync(self) -> None:
        """Return when everything that was put is there for certain."""

    def shards(self) -> list[str]:
        """The names of files that a reader takes for shards. Raises `StoreUnavailable`."""

    def read(self, name: str) -> bytes | None:
        """A small file; None without it."""


def open_destination(name: str) -> Destination:
    """A folder by its path or URL. Raises `StreamError` if the protocol is not known."""
    return StoredDestination(ObjectStore(name)) if is_url(name) else LocalDestination(Path(name))


class LocalDestination:
    """A folder of this machine, which is made when something comes."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder
        self._written: set[Path] = set()  # folders since the last `sync`

    def put(self, path: Path, name: str) -> None:
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _move(path, target)
        self._written.add(target.parent)

    def sync(self) -> None:
        for folder in sorted(self._written):
            sync(folder)
        self._written.clear()

    def shards(self) -> list[str]:
        return [path.name for path in self._folder.glob(SHARDS)]

    def read(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None


class StoredDestination:
    """A folder on an object store."""

    def __init__(self, store: ObjectStore) -> None:
        self.name = store.url
        self._store = store

    def put(self, path: Path, name: str) -> None:
        self._store.put(path, name)
        path.unlink()

    def sync(self) -> None:
        """An object that was taken is durable."""

    def shards(self) -> list[str]:
        return [name for name in self._store.sizes() if Path(name).match(SHARDS)]

    def read(self, name: str) -> bytes | None:
        return self._store.read(name)


def _move(path: Path, target: Path) -> None:
    """Put a whole file in its place, also on another disk."""
    try:
        path.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        unfinished = target.with_suffix(".unfinished")
        shutil.copyfile(path, unfinished)
        sync(unfinished)
        unfinished.replace(target)
