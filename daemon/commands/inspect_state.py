"""`curatord inspect state`: look into the state without changing it, as far as damaged data can be read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

from curatord.errors import StateError
from daemon.app import families
from daemon.commands.read_state import Damage, buffered_documents, held_pieces, opened_for_reading, retracted_documents
from daemon.commands.screen import show
from state.common_facts import TICKED
from state.epoch import META
from state.ledger import LEDGER, OUTCOMES, Ledger
from state.segments import Segment, first_segment_after, read_segments, segment_at
from state.store import Store

MAX_PROBLEMS = 20


@dataclass(slots=True, kw_only=True)
class FamilyReport:
    """How many facts of a family could be read. One may hold many documents."""

    facts: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)  # why there may be more


@dataclass(frozen=True, slots=True, kw_only=True)
class StateReport:
    """A state, as its facts tell it."""

    epoch: int
    identity: dict[str, str]
    bytes_on_disk: int
    families: dict[str, FamilyReport]
    ledger: dict[str, Any]
    tokens_held: int
    student_version: int  # 0: none was trained yet
    clusters: int
    arms: int
    held: dict[str, int]  # place -> documents; one that was split counts in each place that has a piece of it
    retracted: dict[str, int]  # why -> documents
    problems: list[str]  # facts that are not as they should be


def inspect_state(output: Path, *, as_json: bool) -> int:
    """Print what the facts say, family by family; 65 if some cannot be read, else 0."""
    with opened_for_reading(output) as store:
        report = _state_report(store)
    if as_json:
        click.echo(json.dumps(asdict(report), indent=2))
    else:
        show(*_state_lines(report, output))
    is_damaged = report.problems or any(family.problems for family in report.families.values())
    return StateError.exit_code if is_damaged else 0


def _state_report(store: Store) -> StateReport:
    damage = Damage()
    meta = dict(damage.as_far_as_readable(store.items(META)))
    ledger = LEDGER.value.decode(meta[LEDGER.row(None)]) if LEDGER.row(None) in meta else Ledger()
    reports = {}
    for family in sorted({*families(), *store.families()}):
        seen = Damage()
        report = reports[family] = FamilyReport(problems=seen.problems)
        for key, value in seen.as_far_as_readable(store.items(family)):
            report.facts += 1
            report.bytes += len(key) + len(value)
    unreadable = Damage()  # what cannot be read is told of its family already
    retracted = retracted_documents(store, unreadable)
    report_of = StateReport(
        epoch=int(meta.get(b"epoch", 0)),
        identity=json.loads(meta.get(b"identity", b"{}")),
        bytes_on_disk=store.num_bytes(),
        families=reports,
        ledger={name: getattr(ledger, name) for name in ledger.__struct_fields__},
        tokens_held=ledger.tokens_accepted - ledger.tokens_emitted_first - ledger.tokens_rejected_later,
        student_version=int(meta.get(b"student", 0)),
        clusters=reports["clusters"].facts,
        arms=reports["bandit"].facts,
        held=_held(store, set(retracted), int(meta.get(TICKED.row(None), 0)), unreadable),
        retracted=dict(Counter(retracted.values())),
        problems=[],
    )
    try:
        ledger.check(report_of.tokens_held)
    except StateError as error:
        report_of.problems.append(str(error))
    return report_of


def _held(store: Store, retracted: set[int], from_ordinal: int, damage: Damage) -> dict[str, int]:
    """Documents that wait, by what they wait for."""
    waiting = 0
    for segment in damage.as_far_as_readable(_unticked(store, from_ordinal)):
        accepted_B = segment.having(lambda stage, reason: not stage)
        late_B = segment.column("ordinals", np.int64) >= from_ordinal
        waiting += len(set(segment.doc_nos()[accepted_B & late_B].tolist()) - retracted)
    places: dict[str, set[int]] = {}
    for piece in held_pieces(store, damage):
        places.setdefault(piece.place, set()).add(piece.doc_no)
    held = {"tick": waiting, "balance buffer": len(buffered_documents(store, damage))}
    held |= {place: len(documents) for place, documents in sorted(places.items())}
    return {place: count for place, count in held.items() if count}


def _unticked(store: Store, ticked: int) -> Iterator[Segment]:
    """The segments that may have documents of an ordinal that no tick has taken."""
    newest = segment_at(store, (1 << 63) - 1)
    if newest is not None:
        yield from read_segments(store, first_segment_after(store, ticked, newest.first + len(newest)))


def _state_lines(report: StateReport, output: Path) -> list[str]:
    """The report as text."""
    ledger = report.ledger
    lines = [f"State of {output}: epoch {report.epoch:,}, {report.bytes_on_disk:,} bytes on disk"]
    lines += ["", "Made with"] + [f"  {name:<32}{value}" for name, value in sorted(report.identity.items())]
    lines += ["", f"{'State':<16}{'entries':>12}{'bytes':>16}  what an entry is"]
    sentences = {name: family.sentence for name, family in families().items()}
    for name, family in report.families.items():
        lines.append(f"  {name:<14}{family.facts:>12,}{family.bytes:>16,}  {sentences.get(name, '')}".rstrip())
        lines += [f"    DAMAGED, read as far as possible: {problem}" for problem in family.problems]
    lines += ["", f"{'Ledger':<16}{'rows':>12}{'bytes':>16}"]
    lines.append(f"  {'read':<14}{ledger['rows_read']:>12,}{ledger['bytes_read']:>16,}")
    lines += [f"  {name:<14}{ledger['rows'][name]:>12,}{ledger['bytes'][name]:>16,}" for name in OUTCOMES]
    lines.append(
        f"  {ledger['tokens_accepted']:,} tokens accepted: {ledger['tokens_emitted_first']:,} emitted, "
        f"{ledger['tokens_rejected_later']:,} taken back, {report.tokens_held:,} held; "
        f"{ledger['sequences']:,} sequences"
    )
    lines += [f"  WRONG: {problem}" for problem in report.problems]
    lines.append("")
    for name, counts in (
        ("Dead letters", ledger["dead"]),
        ("Rejected", ledger["rejections"]),
        ("Rejected later", ledger["rejected_later"]),
        ("Retracted", report.retracted),
        ("Held, by place", report.held),
    ):
        listed = ", ".join(f"{reason} {count:,}" for reason, count in sorted(counts.items(), key=lambda c: -c[1]))
        lines.append(f"{name:<16}{listed or 'none'}")
    lines.append(
        f"{'Student':<16}"
        + (f"version {report.student_version} of the table that embeds documents" if report.student_version else "none")
    )
    lines.append(f"{'Clusters':<16}{report.clusters:,} topics that documents are assigned to")
    arms = f"{report.arms:,} clusters that the bandit has learned of" if report.arms else "off, or nothing was learned"
    lines.append(f"{'Bandit':<16}{arms}")
    return lines
