"""The folder of an output as a reader sees it: its shards and its manifest, on this machine or on an object store."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from curatord.errors import StreamError
from curatord.object_store import ObjectStore, is_url

MANIFEST = ".curatord/manifest.json"
SHARDS = "train-*.parquet"
MAX_CACHED = 4  # shards on this machine: those that are read, and the next


class OutputFolder(Protocol):
    """Where shards lie. One reader at a time."""

    name: str
    poll_s: float  # between looks for more

    def shards(self) -> list[str]:
        """Names of files that may be shards."""

    def manifest(self) -> bytes | None:
        """The manifest; None without one."""

    def is_growing(self) -> bool:
        """Whether something writes it, or did until it was stopped: a copy of shards alone is whole."""

    def path(self, shard: str, following: Sequence[str]) -> Path:
        """A shard as a file of this machine, until the next call. Those that follow may be fetched meanwhile."""

    def close(self) -> None:
        """Let connections and copies go."""


def open_folder(name: str) -> OutputFolder:
    """A folder by its path or URL. Raises `StreamError` if there is none, `StoreUnavailable`."""
    return StoredFolder(ObjectStore(name)) if is_url(name) else LocalFolder(Path(name))


class LocalFolder:
    """A folder of this machine."""

    poll_s = 0.25

    def __init__(self, folder: Path) -> None:
        """Raises `StreamError` if there is no such folder."""
        if not folder.is_dir():
            raise StreamError(f"no folder {folder}: give the --output of `curatord curate`, or kafka://host:9092/topic")
        self.name = str(folder)
        self._folder = folder

    def shards(self) -> list[str]:
        return [path.name for path in self._folder.glob(SHARDS)]

    def manifest(self) -> bytes | None:
        try:
            return (self._folder / MANIFEST).read_bytes()
        except FileNotFoundError:
            return None

    def is_growing(self) -> bool:
        return (self._folder / MANIFEST).parent.is_dir()

    def path(self, shard: str, following: Sequence[str]) -> Path:
        return self._folder / shard

    def close(self) -> None:
        """Nothing is left open."""


class StoredFolder:
    """A folder on an object store. A shard is copied whole to this machine, the next one while it is read."""

    poll_s = 5.0  # a look is a request, which costs

    def __init__(self, store: ObjectStore) -> None:
        """Raises `StreamError` if nothing lies there, `StoreUnavailable`."""
        self.name = store.url
        self._store = store
        self._sizes: dict[str, int] = {}
        if not self.shards() and self.manifest() is None:
            raise StreamError(
                f"nothing lies at {self.name}: give the --output of `curatord curate` or `curatord archive`"
            )
        self._cache = tempfile.TemporaryDirectory(prefix="curatord-shards-", ignore_cleanup_errors=True)
        self._fetching = ThreadPoolExecutor(max_workers=1, thread_name_prefix="curatord-fetch")
        self._fetched: dict[str, Future[Path]] = {}  # oldest first

    def shards(self) -> list[str]:
        self._sizes = self._store.sizes()
        return [name for name in self._sizes if Path(name).match(SHARDS)]

    def manifest(self) -> bytes | None:
        return self._store.read(MANIFEST)

    def is_growing(self) -> bool:
        return self.manifest() is not None

    def path(self, shard: str, following: Sequence[str]) -> Path:
        fetched = self._fetch(shard)
        for name in following[:1]:
            self._fetch(name)
        while len(self._fetched) > MAX_CACHED:
            oldest = next(iter(self._fetched))
            if oldest in (shard, *following[:1]):
                break
            with suppress(Exception):  # one that did not come leaves nothing
                self._fetched.pop(oldest).result().unlink()
        return fetched.result()

    def _fetch(self, name: str) -> Future[Path]:
        known = self._fetched.get(name)
        if known is None or (known.done() and known.exception() is not None):
            self._fetched[name] = self._fetching.submit(self._get, name, self._sizes[name])
        return self._fetched[name]

    def _get(self, name: str, size: int) -> Path:
        path = Path(self._cache.name, name)
        self._store.get(name, path, size)
        return path

    def close(self) -> None:
        self._fetching.shutdown(cancel_futures=True)
        self._cache.cleanup()
