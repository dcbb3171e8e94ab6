"""A folder of prepared rows: the inputs in their order, and the parts that each was prepared into.

`prepared.json` lists the inputs as they were first named. A part is an Arrow IPC stream with the rows at positions
[first, next) of one input; its name says so, and it gets that name when it is whole. Any number of processes on any
number of machines may work on one folder: an input is claimed by a lock, and where a file system has no locks between
machines two may do the same work, with the same result.

A folder that an engine wrote has no such list. Then every Parquet file in it is a part of each input that it has rows
of; inputs are ordered by their names, and rows by their positions.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from consumers.broker import RawDocument
from consumers.files.inputs import InputFile, Part
from consumers.formats.arrow_sizes import record_batches
from consumers.formats.prepared import DIGEST, check_schema, fields, refuse_differences, rows_of_batch, write_options
from consumers.formats.tables import MAX_UNPACKED
from curatord.errors import StateError, Undecodable, UsageError, first_line
from state.durable import sync
from state.store import explain_storage

MANIFEST = "prepared.json"
_LOCK = ".lock"
_PART = re.compile(r"(\d{6})-(\d{12})-(\d{12})(-end)?\.arrow")
FORMAT = 1


class Entry(msgspec.Struct, frozen=True):
    """An input, as it was when it was named."""

    number: int  # of its parts
    uri: str
    kind: str
    compression: str
    size: int
    mtime_ns: int


class Manifest(msgspec.Struct, frozen=True):
    """The content of `prepared.json`."""

    version: int
    identity: str
    inputs: list[Entry]


def is_prepared(folder: Path) -> bool:
    """Whether a folder holds prepared rows."""
    if (folder / MANIFEST).is_file():
        return True
    first = next(folder.glob("*.parquet"), None)
    return first is not None and _is_prepared_table(first)


def _is_prepared_table(path: Path) -> bool:
    import pyarrow as pa
    from pyarrow.parquet import read_schema

    with suppress(pa.ArrowException, OSError):
        return DIGEST in read_schema(path).names
    return False


def inputs_of(folder: Path) -> list[InputFile]:
    """The inputs of a folder in their order, each with its parts. Raises `UsageError` for one that is not complete."""
    manifest = _read(folder)
    if manifest is None:
        return _inputs_of_tables(folder)
    parts = _parts(folder)
    files, missing = [], []
    for entry in manifest.inputs:
        whole = contiguous(parts.get(entry.number, []))
        if not whole or not whole[-1].is_last:
            missing.append(entry.uri)
        files.append(_input(entry, tuple(whole)))
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(files)} inputs are not prepared to their end, first {missing[0]}: run `curatord "
            "prepare` with them again"
        )
    return files


def _input(entry: Entry, parts: tuple[Part, ...]) -> InputFile:
    return msgspec.convert({**msgspec.structs.asdict(entry), "parts": parts}, InputFile)


def _inputs_of_tables(folder: Path) -> list[InputFile]:
    """From the columns that say where each row came from. Raises `UsageError` if rows of an input are out of order."""
    from pyarrow.parquet import read_table

    parts: dict[str, set[Part]] = {}
    for path in sorted(folder.glob("*.parquet")):
        places = read_table(path, columns=["input", "position"]).group_by("input")
        for row in places.aggregate([("position", "min"), ("position", "max")]).to_pylist():
            found = parts.setdefault(row["input"] or "", set())
            # A task that was run twice wrote the same rows twice.
            if all((row["position_min"], row["position_max"] + 1) != (part.first, part.next) for part in found):
                found.add(Part(str(path), row["position_min"], row["position_max"] + 1, False))
    files = []
    for uri in sorted(parts):
        whole = tuple(sorted(parts[uri], key=lambda part: part.first))
        mixed = [after for before, after in pairwise(whole) if after.first < before.next]
        if mixed:
            raise UsageError(
                f"{mixed[0].path} holds rows of {uri!r} between those of another file: write them in the order of "
                "their positions, one stretch a file"
            )
        files.append(InputFile(uri=uri, kind="parquet", size=sum(map(_size, whole)), parts=whole))
    return files


def _size(part: Part) -> int:
    return os.stat(part.path).st_size


def contiguous(parts: Sequence[Part]) -> list[Part]:
    """From position 0 on without a gap: of parts that begin at one place the longest counts."""
    found: list[Part] = []
    at = 0
    while True:
        following = [part for part in parts if part.first == at and (part.next > at or part.is_last)]
        if not following or (found and found[-1].is_last):
            return found
        found.append(max(following, key=lambda part: (part.is_last, part.next)))
        at = found[-1].next


def read_prepared(file: InputFile, start: int, identity: str) -> Iterator[list[RawDocument]]:
    """The rows of an input at positions `start` and later, each once.

    Raises `IdentityError` if they were prepared otherwise, `StateError` for a part that cannot be read.
    """
    for part in file.parts:
        if part.next <= start:
            continue
        for batch in _batches(part.path, identity):
            rows = [
                row
                for row in rows_of_batch(batch, identity, part.path)
                if row.source == file.uri and row.position >= start
            ]
            if any(before.position > after.position for before, after in pairwise(rows)):
                raise StateError(f"{part.path} holds rows out of the order of their positions: sort them by it")
            if rows:
                yield rows
        start = part.next


def _batches(path: str, identity: str) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        if path.endswith(".parquet"):
            with ParquetFile(path) as table:
                for batch in table.iter_batches(batch_size=256, columns=fields(identity).names, use_threads=False):
                    yield batch.cast(fields(identity))
            return
        with pa.memory_map(path) as mapped:
            for number, batch in enumerate(record_batches(mapped.read_buffer(), MAX_UNPACKED, in_all=False)):
                if not number:
                    check_schema(batch.schema, identity, path)
                yield batch
    except (Undecodable, pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise StateError(
            f"{path} cannot be read: {first_line(error)}. Delete it, and prepare its input again"
        ) from error


def register(folder: Path, files: Sequence[InputFile], identity: str) -> list[Entry]:
    """Name inputs, behind those that were named before; their entries. One that changed since is to be prepared anew.

    Raises `IdentityError` if what is there was prepared otherwise, `UsageError` if it is something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / MANIFEST).exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise UsageError(f"{folder} holds something else: give an empty folder to --output")
    with _locked(folder / _LOCK):
        manifest = _read(folder) or Manifest(FORMAT, identity, [])
        refuse_differences(manifest.identity, identity, str(folder))
        known = {entry.uri: entry for entry in manifest.inputs}
        number = max((entry.number for entry in manifest.inputs), default=-1)
        for file in files:
            before = known.get(file.uri)
            if before is None or (before.size, before.mtime_ns) != (file.size, file.mtime_ns):
                number += 1
                known[file.uri] = Entry(number, file.uri, file.kind, file.compression, file.size, file.mtime_ns)
        manifest = Manifest(FORMAT, identity, list(known.values()))
        unfinished = folder / f".{MANIFEST}"
        unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
        sync(unfinished)
        unfinished.replace(folder / MANIFEST)
        sync(folder)
    return [known[file.uri] for file in files]


def _read(folder: Path) -> Manifest | None:
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StateError(f"{path} cannot be read: {error}. Prepare the inputs into another folder") from None
    if manifest.version != FORMAT:
        raise StateError(f"{path} is of version {manifest.version}, and version {FORMAT} is read here: update curatord")
    return manifest


def _parts(folder: Path) -> dict[int, list[Part]]:
    """Whole parts by the number of their input."""
    found: dict[int, list[Part]] = {}
    for path in folder.iterdir():
        if match := _PART.fullmatch(path.name):
            number, first, following, end = match.groups()
            found.setdefault(int(number), []).append(Part(str(path), int(first), int(following), bool(end)))
    return found


def parts_of(folder: Path, entry: Entry) -> list[Part]:
    """The parts of an input so far."""
    return contiguous(_parts(folder).get(entry.number, []))


@contextmanager
def claimed(folder: Path, entry: Entry) -> Iterator[bool]:
    """Claim an input for a while; whether no other process has it."""
    with _locked(folder / f".{entry.number:06d}.claim", wait=False) as is_ours:
        yield is_ours


@contextmanager
def _locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError:  # no locks here: the worst is work that is done twice
            pass
        yield True
    finally:
        os.close(descriptor)


class PartWriter:
    """One part, which is there when it is finished. Raises `StorageError` where it cannot be written."""

    def __init__(self, folder: Path, number: int, first: int, schema: Any) -> None:
        import pyarrow as pa

        self._folder, self._number, self._first = folder, number, first
        # Another process of this machine does not write it, for this one has the claim.
        self._path = folder / f".{number:06d}-{socket.gethostname()}.unfinished"
        with self._explained():
            self._stream = pa.ipc.new_stream(str(self._path), schema, options=write_options(compressed=True))
        self.num_rows = 0
        self.next = first

    def write(self, batch: Any, following: int) -> None:
        """The next rows, before position `following`."""
        with self._explained():
            self._stream.write_batch(batch)
        self.num_rows += len(batch)
        self.next = following

    def finish(self, *, is_last: bool) -> None:
        """Give it its name."""
        end = "-end" if is_last else ""
        with self._explained():
            self._stream.close()
            sync(self._path)
            self._path.replace(self._folder / f"{self._number:06d}-{self._first:012d}-{self.next:012d}{end}.arrow")
            sync(self._folder)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Leave nothing of a part that cannot be written. Raises `StorageError`."""
        try:
            yield
        except OSError as error:
            with suppress(OSError):
                self._path.unlink()
            raise explain_storage(error, self._folder) from error
