"""Packed sequences as Parquet shards, one row a sequence.

The columns are those that `datasets` and TRL's padding-free training read as they are: `input_ids` and
`seq_lengths`; the others say where each segment came from and why. Everything is an int32 or float32 list, built from
buffers without a Python loop over tokens.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from consumers.formats.arrays import Array, joined, lists, numbers, strings
from curatord.sequence import PackedSequence
from state.epoch import Holdout, VerdictShard

# Level 3 saves another tenth of the bytes and costs a quarter more time, which is the pipeline's.
COMPRESSION = "zstd"
COMPRESSION_LEVEL = 1
ROW_GROUP_TOKENS = 1 << 20
# First all low bytes of the ids, then all second ones...: what is left to compress is mostly zeros.
TOKEN_ENCODING = {"input_ids.list.element": "BYTE_STREAM_SPLIT"}
SCHEMA_VERSION = b"1"
LARGE_PART = 256  # numbers of a sequence; of fewer, looking where they lie costs more than copying them


def _list_column(parts: Sequence[NDArray[np.generic]], kind: type[np.int32 | np.float32]) -> Array:
    """One list a sequence."""
    values = joined(parts) if len(parts[0]) > LARGE_PART else np.concatenate(parts)
    if values.dtype == np.uint32 and kind is np.int32:
        values = values.view(np.int32)  # ids are far below 2**31
    return lists(numbers(values.astype(kind, copy=False)), np.fromiter(map(len, parts), np.int32, count=len(parts)))


def sequence_table(sequences: Sequence[PackedSequence]) -> pa.Table:
    """The rows of a shard. At most 2**31 tokens."""
    ids = [doc_id for sequence in sequences for doc_id in sequence.doc_ids]
    columns = {
        "seq_no": numbers(np.array([sequence.seq_no for sequence in sequences], np.int64)),
        "input_ids": _list_column([s.tokens_T for s in sequences], np.int32),
        "seq_lengths": _list_column([s.segment_lengths_S for s in sequences], np.int32),
        "doc_ids": lists(strings(ids), np.array([len(sequence.doc_ids) for sequence in sequences], np.int32)),
        "segment_offsets": _list_column([s.segment_offsets_S for s in sequences], np.int32),
        "segment_flags": _list_column([s.segment_flags_S for s in sequences], np.int32),
        "clusters": _list_column([s.clusters_S for s in sequences], np.int32),
        "policy_versions": _list_column([s.policy_versions_S for s in sequences], np.int32),
        "propensities": _list_column([s.propensities_S for s in sequences], np.float32),
    }
    for name, kept in (
        ("weights", [s.weights_S for s in sequences]),
        ("qualities", [s.qualities_S for s in sequences]),
    ):
        if any(values_S is not None for values_S in kept):
            # Where a sequence says nothing, its segments count 1, and the quality of its documents is not known.
            unsaid = np.float32(1.0 if name == "weights" else np.nan)
            parts = [
                np.full(len(sequence.segment_lengths_S), unsaid) if values_S is None else values_S
                for sequence, values_S in zip(sequences, kept, strict=True)
            ]
            columns[name] = _list_column(parts, np.float32)
    if [sequence for sequence in sequences if sequence.no_loss_R2 is not None]:
        nothing = np.zeros(0, np.uint32)
        columns["no_loss"] = _list_column(
            [nothing if s.no_loss_R2 is None else s.no_loss_R2.reshape(-1) for s in sequences], np.int32
        )
    metadata = {
        b"curatord.schema": SCHEMA_VERSION,
        b"curatord.generation": str(sequences[0].generation).encode(),
        b"curatord.context_length": str(sequences[0].context_length).encode(),
    }
    return pa.table(columns).replace_schema_metadata(metadata)


def holdout_table(documents: Sequence[Holdout]) -> pa.Table:
    """Documents kept away from training, as text."""
    return pa.table(
        {
            "id": strings([document.doc_id for document in documents]),
            "text": strings([document.text for document in documents], large=True),
            "source": strings([document.source for document in documents]),
            "url": strings([document.url for document in documents]),
        }
    )


def write_table(path: Path, table: pa.Table, rows_per_group: int) -> None:
    """One Parquet file, on disk for certain when this returns.

    The bytes depend on the rows alone: no time and no writer's version string but Arrow's own.
    """
    with path.open("wb") as file:
        pq.write_table(
            table,
            file,
            compression=COMPRESSION,
            compression_level=COMPRESSION_LEVEL,
            row_group_size=max(1, rows_per_group),
            write_statistics=["seq_no"] if "seq_no" in table.column_names else False,
            use_dictionary=_dictionary_columns(table) or False,
            column_encoding=TOKEN_ENCODING if "input_ids" in table.column_names else None,
        )
        file.flush()
        os.fsync(file.fileno())


def _dictionary_columns(table: pa.Table) -> list[str]:
    """Columns whose values repeat."""
    if "doc_ids" in table.column_names:
        return ["doc_ids.list.element"]
    return [field.name for field in table.schema if pa.types.is_dictionary(field.type)]


def shard_name(sequences: Sequence[PackedSequence]) -> str:
    """The file of a shard: named by its range, so that a reader sees a gap without opening anything."""
    return f"train-{sequences[0].generation:03d}-{sequences[0].seq_no:010d}-{sequences[-1].seq_no:010d}.parquet"


def write_sequences(path: Path, sequences: Sequence[PackedSequence]) -> None:
    """One shard of consecutive sequences of one generation."""
    write_table(path, sequence_table(sequences), ROW_GROUP_TOKENS // sequences[0].context_length)


def verdicts_name(shard: VerdictShard) -> str:
    """The file of a shard of verdicts, named by the numbers of its rows."""
    return f"verdicts-{shard.first:010d}-{shard.first + len(shard.rows) - 1:010d}.parquet"


def write_holdout(path: Path, documents: Sequence[Holdout]) -> None:
    """One shard of held-out documents."""
    write_table(path, holdout_table(documents), len(documents))
