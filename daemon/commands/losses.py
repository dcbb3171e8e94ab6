"""Losses of a run without an error: rows that died, ids that replaced each other, sources that one stage emptied.

Each is a warning with a count, an example, the likely cause and what to set. None of it stops a run; `--strict` makes
its exit code 1.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from consumers.formats.undecodable import REASONS
from curatord.printable import printable
from state.ledger import OTHER_SOURCES
from state.outcomes import Stage
from state.tally import Tally

MAX_DEAD_SHARE = 0.1  # of a file's rows, before there is a warning
MAX_STAGE_SHARE = 0.5  # of a source's documents, that one stage may reject
MIN_SOURCE_DOCUMENTS = 10
MAX_EXAMPLES = 3
REST_IS_LOST = ("damaged_file", "window_too_large")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLoss:
    """One warning."""

    kind: str
    what: str  # with the count
    example: str
    remedy: str  # the likely cause, and what to set


def losses(
    tallies: Mapping[str, Tally], sources: Mapping[str, Mapping[str, int]], left_out: Sequence[str], output: Path
) -> tuple[RunLoss, ...]:
    """All that a run has to warn of: `tallies` by input, documents by source and stage, inputs that were left out."""
    found = [*_dead(tallies, output), *_empty(tallies), *_lost_ids(tallies), *_replaced(tallies), *_sources(sources)]
    if left_out:
        found.append(
            RunLoss(
                kind="left_out",
                what=f"{_counted(len(left_out), 'input')} could not be opened, and the rest was read without",
                example=left_out[0],
                remedy="repair or remove it, then run again; --strict ends before anything is read",
            )
        )
    return tuple(found)


def _dead(tallies: Mapping[str, Tally], output: Path) -> Iterable[RunLoss]:
    """Files of which more than a tenth of the rows could not be read, one warning a reason."""
    by_reason: dict[str, dict[str, Tally]] = {}
    for uri, tally in tallies.items():
        if tally.dead > MAX_DEAD_SHARE * tally.rows or (tally.dead and tally.reason in REST_IS_LOST):
            by_reason.setdefault(tally.reason, {})[uri] = tally
    for reason, files in by_reason.items():
        worst = sorted(files.items(), key=lambda item: -item[1].dead)
        rows, dead = (sum(getattr(tally, name) for tally in files.values()) for name in ("rows", "dead"))
        share = f"all {rows:,} rows" if dead == rows else f"{dead:,} of {rows:,} rows"
        rest = ", and what follows the last one is lost" if reason in REST_IS_LOST else ""
        uri, tally = worst[0]
        yield RunLoss(
            kind="unreadable",
            what=f"{_files([uri for uri, _ in worst])}: {share} could not be read{rest} ({reason})",
            example=f"{os.path.basename(uri) or uri}, {tally.letter}",
            remedy=f"{REASONS.get(reason, '')} All of them: curatord dead-letters list -o {shlex.quote(str(output))}",
        )


def _empty(tallies: Mapping[str, Tally]) -> Iterable[RunLoss]:
    empty = [uri for uri, tally in tallies.items() if not tally.rows]
    if empty:
        yield RunLoss(
            kind="empty",
            what=f"{_files(empty)}: no row in {'it' if len(empty) == 1 else 'them'} at all",
            example=empty[0],
            remedy="an empty file, or one that was not yet written when it was read",
        )


def _lost_ids(tallies: Mapping[str, Tally]) -> Iterable[RunLoss]:
    files = {uri: tally for uri, tally in tallies.items() if tally.lost_ids > MAX_DEAD_SHARE * tally.rows}
    if files:
        count = sum(tally.lost_ids for tally in files.values())
        uri, tally = max(files.items(), key=lambda item: item[1].lost_ids)
        yield RunLoss(
            kind="lost_ids",
            what=f"{_files(list(files))}: {_counted(count, 'id')} cannot be used; places name these documents",
            example=f"{os.path.basename(uri) or uri}, {tally.lost_id}",
            remedy='name another field: [input.fields] id = "NAME"; id = "" names all by their place',
        )


def _replaced(tallies: Mapping[str, Tally]) -> Iterable[RunLoss]:
    """Inputs that replaced documents of other inputs: of the same run any, of earlier ones more than a tenth."""
    files = {
        uri: tally
        for uri, tally in tallies.items()
        if tally.replaced and (tally.replaced_input in tallies or tally.replaced > MAX_DEAD_SHARE * tally.rows)
    }
    if files:
        count = sum(tally.replaced for tally in files.values())
        uri, tally = max(files.items(), key=lambda item: item[1].replaced)
        yield RunLoss(
            kind="replaced",
            what=f"{_counted(count, 'document')} of one input replaced those of another, for they have the same ids",
            example=f"{tally.replaced_id!a} of {uri} replaced that of {tally.replaced_input}",
            remedy=(
                "new versions of documents do that, and so do ids that begin anew in every file: then curate into "
                'a new folder with [input] id_scope = "input" (or "source")'
            ),
        )


def _sources(sources: Mapping[str, Mapping[str, int]]) -> Iterable[RunLoss]:
    """Sources that lost most of their documents to one stage."""
    for source, counts in sorted(sources.items()):
        total = counts.get("", 0)
        stage, rejected = max(
            ((stage, counts.get(stage, 0)) for stage in Stage if stage.remedy), key=lambda item: item[1]
        )
        if total >= MIN_SOURCE_DOCUMENTS and rejected > MAX_STAGE_SHARE * total:
            name = (
                source if source == OTHER_SOURCES else f"source {source!a}" if source else "documents without a source"
            )
            yield RunLoss(
                kind="source",
                what=f"{name}: {rejected:,} of {total:,} documents were rejected by {stage}",
                example="",
                remedy=stage.remedy,
            )


def loss_lines(found: Sequence[RunLoss]) -> list[str]:
    """The warnings as text."""
    lines = []
    for loss in found:
        lines.append(f"WARNING  {loss.what}")
        if loss.example:
            lines.append(f"  for example  {loss.example}")
        lines.append(f"  what to do   {loss.remedy}")
    return [printable(line) for line in lines]


def passed_over_line(passed_over: Counter[str]) -> str:
    """Files of folders that are of no kind that is read, by ending."""
    listed = ", ".join(f"{count:,} {suffix}" for suffix, count in passed_over.most_common(8))
    rest = len(passed_over) - 8
    return f"{sum(passed_over.values()):,} files are of no kind that is read: {listed}" + (
        f" and {rest} more endings" if rest > 0 else ""
    )


def _files(uris: Sequence[str]) -> str:
    """Some of them by name, and how many more."""
    rest = len(uris) - MAX_EXAMPLES
    named = ", ".join(uris[:MAX_EXAMPLES])
    return named + (f" and {rest:,} more" if rest > 0 else "")


def _counted(count: int, name: str) -> str:
    return f"{count:,} {name}" + ("" if count == 1 else "s")
