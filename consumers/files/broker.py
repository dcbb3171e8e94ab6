"""The broker over files: rows of the inputs in, Parquet shards out, no server.

The commit point is the write to the store. Outputs go to `pending/<epoch>` first, are made durable, and move to
their places after the store has the epoch; a start moves what a crash left behind, or removes what never counted.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path

import msgspec
import xxhash

from consumers.attempts import Attempts
from consumers.broker import (
    MAX_POLL_BYTES,
    CommitReport,
    RawDocument,
    RawFeedback,
    row_bytes,
)
from consumers.files.destination import Destination, LocalDestination
from consumers.files.inputs import InputFile
from consumers.files.prepared_folder import read_prepared
from consumers.files.readers import read_rows
from consumers.files.shards import shard_name, verdicts_name, write_holdout, write_sequences, write_table
from consumers.formats.input_config import InputConfig
from consumers.formats.verdicts import verdict_table
from state.common_facts import DEAD_LETTERS, INPUTS
from state.durable import sync
from state.epoch import Committed, Epoch
from state.facts import TEXT, Facts, packed, single
from state.store import STATE_FOLDER, Store, explain_storage
from state.tally import Tally

# What compressed text usually unpacks to; only the estimate of progress hangs on it.
USUAL_COMPRESSION = 3.5
VERDICTS, PLACE = "verdicts", "place"  # in a folder of pending outputs: their shards, and the folder where they go


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """How far an input was read: fact of family `inputs`, by its name."""

    position: int  # next row
    size: int  # bytes of the file when it was read
    mtime_ns: int
    done: bool  # read to its end
    options: str = ""  # digest of [input] as it was read with
    tally: Tally = msgspec.field(default_factory=Tally)
    number: int = 0  # in the order in which inputs were first read


_PROGRESS = Facts(INPUTS, TEXT, packed(Progress))
_SUPERSEDED = single("superseded", packed(dict[str, int]))


def read_superseded(store: Store) -> dict[str, int]:
    """Dead letters that the ledger counts, but whose inputs were read anew since, by reason."""
    return _SUPERSEDED.get(store, None) or {}


def inputs_read(store: Store) -> dict[str, Progress]:
    """Every input that was ever read, by its name, in the order in which they were."""
    return dict(sorted(_PROGRESS.items(store), key=lambda entry: entry[1].number))


def _read_mark(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


class FilesBroker:
    """Inputs read in order, one output folder, one writer (the store's lock).

    An input that was read to its end and did not change since is not read again. One that changed is read from its
    start: what the state knows already is recognised by its id and text, and has no effect. So is one with rows that
    could not be read, when an option of [input] changed: its dead letters are taken back.
    """

    def __init__(
        self,
        inputs: Sequence[InputFile],
        config: InputConfig,
        output: Path,
        store: Store,
        verdicts: Path | None = None,
        identity: str = "",
        destination: Destination | None = None,
    ) -> None:
        self._config = config
        self._destination = destination or LocalDestination(output)  # of shards, and of documents held out
        self._output = output
        self._store = store
        self._verdicts = verdicts  # where shards of verdicts go
        self._identity = identity  # of rows that may come prepared
        self._pending = output / STATE_FOLDER / "pending"
        self._waiting = deque(inputs)
        self._files = {file.uri: file for file in inputs}
        self._rows: Iterator[RawDocument] = iter(())
        self._current: InputFile | None = None
        self._finished: list[InputFile] = []  # polled to their end, but not committed to it
        self._polled: dict[str, int] = {}  # position behind the last row that was polled
        self._num_bytes = sum(file.size for file in inputs)
        self._num_bytes_done = 0  # of the inputs that were read to their end, or need not be
        self._num_bytes_current = 0  # of the input that is being read, unpacked
        self._options = xxhash.xxh3_64_hexdigest(msgspec.json.encode(config))
        self._tallies: dict[str, Tally] = {}
        self._superseded: list[str] = []  # inputs that are read anew, and whose dead letters count no more
        self.num_unchanged = 0  # inputs that need not be read
        self._positions: dict[str, int] = {}  # of this run, committed or about to be
        self._num_superseded = read_superseded(store)
        self._numbers = {uri: progress.number for uri, progress in inputs_read(store).items()}
        self._recover()
        self._mark = output / STATE_FOLDER / "attempt"
        self.attempts = Attempts(self._keep, _read_mark(self._mark), frozenset(self._files))

    last_commit = CommitReport()

    def poll(self, max_rows: int, timeout_s: float) -> list[RawDocument]:
        """The next rows, across file ends; no more once they are MAX_POLL_BYTES together."""
        rows = self._next_rows(max_rows)
        num = self.attempts.begin([(row.source, row.position) for row in rows])
        if num < len(rows):
            self._rows = chain(rows[num:], self._rows)
        self._polled |= {row.source: row.position + 1 for row in rows[:num]}
        return rows[:num]

    def _next_rows(self, max_rows: int) -> list[RawDocument]:
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
            if rows and self.attempts.has_suspects:
                break  # some may have to wait, and a file of which rows wait is not at its end
            if len(rows) < max_rows and not self._open_next():
                break
        return rows

    def _keep(self, mark: bytes, *, wait: bool) -> None:
        """Beside the state. A kill loses nothing that was written; where nothing can be written, a commit says so."""
        with suppress(OSError):
            descriptor = os.open(self._mark, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.pwrite(descriptor, mark, 0)  # what is left of a longer one is not looked at
            finally:
                os.close(descriptor)

    def feedback(self, max_records: int) -> list[RawFeedback]:
        """Nothing: files have no trainer at the other end."""
        return []

    def passed(self) -> dict[str, int]:
        """Nothing: rows of a file follow one another."""
        return {}

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
            anew = changed or known is None or self._is_readable_now(known)
            # Standard input has no size that would tell a longer stream from the same one.
            if known is not None and known.done and not anew and not file.is_stdin:
                self._num_bytes_done += file.size
                self.num_unchanged += 1
                self._tallies[file.uri] = known.tally
                continue
            start = 0 if known is None or anew else known.position
            self._tallies[file.uri] = Tally() if known is None or anew else known.tally
            if known is not None and anew and known.tally.dead:
                self._superseded.append(file.uri)
            self._current, self._num_bytes_current = file, 0
            self._rows = self._read(file, start)
            return True
        return False

    def _is_readable_now(self, known: Progress) -> bool:
        """Whether rows, or their ids, that could not be used may be now: an option changed since."""
        return bool(known.tally.dead or known.tally.lost_ids) and known.options != self._options

    def tallies(self) -> dict[str, Tally]:
        """Outcomes of the rows of each input of this run, with those that need not be read."""
        return dict(self._tallies)

    def _read(self, file: InputFile, start: int) -> Iterator[RawDocument]:
        if file.parts:
            yield from chain.from_iterable(read_prepared(file, start, self._identity))
            return
        for rows in read_rows(file, start, self._config):
            for row in rows:
                yield RawDocument(file.uri, row.position, row.value, row.original)

    def _progress(self, uri: str) -> Progress | None:
        return _PROGRESS.get(self._store, uri)

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

    def complete(self, epoch: Epoch) -> None:
        """How far each input was read, what became of its rows, and which dead letters count no more."""
        for uri, tally in epoch.tallies.items():
            if uri in self._tallies:  # a retraction by command is of no input
                self._tallies[uri].add(tally)
        self._take_back_letters(epoch)
        for uri, position in epoch.positions.items():
            self._note(epoch, self._files[uri], position, done=False)
        finished, self._finished = self._finished, []
        for file in finished:
            known = self._progress(file.uri)
            position = self._positions.get(file.uri, 0 if known is None else known.position)
            if position < self._polled.get(file.uri, 0):
                self._finished.append(file)  # its last rows wait to be decided
            else:
                self._note(epoch, file, position, done=True)

    def commit(self, epoch: Epoch) -> None:
        """Stage the outputs, commit to the store, move the outputs to their places.

        Raises `StorageError` if something cannot be written; then nothing of the epoch counts. Raises
        `StoreUnavailable` from a place on an object store: the epoch counts, and the next start moves its outputs.
        """
        staged = self._pending / f"{epoch.number:010d}"
        try:
            self._stage(epoch, staged)
            self._store.apply(epoch.changes())
            self._publish(staged)
        except OSError as error:
            raise explain_storage(error, self._output) from error

    def _note(self, epoch: Epoch, file: InputFile, position: int, *, done: bool) -> None:
        number = self._numbers.setdefault(file.uri, len(self._numbers))
        progress = Progress(
            position=position,
            size=file.size,
            mtime_ns=file.mtime_ns,
            done=done,
            options=self._options,
            number=number,
            tally=self._tallies.get(file.uri, Tally()),
        )
        self._positions[file.uri] = position
        _PROGRESS.put(epoch, file.uri, progress)

    def _take_back_letters(self, epoch: Epoch) -> None:
        """Remove the dead letters of inputs that are read anew, and remember how many there were, by reason."""
        if not self._superseded:
            return
        counts = self._num_superseded
        for number, letter in DEAD_LETTERS.items(self._store):
            if letter.source in self._superseded:
                DEAD_LETTERS.delete(epoch, number)
                counts[letter.reason] = counts.get(letter.reason, 0) + 1
        _SUPERSEDED.put(epoch, None, counts)
        self._superseded.clear()

    def _stage(self, epoch: Epoch, staged: Path) -> None:
        """Write the epoch's shards where no reader looks."""
        if not epoch.sequences and not epoch.holdouts and not epoch.verdicts:
            return
        shutil.rmtree(staged, ignore_errors=True)
        (staged / "holdout").mkdir(parents=True)
        if epoch.verdicts and self._verdicts is not None:
            (staged / VERDICTS).mkdir()
            # A start after a crash moves them where this run would have.
            (staged / VERDICTS / PLACE).write_bytes(os.fsencode(self._verdicts.absolute()))
            for verdicts in epoch.verdicts:
                table = verdict_table(verdicts.rows, epoch, self._store)
                write_table(staged / VERDICTS / verdicts_name(verdicts), table, len(verdicts.rows))
            sync(staged / VERDICTS)
        for shard in epoch.sequences:
            write_sequences(staged / shard_name(shard), shard)
        for documents in epoch.holdouts:
            first = documents[0].number
            write_holdout(staged / "holdout" / f"holdout-{first:010d}.parquet", documents)
        sync(staged / "holdout")
        sync(staged)

    def _publish(self, staged: Path) -> None:
        """Move committed shards to their places; doing it again is harmless."""
        if not staged.is_dir():
            return
        place = staged / VERDICTS / PLACE
        if place.exists():
            verdicts = LocalDestination(Path(os.fsdecode(place.read_bytes())))
            for path in sorted(place.parent.glob("*.parquet")):
                verdicts.put(path, path.name)
            verdicts.sync()
            shutil.rmtree(place.parent)
        for path in sorted(staged.rglob("*.parquet")):
            self._destination.put(path, str(path.relative_to(staged)))
        self._destination.sync()
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
        """The last epoch in the store."""
        return self._store.committed()
