"""Receipts of retractions: what was removed, what was given out before, and what holds the text still.

A retraction ends the use of a document from then on. The receipt is for those who answer for it: it names every
sequence that holds a piece, which a trainer may have read, and every file of the output that has the text. Receipts
are kept in the folder of the state, one a line.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import click
import msgspec

from curatord.errors import StateError, UsageError
from daemon.commands.explain import Placement, find_placements, find_versions
from daemon.commands.read_state import Damage, opened_for_reading
from daemon.commands.screen import show
from state.common_facts import RETRACTED
from state.segments import Verdict
from state.store import STATE_FOLDER, Store

LOG = "receipts.jsonl"  # beside the state


class Emitted(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a document in a sequence that was given out."""

    generation: int
    seq_no: int
    position: int  # of its first token in the sequence
    tokens: int


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A row that was read under an id."""

    input: str
    position: int  # the row there
    bytes: int
    decision: str  # "accepted", or the stage and reason that rejected it
    taken_back: str  # why it counts no more
    emitted: tuple[Emitted, ...]


class RetractedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """An id, with all that was ever read under it; nothing, where it is withheld should an older version come."""

    id: str
    versions: tuple[Version, ...]
    held_out_in: tuple[str, ...]  # shards of held-out documents, which have its text still


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """One retraction."""

    number: int
    made_at: str  # ISO 8601, with the offset of the time zone
    documents: tuple[RetractedDocument, ...]
    sequences: dict[str, list[int]]  # by generation: those that hold a piece of any of them


def ids_in(path: Path) -> list[str]:
    """The ids in a file, one a line. Raises `UsageError` if it cannot be read or holds none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--from {path}: {error}; it is a text in UTF-8, with an id a line") from error
    found = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not found:
        raise UsageError(f"--from {path} holds no id: it is a text with an id a line")
    return found


def make_receipt(doc_ids: Sequence[str], output: Path, made_at: datetime) -> tuple[Receipt, Path]:
    """The receipt of a retraction that was committed, and the log that has it now. Raises `OSError`, `StateError`."""
    folder = output / STATE_FOLDER if (output / STATE_FOLDER).is_dir() else output
    log = folder / LOG
    with opened_for_reading(output) as store:
        documents = tuple(_retracted(store, doc_id, output) for doc_id in doc_ids)
    sequences: dict[str, set[int]] = {}
    for document in documents:
        for piece in (piece for version in document.versions for piece in version.emitted):
            sequences.setdefault(str(piece.generation), set()).add(piece.seq_no)
    receipt = Receipt(
        number=1 + len(read_receipts(log)),
        made_at=made_at.isoformat(timespec="seconds"),
        documents=documents,
        sequences={generation: sorted(numbers) for generation, numbers in sorted(sequences.items())},
    )
    with log.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a line that a kill cut short must not take this one along
                file.write(b"\n")
        file.write(msgspec.json.encode(receipt) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return receipt, log


def read_receipts(log: Path) -> list[Receipt]:
    """The log, oldest first. A line that a kill cut short is passed over."""
    try:
        lines = log.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=Receipt))
        except msgspec.DecodeError:
            continue
    return found


def _retracted(store: Store, doc_id: str, output: Path) -> RetractedDocument:
    damage = Damage()
    versions = [
        _version(store, verdict, find_placements(store, verdict.doc_no, damage))
        for verdict in find_versions(store, doc_id, damage)
    ]
    if damage.problems:
        raise StateError(f"the receipt would be incomplete, for the state is damaged: {damage.problems[0]}")
    return RetractedDocument(id=doc_id, versions=tuple(versions), held_out_in=tuple(_held_out(doc_id, output)))


def _version(store: Store, verdict: Verdict, placements: Sequence[Placement]) -> Version:
    return Version(
        input=verdict.input,
        position=verdict.position,
        bytes=verdict.num_bytes,
        decision=f"{verdict.stage} {verdict.reason}" if verdict.stage else "accepted",
        taken_back=RETRACTED.get(store, verdict.doc_no) or "",
        emitted=tuple(
            Emitted(generation=piece.generation, seq_no=piece.seq_no, position=piece.position, tokens=piece.length)
            for piece in placements
        ),
    )


def _held_out(doc_id: str, output: Path) -> Iterator[str]:
    """Shards of held-out documents on this machine that have the document."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for path in sorted((output / "holdout").glob("*.parquet")):
        if pc.any(pc.equal(pq.read_table(path, columns=["id"]).column("id"), doc_id)).as_py():
            yield f"holdout/{path.name}"


def tell_receipt(doc_ids: Sequence[str], output: Path, *, as_json: bool) -> None:
    """Make the receipt of a retraction that was committed, and print it."""
    receipt, log = make_receipt(doc_ids, output, datetime.now().astimezone())
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(receipt), indent=2).decode())
    else:
        show(*receipt_lines(receipt, log))


def receipt_lines(receipt: Receipt, log: Path) -> Iterator[str]:
    """The receipt for a person."""
    for document in receipt.documents:
        if not document.versions:
            yield f"{document.id}: never read. If an older version of it arrives later, it will be withheld."
            continue
        numbers = sorted({piece.seq_no for version in document.versions for piece in version.emitted})
        if numbers:
            listed = ", ".join(map(str, numbers))
            yield f"{document.id}: taken back, but it had been emitted already, in sequence(s) {listed}."
        else:
            yield f"{document.id}: taken back; none of it had been emitted."
        yield from (f"  its text is in {file} still" for file in document.held_out_in)
    if receipt.sequences:
        yield (
            "A run that stands behind one of these sequences has trained on it; one that stands before leaves it out "
            "with `stream.skip(first, end)`."
        )
    yield f"Receipt {receipt.number} is in {log}."
