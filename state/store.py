"""Store: the facts in RocksDB, one column family each, changed one epoch at a time.

Everything that is fast lives in memory and is rebuilt from here at start. A commit is ONE write batch over all
families, so the store is always the state after a whole number of epochs. What `rocksdict` needs to be told, and
the order in which its handles must go, is in `close`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Checkpoint,
    ColumnFamily,
    DBCompactionStyle,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteOptions,
)

from curatord.errors import StateBusy, StateError, StorageError
from state.epoch import META, Change, Committed

STATE_FOLDER = ".curatord"  # inside an output folder
FORMAT_VERSION = b"5"
WRITE_BUFFER_BYTES = 32 << 20
MAX_WAL_BYTES = 256 << 20  # bounds the time to open after a kill
_UNUSED_FAMILY = "default"  # RocksDB always has it
MAX_OPEN_FILES = 512  # of 64 MB each; others are opened when they are read


def state_folder(output: Path) -> Path:
    """Where the facts of an output folder are."""
    return output / STATE_FOLDER / "state"


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(WRITE_BUFFER_BYTES)
    options.set_max_total_wal_size(MAX_WAL_BYTES)
    # Most of what is held is gone before it is merged; what stays for good is packed when it is.
    options.set_compression_type(DBCompressionType.lz4())
    options.set_bottommost_compression_type(DBCompressionType.zstd())
    # Each checkpoint writes out what is in memory, some kilobytes a family. Compaction by levels moves such files down
    # as they are where keys only grow, and never merges them; this one merges files of like size.
    options.set_compaction_style(DBCompactionStyle.universal())
    options.set_max_open_files(MAX_OPEN_FILES)
    options.set_keep_log_file_num(2)
    table = BlockBasedOptions()
    table.set_bloom_filter(10, False)
    options.set_block_based_table_factory(table)
    return options


def way_out(folder: Path) -> str:
    """The way out of a state that is damaged."""
    if folder.parent.name == STATE_FOLDER:
        return f"Put a backup of {folder.parent.parent} in its place, or curate the inputs again into another --output"
    return (
        f"Move {folder} away and start `curatord run` again: it is made anew, from the newest snapshot that is whole "
        "and the journal. See docs/operating.md#restore"
    )


def _other_format(folder: Path) -> str:
    """The way out of a state of another format."""
    if folder.parent.name == STATE_FOLDER:
        return "Go on with the curatord that wrote it, or curate the inputs again into another --output"
    return "Go on with the curatord that wrote it, or begin a new lane: see docs/operating.md#new-lane"


def holds_state(folder: Path) -> bool:
    """Whether there is a state, or parts of one: more than what is left of one that was never opened."""
    logged = (path.stat().st_size for path in folder.glob("*.log"))
    return (folder / "CURRENT").exists() or any(folder.glob("*.sst")) or any(logged)


def explain_storage(error: Exception, folder: Path) -> StorageError:
    """The message for a disk that cannot be written."""
    text = str(error)
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in text:
        return StorageError(
            f"the disk of {folder} is full. Nothing was lost: everything committed is safe. "
            "Free some space and run the same command again; it continues where it stopped"
        )
    return StorageError(f"cannot write to {folder}: {text}. Everything committed is safe; repair it and run again")


class Store:
    """The facts of one lane.

    Raises `StateBusy` if another process has it open, `StateError` if it is damaged or of another format,
    `StorageError` if it cannot be written.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.folder = folder
        self.read_only = read_only
        if read_only and not (folder / "CURRENT").exists():
            raise StateError(f"there is no state in {folder}; `curatord curate` makes one")
        if not (folder / "CURRENT").exists() and holds_state(folder):
            raise StateError(f"{folder} holds parts of a state, but its file CURRENT is missing. {way_out(folder)}")
        access = AccessType.read_only(False) if read_only else AccessType.read_write()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # By itself it opens the families that the file of options names, which is written after the manifest: a
            # process that is killed between the two leaves a family that would be missed.
            known = Rdict.list_cf(str(folder)) if (folder / "CURRENT").exists() else []
            opened = {family: _options() for family in known} or None
            self._db = Rdict(str(folder), _options(), column_families=opened, access_type=access)
            families = [family for family in known if family != _UNUSED_FAMILY]
            self._families = {family: self._db.get_column_family(family) for family in families}
            self._handles = {} if read_only else {f: self._db.get_column_family_handle(f) for f in families}
        except OSError as error:
            raise explain_storage(error, folder) from error
        except Exception as error:  # rocksdict raises bare exceptions
            text = str(error)
            if "lock" in text.lower():
                raise StateBusy(
                    f"another curatord is writing to {folder}. One writer at a time: wait for it, or stop it"
                ) from error
            if "No space left" in text:
                raise explain_storage(error, folder) from error
            raise StateError(f"the state in {folder} cannot be opened: {text}. {way_out(folder)}") from error
        version = self.get(META, b"format")
        if version is None and not read_only:
            self.apply([(META, b"format", FORMAT_VERSION)])
        elif version is not None and version != FORMAT_VERSION:
            raise StateError(
                f"the state in {folder} has format {version.decode(errors='replace')}, this program reads format "
                f"{FORMAT_VERSION.decode()}. {_other_format(folder)}"
            )

    def families(self) -> list[str]:
        """The families that have ever had a fact."""
        return sorted(self._families)

    def get(self, family: str, key: bytes) -> bytes | None:
        """One committed fact."""
        rows = self._families.get(family)
        try:
            value: bytes | None = None if rows is None else rows.get(key)
        except Exception as error:  # rocksdict raises bare exceptions
            raise self._damaged(family, error) from error
        return value

    def at_or_before(self, family: str, key: bytes) -> tuple[bytes, bytes] | None:
        """The committed fact with the last key that is not above `key`."""
        rows = self._families.get(family)
        if rows is None:
            return None
        place = rows.iter()
        place.seek_for_prev(key)
        if place.valid():
            return place.key(), place.value()
        try:
            place.status()
        except Exception as error:  # rocksdict raises bare exceptions
            raise self._damaged(family, error) from error
        return None

    def committed(self) -> Committed | None:
        """The last epoch that was applied."""
        number, identity = self.get(META, b"epoch"), self.get(META, b"identity")
        if number is None or identity is None:
            return None
        return Committed(epoch=int(number), identity=identity.decode())

    def items(self, family: str, prefix: bytes = b"", start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """All committed facts of a family whose keys begin so, from `start` on, in the order of their keys."""
        rows = self._families.get(family)
        if rows is None:
            return
        # The iterator of `Rdict.items` ends at a damaged block as if there was nothing more.
        place = rows.iter()
        place.seek(max(prefix, start))
        while place.valid():
            key = place.key()
            if not key.startswith(prefix):
                return
            yield key, place.value()
            place.next()
        try:
            place.status()
        except Exception as error:  # rocksdict raises bare exceptions
            raise self._damaged(family, error) from error

    def _damaged(self, family: str, error: Exception) -> StateError:
        return StateError(
            f"the state in {self.folder} is damaged, in family {family}: {error}. `curatord inspect state` shows what "
            f"can still be read. {way_out(self.folder)}"
        )

    def apply(self, changes: Iterable[Change], *, durable: bool = True) -> None:
        """Make the changes of one epoch: all of them or none.

        If not `durable`, a loss of power may lose the last epochs; a kill loses nothing.
        """
        batch = WriteBatch(raw_mode=True)
        for family, key, value in changes:
            handle = self._handles.get(family) or self._begin_family(family)
            if value is None:
                batch.delete(key, handle)
            else:
                batch.put(key, value, handle)
        self._write(batch, durable=durable)

    def _begin_family(self, family: str) -> ColumnFamily:
        try:
            self._families[family] = self._db.create_column_family(family, _options())
        except Exception as error:  # rocksdict raises bare exceptions
            raise explain_storage(error, self.folder) from error
        self._handles[family] = self._db.get_column_family_handle(family)
        return self._handles[family]

    def _write(self, batch: WriteBatch, *, durable: bool = True) -> None:
        options = WriteOptions()
        options.sync = durable
        try:
            self._db.write(batch, options)
        except Exception as error:  # rocksdict raises bare exceptions
            raise explain_storage(error, self.folder) from error

    def checkpoint(self, folder: Path) -> None:
        """A copy of everything committed, as hard links; `folder` must not exist. Raises `StorageError`."""
        try:
            Checkpoint(self._db).create_checkpoint(str(folder))
        except Exception as error:  # rocksdict raises bare exceptions
            raise explain_storage(error, folder) from error

    def num_bytes(self) -> int:
        """Size of the files on disk."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def close(self) -> None:
        """Release the lock. Families and handles must be gone before the database, or the lock stays.

        Closing flushes, which fails on a full disk. That is no loss: what was committed is in the write-ahead log.
        """
        for rows in self._families.values():
            with suppress(Exception):  # rocksdict raises bare exceptions
                rows.close()
        self._families.clear()
        self._handles.clear()
        with suppress(Exception):
            self._db.close()
