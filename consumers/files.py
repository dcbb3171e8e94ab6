"""The broker over files: rows of the inputs in, Parquet shards out, no server.

The commit point is the write to the store. Outputs go to `pending/<epoch>` first, are made durable, and move to
their places after the store has the epoch; a start moves what a crash left behind, or removes what never counted.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from consumers.broker import (
    MAX_POLL_BYTES,
    CommitReport,
    JournalRecord,
    Ownership,
    RawDocument,
    RawFeedback,
    row_bytes,
)
from consumers.inputs import InputConfig, InputFile
from consumers.readers import read_rows
from consumers.sequences import shard_name, write_holdout, write_sequences
from state.epoch import Committed, Epoch
from state.store import STATE_FOLDER, Store, explain_storage

# What compressed text usually unpacks to; only the estimate of progress hangs on it.
USUAL_COMPRESSION = 3.5


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """How far an input was read: fact of family `inputs`, by its name."""

    position: int  # next row
    size: int  # bytes of the file when it was read
    mtime_ns: int
    done: bool  # read to its end


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FilesBroker:
    """Inputs read in order, one output folder, one writer (the store's lock).

    An input that was read to its end and did not change since is not read again. One that changed is read from its
    start: what the state knows already is recognised by its id and text, and has no effect.
    """

    def __init__(self, inputs: Sequence[InputFile], config: InputConfig, output: Path, store: Store) -> None:
        self._config = config
        self._output = output
        self._store = store
        self._pending = output / STATE_FOLDER / "pending"
        self._waiting = deque(inputs)
        self._files = {file.uri: file for file in inputs}
        self._rows: Iterator[RawDocument] = iter(())
        self._current: InputFile | None = None
        self._finished: list[InputFile] = []  # since the last commit
        self._num_bytes = sum(file.size for file in inputs)
        self._num_bytes_done = 0  # of the inputs that were read to their end, or need not be
        self._num_bytes_current = 0  # of the input that is being read, unpacked
        self.num_unchanged = 0  # inputs that need not be read
        self._recover()

    last_commit = CommitReport()

    def join(self) -> None:
        """Nobody to ask."""

    def keep_alive(self) -> None:
        """Nobody is waiting."""

    def lag(self) -> dict[str, int]:
        """Not known."""
        return {}

    def retained_from(self, generation: int, next_seq_no: int) -> int | None:
        """Nothing is cut."""
        return None

    def ownership(self) -> Ownership:
        """The owner: the store's lock admits one process."""
        return Ownership.OWNER

    def poll(self, max_rows: int, timeout_s: float) -> list[RawDocument]:
        """The next rows, across file ends; no more once they are MAX_POLL_BYTES together."""
        rows: list[RawDocument] = []
        num_bytes = 0
        while len(rows) < max_rows:
            for row in islice(self._rows, max_rows - len(rows)):
                rows.append(row)
                size = row_bytes(row)
                self._num_bytes_current += size
                num_bytes += size
                if num_bytes >= MAX_POLL_BYTES:
                    return rows
            if len(rows) < max_rows and not self._open_next():
                break
        return rows

    def feedback(self, max_records: int) -> list[RawFeedback]:
        """Nothing: files have no trainer at the other end."""
        return []

    def _open_next(self) -> bool:
        """Go to the next input that has something new; False after the last."""
        if self._current is not None:
            self._finished.append(self._current)
            self._num_bytes_done += self._current.size
            self._current = None
        while self._waiting:
            file = self._waiting.popleft()
            known = self._progress(file.uri)
            changed = known is None or (known.size, known.mtime_ns) != (file.size, file.mtime_ns)
            # Standard input has no size that would tell a longer stream from the same one.
            if known is not None and known.done and not changed and not file.is_stdin:
                self._num_bytes_done += file.size
                self.num_unchanged += 1
                continue
            start = 0 if known is None or changed else known.position
            self._current, self._num_bytes_current = file, 0
            self._rows = self._read(file, start)
            return True
        return False

    def _read(self, file: InputFile, start: int) -> Iterator[RawDocument]:
        for rows in read_rows(file, start, self._config):
            for row in rows:
                yield RawDocument(file.uri, row.position, row.value, row.original)

    def _progress(self, uri: str) -> Progress | None:
        value = self._store.get("inputs", uri.encode())
        return None if value is None else msgspec.msgpack.decode(value, type=Progress)

    def share_read(self) -> float:
        """About how much of the inputs was read, 0 to 1."""
        current = 0.0
        if self._current is not None:
            ratio = USUAL_COMPRESSION if self._current.compression else 1.0
            current = min(self._num_bytes_current / ratio, self._current.size)
        return (self._num_bytes_done + current) / max(1, self._num_bytes)

    def ended(self) -> bool:
        """All inputs were read to their end."""
        return self._current is None and not self._waiting

    def commit(self, epoch: Epoch) -> None:
        """Stage the outputs, commit to the store, move the outputs to their places.

        Raises `StorageError` if something cannot be written; then nothing of the epoch counts.
        """
        for uri, position in epoch.positions.items():
            self._note(epoch, self._files[uri], position, done=False)
        for file in self._finished:
            known = self._progress(file.uri)
            position = epoch.positions.get(file.uri, 0 if known is None else known.position)
            self._note(epoch, file, position, done=True)
        self._finished.clear()
        staged = self._pending / f"{epoch.number:010d}"
        try:
            self._stage(epoch, staged)
            self._store.apply(epoch.changes())
            self._publish(staged)
        except OSError as error:
            raise explain_storage(error, self._output) from error

    def _note(self, epoch: Epoch, file: InputFile, position: int, *, done: bool) -> None:
        progress = Progress(position=position, size=file.size, mtime_ns=file.mtime_ns, done=done)
        epoch.put("inputs", file.uri.encode(), msgspec.msgpack.encode(progress))

    def _stage(self, epoch: Epoch, staged: Path) -> None:
        """Write the epoch's shards where no reader looks."""
        if not epoch.sequences and not epoch.holdouts:
            return
        shutil.rmtree(staged, ignore_errors=True)
        (staged / "holdout").mkdir(parents=True)
        for shard in epoch.sequences:
            write_sequences(staged / shard_name(shard), shard)
        for documents in epoch.holdouts:
            first = documents[0].number
            write_holdout(staged / "holdout" / f"holdout-{first:010d}.parquet", documents)
        sync_folder(staged / "holdout")
        sync_folder(staged)

    def _publish(self, staged: Path) -> None:
        """Move committed shards to their places; doing it again is harmless."""
        if not staged.is_dir():
            return
        for path in sorted(staged.rglob("*.parquet")):
            target = self._output / path.relative_to(staged)
            target.parent.mkdir(exist_ok=True)
            path.replace(target)
        for folder in (self._output / "holdout", self._output):
            if folder.is_dir():
                sync_folder(folder)
        shutil.rmtree(staged)

    def _recover(self) -> None:
        """Finish the move of what a crash left, and remove what never counted."""
        last = self.committed()
        committed_epoch = 0 if last is None else last.epoch
        for staged in sorted(self._pending.glob("*")):
            if int(staged.name) <= committed_epoch:
                self._publish(staged)
            else:
                shutil.rmtree(staged)

    def committed(self) -> Committed | None:
        """What the store has."""
        return self._store.committed()

    def take_over(self) -> Committed | None:
        """The store's lock admits one process."""
        return self.committed()

    def journal(self, *, after: int, follow: bool) -> Iterator[JournalRecord | None]:
        """Nothing: the store itself is the record of what was committed."""
        return iter(())

    def truncate(self, *, before: int) -> None:
        """Nothing to forget."""

    def close(self) -> None:
        """Nothing to leave; the lock goes with the store."""
