"""`curatord inspect`: look into state and output without changing them, as far as damaged data can be read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

from curatord.errors import StateError, UsageError
from curatord.sequence import HEAD_PRESENT, TAIL_PRESENT
from state.epoch import FAMILIES
from state.ledger import OUTCOMES, decode_ledger
from state.store import Store, state_folder

MAX_PROBLEMS = 20


def inspect_state(output: Path, *, as_json: bool) -> None:
    """Print what the facts say, family by family; a family that cannot be read says why."""
    store = Store(state_folder(output), read_only=True)
    try:
        report = _state_report(store)
    finally:
        store.close()
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return
    click.echo(f"State of {output}: epoch {report['epoch']}, {report['bytes_on_disk']:,} bytes on disk")
    for name, value in sorted(report["identity"].items()):
        click.echo(f"  {name:<32} {value}")
    click.echo("Families (facts, bytes):")
    for family, (count, num_bytes, problem) in report["families"].items():
        click.echo(f"  {family:<14} {count:>10,} {num_bytes:>14,}" + (f"  DAMAGED: {problem}" if problem else ""))
    ledger = report["ledger"]
    click.echo(f"Ledger: {ledger['rows_read']:,} rows read")
    for outcome in OUTCOMES:
        click.echo(f"  {outcome:<14} {ledger['rows'][outcome]:>10,} rows {ledger['bytes'][outcome]:>14,} bytes")
    held = ledger["tokens_accepted"] - ledger["tokens_emitted_first"] - ledger["tokens_rejected_later"]
    click.echo(
        f"  {ledger['tokens_accepted']:,} tokens accepted, {ledger['tokens_emitted_first']:,} emitted, "
        f"{ledger['tokens_rejected_later']:,} taken back, {held:,} held; {ledger['sequences']:,} sequences"
    )


def _state_report(store: Store) -> dict[str, Any]:
    committed = store.committed()
    ledger = decode_ledger(store.get("meta", b"ledger"))
    families = {}
    for family in FAMILIES:
        count = num_bytes = 0
        problem = ""
        try:
            for key, value in store.items(family):
                count += 1
                num_bytes += len(key) + len(value)
        except StateError as error:  # the rest is still worth reading
            problem = str(error)
        families[family] = (count, num_bytes, problem)
    return {
        "epoch": committed.epoch if committed else 0,
        "identity": json.loads(committed.identity) if committed else {},
        "bytes_on_disk": store.num_bytes(),
        "families": families,
        "ledger": {name: getattr(ledger, name) for name in ledger.__struct_fields__},
    }


@dataclass(slots=True)
class OutputReport:
    """What the shards of a folder hold, and everything that is wrong with them."""

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


def inspect_output(output: Path, *, as_json: bool) -> int:
    """Check every shard of a folder; 0 if nothing is wrong. Raises `UsageError` if there are none."""
    report = check_output(output)
    if as_json:
        click.echo(json.dumps(asdict(report), indent=2))
    else:
        click.echo(
            f"{report.shards:,} shards, {report.sequences:,} sequences, {report.tokens:,} tokens, "
            f"{report.padding:,} tokens of padding, {report.documents:,} documents in {report.segments:,} segments, "
            f"{report.split_documents:,} of them longer than a sequence"
        )
        for problem in report.problems:
            click.echo(f"  {problem}")
        click.echo(f"{report.num_problems} problems" if report.num_problems else "Nothing is wrong.")
    return 1 if report.num_problems else 0


def check_output(output: Path) -> OutputReport:
    """Read all shards in order."""
    report = OutputReport()
    paths = sorted(output.glob("train-*.parquet"))
    if not paths:
        raise UsageError(f"there are no sequences in {output}: no file is called train-*.parquet")
    expected: dict[int, int] = {}  # generation -> next seq_no
    covered: dict[str, int] = {}  # document -> tokens of its pieces so far
    for path in paths:
        report.shards += 1
        for generation, length, row in _rows(path, report):
            report.sequences += 1
            seq_no = row["seq_no"]
            if seq_no != expected.get(generation, 0):
                report.complain(f"{path.name}: sequence {seq_no} where {expected.get(generation, 0)} was due")
            expected[generation] = seq_no + 1
            _check_row(path, length, row, covered, report)
    report.documents = len(covered)
    return report


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
    except (pa.ArrowException, OSError, ValueError) as error:
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
