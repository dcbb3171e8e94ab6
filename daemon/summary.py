"""What a run did, on one screen, and the manifest that readers of the output look at."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
PASSED = "pass"


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
    """One screen."""
    console = Console(highlight=False)
    ledger = result.ledger
    console.print()
    console.print(_documents_table(ledger))
    if any(ledger["would_drop"].values()):
        worst = sorted(ledger["would_drop"].items(), key=lambda item: -item[1])[:6]
        listed = ", ".join(f"{rule} {count:,}" for rule, count in worst if count)
        console.print(f"[bold]Quality rules[/] would have dropped (they only observe by default): {listed}")
    if result.near_duplicates:
        console.print("[bold]Near-duplicates[/], the least similar first:")
        for example in result.near_duplicates:
            console.print(f"  {example.similarity:.2f}  {_cut(example.doc_id)}  is like  {_cut(example.match_id)}")
    if result.clusters:
        console.print(f"[bold]Clusters[/] {result.num_clusters}; the largest, each with its most central document:")
        for line in result.clusters:
            console.print(f"  {line.documents:>7,}  {_cut(line.central_doc_id, 90)}")
    emitted = ledger["tokens_emitted_first"] + ledger["tokens_emitted_again"]
    console.print(
        f"[bold]Sequences[/] {ledger['sequences']:,} of {result.context_length:,} tokens, {emitted:,} tokens in all; "
        f"padding {result.padding:.3%} (rows closed at the end {result.padding_flushed:.1%}); "
        f"documents cut {result.documents_cut}; longer than a sequence {result.documents_split:,}; "
        f"{result.documents_per_sequence:.1f} documents a sequence; coherence {result.coherence:.2f}"
    )
    if result.documents_held:
        console.print(
            f"[bold]Held[/] {result.documents_held:,} documents, {result.tokens_held:,} tokens, "
            "for rows that are not complete"
        )
    if result.unchanged_inputs:
        console.print(f"[bold]Inputs[/] {result.unchanged_inputs:,} did not change since they were read")
    rate = result.rows_this_run / result.seconds if result.seconds else 0
    console.print(f"[bold]Time[/] {result.rows_this_run:,} rows in {result.seconds:.1f} s, {rate:,.0f} a second")
    example = result.near_duplicates[0].doc_id if result.near_duplicates else "DOC_ID"
    console.print(
        f"\nNext: [bold]curatord explain[/] '{example}' -o {output}   the way of one document\n"
        f"      [bold]curatord inspect output[/] -o {output}   check every sequence\n"
        f"      [bold]datasets.load_dataset[/]('parquet', data_dir='{output}')   train on it"
    )


def _documents_table(ledger: dict[str, Any]) -> Table:
    """What became of the rows, stage by stage."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (("", "left"), ("rows", "right"), ("share", "right"), ("why", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
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


def _cut(text: str, length: int = 60) -> str:
    """The end of an id says more than its beginning."""
    return text if len(text) <= length else "…" + text[-length + 1 :]
