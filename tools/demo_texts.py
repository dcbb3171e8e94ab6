"""Texts of the demonstration: a dropped pair, a packed sequence, and a document that a preset would drop."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
from rich.console import Console

from curatord.sequence import HEAD_PRESENT
from daemon.commands.explain import failed_rules
from packing.tokenizer import TokenizerConfig, open_tokenizer
from state.segments import Verdict, read_segments, verdict_of
from state.store import Store, state_folder

WIDTH = 100
LINES = 7  # of a text
PRESET = "gopher"  # whose rules are named after it


def show_texts(output: Path, verdicts: Path, inputs: Sequence[Path]) -> None:
    """Print all three."""
    console = Console(highlight=False, width=WIDTH)
    texts: dict[str, str] = {}
    for path in inputs:
        texts |= {row["id"]: row["text"] for row in map(json.loads, path.read_bytes().splitlines())}
    for heading, lines in (
        ("Dropped as a near-duplicate, beside what was kept", dropped_pair(verdicts, texts)),
        ("One packed sequence: how its documents begin", packed_sequence(output)),
        (f'A document that preset = "{PRESET}" would drop', failing_document(output, texts)),
    ):
        if lines:
            console.print(f"\n[bold]{heading}[/bold]")
            for line in lines:
                console.print(line, markup=False)


def dropped_pair(verdicts: Path, texts: dict[str, str]) -> list[str]:
    """The near-duplicate of middle similarity, side by side with its match, around their first difference."""
    table = ds.dataset(verdicts, format="parquet").to_table(filter=ds.field("stage") == "near_dedup")
    rows = sorted(table.to_pylist(), key=lambda row: (-row["similarity"], row["doc_id"]))
    if not rows:
        return []
    row = rows[len(rows) // 2]
    dropped, kept = (" ".join(text.split()) for text in (row["text"], texts.get(row["match_id"], "")))
    pairs = enumerate(zip(dropped, kept, strict=False))
    same = next((at for at, (a, b) in pairs if a != b), min(len(dropped), len(kept)))
    begin = max(0, same - 60)
    half = (WIDTH - 5) // 2
    columns = [
        [doc_id[-half:], "", *(textwrap.wrap(text[begin : begin + 900], half) + [""] * LINES)[:LINES]]
        for doc_id, text in ((row["doc_id"], dropped), (row["match_id"], kept))
    ]
    lines = [f"  similarity {row['similarity']:.2f}: of {len(dropped):,} and {len(kept):,} characters"]
    return lines + [f"  {left:<{half}} │ {right}" for left, right in zip(*columns, strict=True)]


def packed_sequence(output: Path) -> list[str]:
    """The first lines of some documents that share a sequence, from its tokens."""
    path = min(output.glob("train-*.parquet"), default=None)
    if path is None:
        return []
    rows = pq.read_table(path, columns=["seq_no", "input_ids", "seq_lengths", "doc_ids", "segment_flags"]).to_pylist()
    row = min(rows, key=lambda row: abs(len(row["seq_lengths"]) - 6))
    tokenizer = open_tokenizer(TokenizerConfig())
    lines = [f"  sequence {row['seq_no']}: {len(row['input_ids']):,} tokens of {len(row['seq_lengths'])} documents"]
    start = 0
    for length, doc_id, flags in zip(row["seq_lengths"], row["doc_ids"], row["segment_flags"], strict=True):
        text = " ".join(tokenizer.decode(row["input_ids"][start : start + min(length, 60)]).split())
        part = "" if flags & HEAD_PRESENT else " (goes on from an earlier sequence)"
        lines += [f"  {length:>6,} tokens  {doc_id[-(WIDTH - 18) :]}{part}", f"    {text[: WIDTH - 8]}"]
        start += length
    return lines


def failing_document(output: Path, texts: dict[str, str]) -> list[str]:
    """An accepted document that fails most rules of the preset, with the rules."""
    store = Store(state_folder(output), read_only=True)
    worst: tuple[int, Verdict] | None = None
    for segment in read_segments(store):
        for row in range(len(segment)):
            verdict = verdict_of(segment, row)
            if verdict.stage:
                continue
            count = sum(name.startswith(PRESET) for name, _, _ in failed_rules(verdict.rules))
            if worst is None or count > worst[0]:
                worst = (count, verdict)
    store.close()
    if worst is None or not worst[0]:
        return []
    verdict = worst[1]
    failed = [failure for failure in failed_rules(verdict.rules) if failure[0].startswith(PRESET)]
    lines = [f"  {verdict.doc_id}"]
    lines += [f"    {name}: {value:.3g} against {threshold:.3g}" for name, value, threshold in failed[:LINES]]
    text = " ".join(texts.get(verdict.doc_id, "").split())
    return lines + [f"    │ {line}" for line in textwrap.wrap(text[:500], WIDTH - 8)[:LINES]]
