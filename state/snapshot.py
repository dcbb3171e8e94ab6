"""Snapshots: whole copies of the state, so that a restore need not read the journal from its beginning.

A snapshot is a RocksDB checkpoint (hard links, some 30 ms) that a thread copies to another disk, with a manifest of
checksums that is written last and read back. Two are kept. The journal may be cut behind the older one, so that even
with the newer one damaged everything can be restored.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import xxhash

from curatord.errors import StateError, StorageError
from state.durable import sync
from state.journal import journal_position
from state.store import Store, explain_storage

KEPT = 2
MANIFEST = "MANIFEST.json"
_PREFIX = "epoch-"
_UNFINISHED = ".unfinished"
_READ_BYTES = 1 << 20


class StateConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[state]: where the service keeps its state, and how much of it is in memory."""

    memory: Annotated[int, msgspec.Meta(ge=16 << 20)] = 2 << 30
    """Bytes of memory for the indices of documents seen. The newest documents take up to 120 MB, all others about 35
    bytes each while there is room; beyond it look-ups begin on disk."""
    forget_after: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Documents after which a text, an address and a near-duplicate may come again: matches are looked for among so
    many documents before, and older ones take no memory. 0 forgets nothing. Ids are never forgotten: redeliveries,
    new versions and retractions are recognised at any age. Part of identity."""
    dir: str = "curatord-state"
    """Folder of the service's own copy of the state; a lost one is restored from snapshots and the journal. `curate`
    keeps it in its output folder."""
    snapshot_dir: str = ""
    """Folder for the service's snapshots, on another disk than `dir`; "" makes none, and the journal is never cut."""
    snapshot_interval_s: Annotated[float, msgspec.Meta(gt=0)] = 3600.0
    """Seconds between snapshots."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a snapshot."""

    epoch: int
    identity: str
    journal_offset: int  # the journal goes on here after the snapshot
    files: dict[str, str]  # name -> xxh3_128 of its content, hexadecimal

    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A snapshot that was written and read back."""

    manifest: Manifest
    num_bytes: int
    seconds: float
    cut_before: int | None  # the journal is not needed before this offset; None if all of it is


class Snapshots:
    """The snapshots of one lane, in a folder of their own."""

    def __init__(self, folder: Path, *, own_disk: Path) -> None:
        self._folder = folder
        self._own_disk = own_disk  # where the state is; a snapshot there would be lost with it
        self._thread: threading.Thread | None = None
        self._result: Finished | StorageError | None = None

    def due_in(self, interval_s: float) -> float:
        """Seconds until the newest is older than the interval; 0 if there is none."""
        for path in self._paths():
            with suppress(OSError):
                return max(0.0, (path / MANIFEST).stat().st_mtime + interval_s - time.time())
        return 0.0

    def begin(self, store: Store) -> bool:
        """Start a snapshot of the store; False if there is one of this epoch, or one is still being copied.

        A snapshot that cannot be started has failed like one that could not be copied: `finished` says why.
        """
        committed = store.committed()
        if committed is None or self._thread is not None:
            return False
        checkpoint = store.folder.with_name(store.folder.name + ".checkpoint")
        try:
            if self._path(committed.epoch).exists():
                return False
            shutil.rmtree(checkpoint, ignore_errors=True)
            store.checkpoint(checkpoint)
            manifest = Manifest(
                epoch=committed.epoch, identity=committed.identity, journal_offset=journal_position(store), files={}
            )
            copying = threading.Thread(target=self._copy, args=[checkpoint, manifest], name="snapshot", daemon=True)
            copying.start()
        except (OSError, StorageError, RuntimeError) as error:  # RuntimeError: there is no room for a thread
            self._result = error if isinstance(error, StorageError) else explain_storage(error, checkpoint)
            shutil.rmtree(checkpoint, ignore_errors=True)
            return False
        self._thread = copying
        return True

    def finished(self) -> Finished | StorageError | None:
        """Result of the last `begin`, returned once; None while copying, or without one."""
        if self._thread is not None and self._thread.is_alive():
            return None
        self._thread = None
        result, self._result = self._result, None
        return result

    def _copy(self, checkpoint: Path, manifest: Manifest) -> None:
        began = time.monotonic()
        target = self._path(manifest.epoch)
        unfinished = target.with_suffix(_UNFINISHED)
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            files = {path.name: _copy_file(path, unfinished / path.name) for path in sorted(checkpoint.iterdir())}
            manifest = msgspec.structs.replace(manifest, files=files)
            (unfinished / MANIFEST).write_bytes(msgspec.json.encode(manifest))
            sync(unfinished / MANIFEST)
            _verify(unfinished, manifest)
            shutil.rmtree(target, ignore_errors=True)
            unfinished.rename(target)
            sync(self._folder)
            for old in self._paths()[KEPT:]:
                shutil.rmtree(old)
            num_bytes = sum(path.stat().st_size for path in target.iterdir())
            self._result = Finished(
                manifest=manifest,
                num_bytes=num_bytes,
                seconds=time.monotonic() - began,
                cut_before=self._cut_before(),
            )
        except StateError as error:
            self._result = StorageError(str(error))
        except Exception as error:  # of any kind: the service logs it
            self._result = explain_storage(error, self._folder)
        finally:
            shutil.rmtree(checkpoint, ignore_errors=True)

    def _path(self, epoch: int) -> Path:
        return self._folder / f"{_PREFIX}{epoch:012d}"

    def _paths(self) -> list[Path]:
        """Finished snapshots, newest first."""
        return sorted((p for p in self._folder.glob(f"{_PREFIX}*") if p.suffix != _UNFINISHED), reverse=True)

    def usable(self) -> Iterator[tuple[Path, Manifest]]:
        """Snapshots whose checksums hold, newest first."""
        return ((path, found) for path, found in self.survey() if isinstance(found, Manifest))

    def is_newest(self, manifest: Manifest) -> bool:
        """Whether no finished snapshot is newer, damaged or not."""
        return self._paths()[:1] == [self._path(manifest.epoch)]

    def survey(self) -> Iterator[tuple[Path, Manifest | str]]:
        """All snapshots, newest first: what is in them, or why they cannot be used."""
        for path in self._paths():
            try:
                manifest = msgspec.json.decode((path / MANIFEST).read_bytes(), type=Manifest)
                _verify(path, manifest)
            except OSError as error:
                yield path, f"{error.filename or path}: {error.strerror or error}"
            except msgspec.DecodeError as error:
                yield path, f"{path / MANIFEST} cannot be read: {error}"
            except StateError as error:
                yield path, str(error)
            else:
                yield path, manifest

    def _cut_before(self) -> int | None:
        """Offset before which the journal is not needed: that of the older of two snapshots on another disk."""
        if self._folder.stat().st_dev == self._own_disk.stat().st_dev:
            return None
        manifests = [manifest for _, manifest in self.usable()]
        return manifests[KEPT - 1].journal_offset if len(manifests) >= KEPT else None

    def restore(self, folder: Path) -> Manifest | None:
        """Make a lost state again from the newest usable snapshot; None if there is none. Raises `StorageError`."""
        for path, manifest in self.usable():
            unfinished = folder.with_name(folder.name + _UNFINISHED)
            try:
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir(parents=True)
                for name in manifest.files:
                    _copy_file(path / name, unfinished / name)
                _put_in_place(unfinished, folder)
            except OSError as error:
                raise explain_storage(error, folder) from error
            return manifest
        return None


def _put_in_place(made: Path, folder: Path) -> None:
    """A folder that is the root of a disk stays, and so does what the system keeps there."""
    with suppress(OSError):
        folder.rmdir()
    if not folder.exists():
        made.rename(folder)
        return
    for path in sorted(made.iterdir(), key=lambda path: path.name == "CURRENT"):  # without it there is no state
        shutil.move(path, folder / path.name)
    made.rmdir()


def _copy_file(source: Path, target: Path) -> str:
    """Copy a file so that it is on the disk; its checksum."""
    digest = xxhash.xxh3_128()
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(_READ_BYTES):
            digest.update(block)
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def _verify(folder: Path, manifest: Manifest) -> None:
    """Read everything back. Raises `StateError` at the first file that is not as it was."""
    for name, expected in manifest.files.items():
        digest = xxhash.xxh3_128()
        with (folder / name).open("rb") as reader:
            while block := reader.read(_READ_BYTES):
                digest.update(block)
        if digest.hexdigest() != expected:
            raise StateError(f"{folder / name} is not what was written there")
