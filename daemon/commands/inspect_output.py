"""`curatord inspect output`: check every shard of an output folder, as far as damaged ones can be read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

from curatord.errors import StreamError, UsageError
from curatord.folder import SHARD_NAME
from curatord.output_folder import OutputFolder, open_folder
from curatord.sequence import HEAD_PRESENT, TAIL_PRESENT
from daemon.commands.screen import show

MAX_PROBLEMS = 20


@dataclass(slots=True)
class OutputReport:
    """Content of the shards of a folder, and all faults in them."""

    shards: int = 0
    sequences: int = 0
    tokens: int = 0
    padding: int = 0  # tokens that the rows fall short of the context length
    documents: int = 0  # distinct ids
    segments: int = 0
    split_documents: int = 0  # ids that have a segment without head or tail
    num_problems: int = 0
    problems: list[str] = field(default_factory=list)  # the first of them

    def complain(self, problem: str) -> None:
        """Count a problem; keep the first ones."""
        self.num_problems += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)


def inspect_output(output: str, *, as_json: bool) -> int:
    """Check every shard of a folder or of a URL; 0 if nothing is wrong.

    Raises `UsageError` if there are none, `StoreUnavailable`.
    """
    report = check_output(output)
    if as_json:
        click.echo(json.dumps(asdict(report), indent=2))
    else:
        show(
            f"{report.shards:,} shards, {report.sequences:,} sequences, {report.tokens:,} tokens, "
            f"{report.padding:,} tokens of padding, {report.documents:,} documents in {report.segments:,} segments, "
            f"{report.split_documents:,} of them longer than a sequence"
        )
        for problem in report.problems:
            show(f"  {problem}")
        show(f"{report.num_problems} problems" if report.num_problems else "Nothing is wrong.")
    return 1 if report.num_problems else 0


def check_output(output: str | os.PathLike[str]) -> OutputReport:
    """Read all shards in order."""
    report = OutputReport()
    try:
        folder = open_folder(os.fspath(output))
    except StreamError as error:
        raise UsageError(f"there are no sequences in {output}: {error}") from error
    with closing(folder):
        names = sorted(folder.shards())
        if not names:
            raise UsageError(f"there are no sequences in {output}: no file is called train-*.parquet")
        _check_shards(folder, names, report)
    return report


def _check_shards(folder: OutputFolder, names: list[str], report: OutputReport) -> None:
    # An archive begins with the oldest sequence that its topic had.
    begins: dict[str, int] = json.loads(folder.manifest() or b"{}").get("begins", {})
    expected = {int(generation): first for generation, first in begins.items()}  # -> next seq_no
    covered: dict[str, int] = {}  # document -> tokens of its pieces so far
    for place, name in enumerate(names):
        path = folder.path(name, names[place + 1 :])
        if SHARD_NAME.fullmatch(path.name) is None:
            report.complain(f"{path.name}: no shard of curatord; `load_dataset` reads it with the others: move it away")
            continue
        report.shards += 1
        for generation, length, row in _rows(path, report):
            report.sequences += 1
            seq_no = row["seq_no"]
            if seq_no != expected.get(generation, 0):
                report.complain(f"{path.name}: sequence {seq_no} where {expected.get(generation, 0)} was due")
            expected[generation] = seq_no + 1
            _check_row(path, length, row, covered, report)
    report.documents = len(covered)


def _rows(path: Path, report: OutputReport) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Rows of a shard, as far as it can be read: (generation, context length, columns)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            metadata = file.schema_arrow.metadata or {}
            generation = int(metadata.get(b"curatord.generation", b"0"))
            length = int(metadata.get(b"curatord.context_length", b"0"))
            for group in range(file.num_row_groups):
                for row in file.read_row_group(group).to_pylist():
                    yield generation, length, row
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        report.complain(f"{path.name}: cannot be read further: {error}")


def _check_row(path: Path, length: int, row: dict[str, Any], covered: dict[str, int], report: OutputReport) -> None:
    where = f"{path.name}, sequence {row['seq_no']}"
    num_tokens = len(row["input_ids"])
    report.tokens += num_tokens
    report.padding += length - num_tokens
    report.segments += len(row["seq_lengths"])
    if sum(row["seq_lengths"]) != num_tokens:
        report.complain(f"{where}: segments of {sum(row['seq_lengths'])} tokens in a row of {num_tokens}")
    if num_tokens > length:
        report.complain(f"{where}: {num_tokens} tokens, more than the context length {length}")
    columns = (row["doc_ids"], row["seq_lengths"], row["segment_offsets"], row["segment_flags"])
    for doc_id, size, offset, flags in zip(*columns, strict=True):
        whole = flags & HEAD_PRESENT and flags & TAIL_PRESENT
        if not whole:
            report.split_documents += doc_id not in covered
            if flags & TAIL_PRESENT and offset + size <= length:
                report.complain(f"{where}: {doc_id} was cut although its {offset + size} tokens fit")
        if bool(flags & HEAD_PRESENT) != (offset == 0):
            report.complain(f"{where}: {doc_id} starts at token {offset}, but its flags say otherwise")
        covered[doc_id] = covered.get(doc_id, 0) + size
