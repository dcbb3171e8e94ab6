"""What a run did, on one screen, and the manifest that readers of the output look at."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from curatord import __version__
from daemon.pipeline import Pipeline
from state.ledger import Ledger
from state.store import STATE_FOLDER, Store
from state.verdicts import find_document, read_segments, verdict_of

NUM_EXAMPLES = 5
NUM_CLUSTERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class NearDuplicate:
    """One document that was dropped, and the one it resembles."""

    doc_id: str
    match_id: str
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterLine:
    """One cluster."""

    cluster: int
    documents: int
    central_doc_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Totals over the life of the state, and the speed of this run."""

    rows_this_run: int
    seconds: float
    warm_up_seconds: float  # of them, with the teacher and the student's training
    unchanged_inputs: int
    ledger: dict[str, Any]
    near_duplicates: tuple[NearDuplicate, ...]
    clusters: tuple[ClusterLine, ...]
    num_clusters: int
    documents_held: int
    tokens_held: int
    context_length: int
    rows: int
    rows_flushed: int
    padding: float  # share of the tokens of rows that closed by themselves
    padding_flushed: float  # share of the tokens of rows that were closed by a flush
    documents_cut: int
    documents_split: int
    documents_per_sequence: float
    coherence: float

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def summary(store: Store, pipeline: Pipeline, *, before: int, seconds: float, unchanged: int) -> Summary:
    """Read it off the stages and the store."""
    stages = pipeline.stages
    stats = stages.packer.stats
    length = stages.config.packing.context_length
    ledger = stages.ledger
    return Summary(
        rows_this_run=ledger.rows_read - before,
        seconds=seconds,
        warm_up_seconds=stages.phases.seconds.get("warm_up", 0.0),
        unchanged_inputs=unchanged,
        ledger={name: getattr(ledger, name) for name in Ledger.__struct_fields__},
        near_duplicates=near_duplicate_examples(store),
        clusters=largest_clusters(store, pipeline),
        num_clusters=len(stages.clusters),
        documents_held=len(stages.held),
        tokens_held=stages.held.unemitted_tokens(),
        context_length=length,
        rows=stats.rows,
        rows_flushed=stats.rows_flushed,
        padding=stats.padding_tokens / max(1, (stats.rows - stats.rows_flushed) * length),
        padding_flushed=stats.padding_tokens_flushed / max(1, stats.rows_flushed * length),
        documents_cut=stats.documents_cut,
        documents_split=stats.documents_split,
        documents_per_sequence=stats.pieces_per_row,
        coherence=stats.coherence,
    )


def near_duplicate_examples(store: Store) -> tuple[NearDuplicate, ...]:
    """Some that are not nearly equal: the ones worth looking at."""
    found: list[tuple[float, str, int]] = []
    for segment in read_segments(store):
        for row in np.flatnonzero(segment.having(lambda stage, reason: stage == "near_dedup")).tolist():
            verdict = verdict_of(segment, row)
            found.append((verdict.value, verdict.doc_id, verdict.match))
        found = sorted(found)[: 4 * NUM_EXAMPLES]
    # Spread over the similarities that are at hand, the least similar first.
    chosen = found[:: max(1, len(found) // NUM_EXAMPLES)][:NUM_EXAMPLES]
    matches = [find_document(store, match) for _, _, match in chosen]
    return tuple(
        NearDuplicate(doc_id=doc_id, match_id=match.doc_id if match else "?", similarity=similarity)
        for (similarity, doc_id, _), match in zip(chosen, matches, strict=True)
    )


def largest_clusters(store: Store, pipeline: Pipeline) -> tuple[ClusterLine, ...]:
    """The clusters with most documents, each with the document nearest to its centre."""
    lines = []
    for cluster in pipeline.stages.clusters.largest(NUM_CLUSTERS):
        central = find_document(store, cluster.central_doc_no)
        lines.append(
            ClusterLine(
                cluster=cluster.cluster, documents=cluster.documents, central_doc_id=central.doc_id if central else "?"
            )
        )
    return tuple(lines)


def write_manifest(output: Path, pipeline: Pipeline) -> None:
    """What a reader of the shards needs to know, replaced atomically."""
    stages = pipeline.stages
    tokenizer, packing = stages.tokenizer, stages.config.packing
    manifest = {
        "curatord": __version__,
        "tokenizer": tokenizer.name,
        "tokenizer_digest": f"{tokenizer.digest:016x}",
        "vocabulary_size": tokenizer.vocabulary_size,
        "bos_id": tokenizer.bos_id,
        "eos_id": tokenizer.eos_id,
        "lossless": tokenizer.lossless,
        "context_length": packing.context_length,
        "generation": stages.packer.generation,
        "batch_quantum": packing.batch_quantum,
        "sequences": stages.ledger.sequences,
        "tokens": stages.ledger.tokens_emitted_first + stages.ledger.tokens_emitted_again,
    }
    path = output / STATE_FOLDER / "manifest.json"
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def print_summary(result: Summary, output: Path) -> None:
    """One screen, as wide as the terminal; ids are shortened, commands never are."""
    console = Console(highlight=False, soft_wrap=False)
    ledger = result.ledger
    console.print()
    console.print(_documents_table(ledger))
    _print_rules(console, ledger["would_drop"])
    _print_examples(console, result)
    console.print(_facts_table(result))
    example = result.near_duplicates[0].doc_id if result.near_duplicates else "DOC_ID"
    commands = (
        (f"curatord explain '{example}' -o {output}", "the way of one document"),
        (f"curatord inspect output -o {output}", "check every sequence"),
        (f"datasets.load_dataset('parquet', data_dir='{output}')", "train on it"),
    )
    console.print("\n[bold]What to try next[/]")
    for command, what in commands:
        console.print(f"  {command}   [dim]# {what}[/]", soft_wrap=True, markup=True)


def _print_rules(console: Console, would_drop: dict[str, int]) -> None:
    """The rules that most documents fail."""
    worst = [(rule, count) for rule, count in sorted(would_drop.items(), key=lambda item: -item[1]) if count][:6]
    if worst:
        listed = ", ".join(f"{rule} {count:,}" for rule, count in worst)
        console.print("\n[bold]Quality rules[/] and how many documents each fails; by default they only observe")
        console.print(f"  {listed}")


def _print_examples(console: Console, result: Summary) -> None:
    """Near-duplicates and clusters, a line each."""
    if result.near_duplicates:
        console.print("\n[bold]Near-duplicates[/], the least similar first: dropped, and what it is like")
        width = max(20, (console.width - 12) // 2)
        for example in result.near_duplicates:
            dropped, kept = _end(example.doc_id, width), _end(example.match_id, width)
            console.print(f"  {example.similarity:.2f}  {dropped:<{width}}  {kept}", markup=False, soft_wrap=True)
    if result.clusters:
        console.print(f"\n[bold]Clusters[/], the largest of {result.num_clusters}: documents, and the most central one")
        for line in result.clusters:
            central = _end(line.central_doc_id, console.width - 12)
            console.print(f"  {line.documents:>7,}  {central}", markup=False, soft_wrap=True)


def _facts_table(result: Summary) -> Table:
    """Sequences, what is held, and time."""
    ledger = result.ledger
    emitted = ledger["tokens_emitted_first"] + ledger["tokens_emitted_again"]
    working = result.seconds - result.warm_up_seconds
    rate = result.rows_this_run / working if working > 0 else 0
    warm_up = f" after {result.warm_up_seconds:.1f} s of warming up" if result.warm_up_seconds else ""
    table = _grid(("left", False), ("left", False))
    table.add_row("")
    table.add_row(
        "[bold]Sequences[/]", f"{ledger['sequences']:,} of {result.context_length:,} tokens; {emitted:,} tokens"
    )
    table.add_row(
        "[bold]Padding[/]",
        f"{result.padding:.3%}; {result.padding_flushed:.2%} of the rows that were closed at the end",
    )
    table.add_row(
        "[bold]Documents[/]",
        f"{result.documents_cut} cut; {result.documents_split:,} longer than a sequence; "
        f"{result.documents_per_sequence:.1f} a sequence, coherence {result.coherence:.2f}",
    )
    if result.documents_held:
        held = f"{result.documents_held:,} documents, {result.tokens_held:,} tokens, for rows that are not complete"
        table.add_row("[bold]Held[/]", held)
    if result.unchanged_inputs:
        table.add_row("[bold]Inputs[/]", f"{result.unchanged_inputs:,} did not change since they were read")
    table.add_row("[bold]Time[/]", f"{result.rows_this_run:,} rows in {working:.1f} s, {rate:,.0f} a second{warm_up}")
    return table


def _grid(*columns: tuple[Literal["left", "right"], bool]) -> Table:
    """Columns of (justification, whether long values are cut), without lines."""
    table = Table.grid(padding=(0, 2))
    for justify, is_cut in columns:
        table.add_column(justify=justify, no_wrap=is_cut, overflow="ellipsis" if is_cut else "fold")
    return table


def _documents_table(ledger: dict[str, Any]) -> Table:
    """What became of the rows, stage by stage."""
    table = _grid(("left", False), ("right", False), ("right", False), ("left", True))
    table.add_row("", "[bold]rows[/]", "[bold]share[/]")
    total = max(1, ledger["rows_read"])

    def add(name: str, count: int, why: str = "") -> None:
        table.add_row(name, f"{count:,}", f"{count / total:.1%}", why)

    add("read", ledger["rows_read"], f"{ledger['bytes_read'] / 1e6:,.1f} MB")
    if ledger["rows"]["dead"]:
        add("unreadable", ledger["rows"]["dead"], _listed(ledger["dead"]))
    if ledger["rows"]["redelivered"]:
        add("seen before", ledger["rows"]["redelivered"], "same id, same text")
    if ledger["rows"]["retraction"]:
        add("retractions", ledger["rows"]["retraction"])
    by_stage: dict[str, dict[str, int]] = {}
    for key, count in ledger["rejections"].items():
        stage, reason = key.split(" ", 1)
        by_stage.setdefault(stage, {})[reason] = count
    for stage, reasons in by_stage.items():
        add(stage.replace("_", " "), sum(reasons.values()), _listed(reasons))
    add("accepted", ledger["rows"]["accepted"], f"{ledger['tokens_accepted']:,} tokens")
    if ledger["rejected_later"]:
        add("taken back", sum(ledger["rejected_later"].values()), _listed(ledger["rejected_later"]))
    return table


def _listed(counts: dict[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {count:,}" for name, count in ordered[:5])


def _end(text: str, width: int) -> str:
    """At most `width` characters; the end of an id says more than its beginning."""
    return text if len(text) <= width else "…" + text[1 - width :]
