"""Files on an object store, by fsspec: s3://, gs://, az:// and what else it opens. Each call is tried a few times."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from curatord.errors import StoreUnavailable, StreamError, first_line

T = TypeVar("T")

TRIES = 5
FIRST_WAIT_S = 0.2  # doubled after each try
# Another try would find the same.
FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotImplementedError)


class ObjectStore:
    """The objects whose names begin with a URL. An object is there whole, or it is not.

    `options` are those of the file system of fsspec. Credentials and addresses come from the environment, as the
    store's own tools take them.
    """

    def __init__(self, url: str, options: dict[str, Any] | None = None) -> None:
        """Raises `StreamError` for a protocol that is not known, or whose package is not installed."""
        import fsspec

        protocol = url.partition("://")[0]
        try:
            # What others wrote is to be seen, and a process that was forked makes its own.
            self._files, self._root = fsspec.core.url_to_fs(
                url.rstrip("/"), use_listings_cache=False, skip_instance_cache=True, **(options or {})
            )
        except ImportError as error:  # fsspec's message names the package
            raise StreamError(f"the protocol {protocol}:// needs one more package: {error}") from error
        except ValueError as error:
            raise StreamError(
                f"{url} cannot be opened: give kafka://host:9092/topic, a folder, or the URL of one on an object store "
                f"({first_line(error)})"
            ) from error
        self.url = url.rstrip("/")

    def sizes(self, folder: str = "") -> dict[str, int]:
        """The objects of one folder, by their names in it, with their bytes. Raises `StoreUnavailable`."""

        def listed() -> list[dict[str, Any]]:
            try:
                found: list[dict[str, Any]] = self._files.ls(self._path(folder), detail=True)
            except FileNotFoundError:
                return []
            return found

        found = self._tried(f"list {self.url}/{folder}", listed)
        return {entry["name"].rpartition("/")[2]: entry["size"] for entry in found if entry["type"] == "file"}

    def read(self, name: str) -> bytes | None:
        """The bytes of an object; None if there is none. Raises `StoreUnavailable`."""

        def content() -> bytes | None:
            try:
                found: bytes = self._files.cat_file(self._path(name))
            except FileNotFoundError:
                return None
            return found

        return self._tried(f"read {self.url}/{name}", content)

    def get(self, name: str, path: Path, size: int) -> None:
        """Copy an object of so many bytes to a file. Raises `StoreUnavailable`."""

        def copy() -> None:
            self._files.get_file(self._path(name), str(path))
            if path.stat().st_size != size:
                raise OSError(f"{path.stat().st_size:,} of {size:,} bytes came")

        self._tried(f"read {self.url}/{name}", copy)

    def put(self, path: Path, name: str) -> None:
        """Copy a file to an object, in the place of one of this name. Raises `StoreUnavailable`."""
        size = path.stat().st_size

        def copy() -> None:
            self._files.put_file(str(path), self._path(name))
            stored = self._files.info(self._path(name))["size"]
            if stored != size:
                raise OSError(f"{stored:,} of {size:,} bytes arrived")

        self._tried(f"write {self.url}/{name}", copy)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    def _tried(self, what: str, work: Callable[[], T]) -> T:
        wait_s = FIRST_WAIT_S
        for attempt in range(1, TRIES + 1):
            try:
                return work()
            except Exception as error:  # stores raise what their clients do, which has no common root
                if attempt == TRIES or isinstance(error, FINAL):
                    raise StoreUnavailable(
                        f"the object store does not {what}: {first_line(error)}. Are address, bucket and credentials "
                        "in the environment, and may they do this?"
                    ) from error
            time.sleep(wait_s)
            wait_s *= 2
        raise AssertionError("unreachable")


def is_url(name: str) -> bool:
    """Whether an output is one of an object store, not a folder of this machine."""
    return "://" in name
