"""Folders of shards for tests of readers: real Parquet, written as the pipeline writes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from consumers.files.shards import shard_name, write_sequences
from curatord.sequence import HEAD_PRESENT, TAIL_PRESENT, PackedSequence

CONTEXT = 32
DIGEST = 0xABCDEF


def row(seq_no: int, *, generation: int = 0, context: int = CONTEXT) -> PackedSequence:
    """A sequence of 1 to 4 segments whose values follow from its number."""
    rng = np.random.default_rng(seq_no)
    lengths = rng.integers(2, 8, int(rng.integers(1, 5)))
    count = len(lengths)
    return PackedSequence(
        seq_no=seq_no,
        generation=generation,
        context_length=context,
        tokens_T=rng.integers(1, 1000, int(lengths.sum())).astype(np.uint32),
        segment_lengths_S=lengths.astype(np.uint32),
        segment_offsets_S=np.zeros(count, np.uint32),
        segment_flags_S=np.full(count, HEAD_PRESENT | TAIL_PRESENT, np.uint8),
        doc_ids=tuple(f"{seq_no}/{number}" for number in range(count)),
        clusters_S=rng.integers(0, 9, count).astype(np.int32),
        policy_versions_S=np.full(count, 3, np.int32),
        propensities_S=np.full(count, 0.5, np.float32),
        tokenizer_digest=DIGEST,
    )


def add_shard(folder: Path, first: int, end: int, *, generation: int = 0, context: int = CONTEXT) -> Path:
    """The sequences `first <= seq_no < end` as one more shard, moved into place as the pipeline does."""
    rows = [row(seq_no, generation=generation, context=context) for seq_no in range(first, end)]
    path = folder / shard_name(rows)
    folder.mkdir(parents=True, exist_ok=True)
    write_sequences(path.with_suffix(".unfinished"), rows)
    return path.with_suffix(".unfinished").replace(path)


def write_manifest(folder: Path, *, ends: list[int], generation: int = 0) -> None:
    """The manifest of `curatord curate`: where the folder ended, by generation."""
    (folder / ".curatord").mkdir(parents=True, exist_ok=True)
    path = folder / ".curatord" / "manifest.json"
    before = json.loads(path.read_text())["ends"] if path.exists() else {}
    manifest = {
        "generation": generation,
        "ends": {**before, str(generation): ends},
        "tokenizer_digest": f"{DIGEST:016x}",
    }
    path.write_text(json.dumps(manifest))
