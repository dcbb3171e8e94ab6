"""`curatord prepare`: files in, prepared rows out, by any number of processes on any number of machines."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

from consumers.broker import PreparedRow, RawDocument, row_bytes
from consumers.files.inputs import InputFile, expand
from consumers.files.prepared_folder import Entry, PartWriter, claimed, is_prepared, parts_of, register
from consumers.files.readers import read_rows
from consumers.formats.prepared import schema_of
from curatord.errors import UsageError
from daemon.commands.curate_progress import LINE_INTERVAL_S
from daemon.commands.screen import INTERRUPTED, show
from daemon.config import Config, load_config
from daemon.prepared.columns import stretches
from daemon.prepared.pool import Pool
from daemon.prepared.preparer import Preparer, open_preparer
from daemon.signals import StopRequest
from ops.open_files import raise_open_files

BATCH_ROWS = 256
BATCH_BYTES = 8 << 20
PART_ROWS = 1 << 16


def prepare_files(arguments: Sequence[str], output: Path, config_path: Path | None) -> int:
    """Prepare all inputs that no other process is at; the exit code."""
    raise_open_files()
    config = load_config(config_path)
    prepared = [argument for argument in arguments if is_prepared(Path(argument))]
    if prepared:
        raise UsageError(f"{prepared[0]} holds prepared rows: give it to `curatord curate`")
    left_out: list[str] = []
    files = expand(arguments, exclude=output, left_out=left_out)
    preparer = open_preparer(config)
    processes = config.daemon.processes or len(os.sched_getaffinity(0))
    entries = register(output, files, preparer.identity)
    with StopRequest().installed() as stop, closing(Pool(config, processes, preparer.identity)) as pool:
        work = _Work(config, output, preparer, pool, stop)
        elsewhere = [file.uri for entry, file in zip(entries, files, strict=True) if not work.prepare(entry, file)]
    if stop.requested:
        show(
            f"Stopped. {work.num_rows:,} rows are prepared in {output}. To go on, run the same command again:",
            f"  {' '.join(['curatord', *sys.argv[1:]])}",
            err=True,
        )
        return INTERRUPTED
    done = len(files) - len(elsewhere)
    show(f"{work.num_rows:,} rows of {done} inputs were prepared into {output}, {work.num_done} of them before.")
    if elsewhere:
        show(f"{len(elsewhere)} inputs are being prepared by other processes, first {elsewhere[0]}.")
    if left_out:
        show(
            f"Warning: {len(left_out)} of the files found could not be opened, and the rest was prepared without, "
            f"first {left_out[0]}. Repair or remove it, and run this again",
            err=True,
        )
    show(f"Next: curatord curate {output} -o OUTPUT")
    return 0


class _Work:
    """One process's share of a folder."""

    def __init__(self, config: Config, output: Path, preparer: Preparer, pool: Pool, stop: StopRequest) -> None:
        self._config, self._output = config, output
        self._preparer, self._pool, self._stop = preparer, pool, stop
        self.num_rows = self.num_done = 0
        self._began = self._told = time.monotonic()

    def prepare(self, entry: Entry, file: InputFile) -> bool:
        """An input to its end, or to where a stop was asked for; False if another process is at it."""
        if self._stop.requested:
            return True
        with claimed(self._output, entry) as is_ours:
            if not is_ours:
                return False
            parts = parts_of(self._output, entry)
            if parts and parts[-1].is_last:
                self.num_done += 1
                return True
            start = parts[-1].next if parts else 0
            part = self._part(entry, start)
            for rows in self._prepared(_chunks(file, start, self._config)):
                for stretch in stretches(rows):
                    part.write(self._batch(stretch), rows[-1].position + 1)
                self._tell(len(rows), entry)
                if part.num_rows < PART_ROWS and not self._stop.requested:
                    continue
                part.finish(is_last=False)
                if self._stop.requested:
                    return True
                part = self._part(entry, part.next)
            part.finish(is_last=True)
        return True

    def _part(self, entry: Entry, first: int) -> PartWriter:
        return PartWriter(self._output, entry.number, first, schema_of(self._preparer.identity))

    def _prepared(self, chunks: Iterator[list[RawDocument]]) -> Iterator[list[RawDocument]]:
        """In their order, with enough on their way for every process."""
        waiting: deque[Future[list[RawDocument]]] = deque()
        for rows in chunks:
            waiting.append(self._pool.prepare(rows))
            if len(waiting) > 2 * self._pool.processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _batch(self, stretch: Sequence[RawDocument]) -> object:
        """The batch of a process; rows that none could prepare are prepared here, where their error is raised."""
        first = stretch[0].value
        if isinstance(first, PreparedRow):
            return first.batch.slice(first.row, len(stretch))
        return self._preparer.prepare(stretch)

    def _tell(self, num_rows: int, entry: Entry) -> None:
        self.num_rows += num_rows
        now = time.monotonic()
        if now - self._told >= LINE_INTERVAL_S:
            self._told = now
            rate = self.num_rows / (now - self._began)
            show(f"Preparing {entry.uri}: {self.num_rows:,} rows in all, {rate:,.0f} a second", err=True)


def _chunks(file: InputFile, start: int, config: Config) -> Iterator[list[RawDocument]]:
    """Rows of a file that become a batch each."""
    rows: list[RawDocument] = []
    num_bytes = 0
    for block in read_rows(file, start, config.input):
        for row in block:
            rows.append(RawDocument(file.uri, row.position, row.value, row.original))
            num_bytes += row_bytes(rows[-1])
            if len(rows) == BATCH_ROWS or num_bytes >= BATCH_BYTES:
                yield rows
                rows, num_bytes = [], 0
    if rows:
        yield rows
