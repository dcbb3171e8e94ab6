"""`curatord inspect dropped`: every reason for which documents were dropped, with its count and some examples."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from curation.quality.rules import explain_reason
from daemon.commands.read_state import opened_for_reading
from daemon.commands.screen import show
from daemon.stages.examples import read_examples
from state.ledger import read_ledger
from state.outcomes import split_key
from state.segments import find_document
from state.store import Store

MAX_SHOWN = 160  # characters of a text


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedExample:
    """One document that was dropped."""

    doc_id: str
    value: float | None
    threshold: float | None
    match_id: str  # "" without
    text: str  # its beginning


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedReason:
    """One reason."""

    stage: str
    reason: str
    explanation: str
    documents: int
    share: float  # of all rows that were read
    examples: tuple[DroppedExample, ...]


def inspect_dropped(output: Path, *, as_json: bool) -> int:
    """Print them, those that dropped most first. The exit code."""
    with opened_for_reading(output) as store:
        reasons = dropped(store)
    if as_json:
        click.echo(json.dumps([asdict(reason) for reason in reasons], indent=2))
        return 0
    if not reasons:
        show("Nothing was dropped. What could not be read: curatord dead-letters list")
    for reason in reasons:
        counted = f"{reason.documents:,} documents, {reason.share:.2%} of the rows"
        show(f"{reason.stage} {reason.reason}: {counted} ({reason.explanation})")
        for example in reason.examples:
            show(f"  {_shown(example.doc_id)}{_measured(example)}", f"    {_shown(example.text)}")
    return 0


def dropped(store: Store) -> list[DroppedReason]:
    """Every stage and reason of the ledger, those that dropped most first."""
    ledger = read_ledger(store)
    examples = read_examples(store)
    found = []
    for key, count in sorted(ledger.rejections.items(), key=lambda entry: (-entry[1], entry[0])):
        stage, reason = split_key(key)
        shown = []
        for example in examples.get((stage, reason), []):
            match = find_document(store, example.match) if example.match >= 0 else None
            shown.append(
                DroppedExample(
                    doc_id=example.doc_id,
                    value=example.value if math.isfinite(example.value) else None,
                    threshold=example.threshold if math.isfinite(example.threshold) else None,
                    match_id=match.doc_id if match is not None else "",
                    text=example.text,
                )
            )
        found.append(
            DroppedReason(
                stage=stage,
                reason=reason,
                explanation=explain_reason(reason),
                documents=count,
                share=count / max(1, ledger.rows_read),
                examples=tuple(shown),
            )
        )
    return found


def _measured(example: DroppedExample) -> str:
    parts = []
    if example.value is not None:
        against = "" if example.threshold is None else f" against {example.threshold:.4g}"
        parts.append(f"{example.value:.4g}{against}")
    if example.match_id:
        parts.append(f"like {_shown(example.match_id)}")
    return f" ({', '.join(parts)})" if parts else ""


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_SHOWN else line[: MAX_SHOWN - 1] + "…"
