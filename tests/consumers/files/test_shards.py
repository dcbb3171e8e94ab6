"""Packed sequences as Parquet shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from msgspec.structs import replace

from consumers.files.shards import shard_name, write_holdout, write_sequences
from curatord.sequence import PackedSequence
from curatord.stream import PackedStream
from state.epoch import Holdout


def sequence(seq_no: int, lengths: list[int]) -> PackedSequence:
    num_segments = len(lengths)
    return PackedSequence(
        seq_no=seq_no,
        generation=0,
        context_length=64,
        tokens_T=np.arange(sum(lengths), dtype=np.uint32) + seq_no,
        segment_lengths_S=np.array(lengths, np.uint32),
        segment_offsets_S=np.zeros(num_segments, np.uint32),
        segment_flags_S=np.full(num_segments, 3, np.uint8),
        doc_ids=tuple(f"doc-{seq_no}-{i}" for i in range(num_segments)),
        clusters_S=np.arange(num_segments, dtype=np.int32),
        policy_versions_S=np.zeros(num_segments, np.int32),
        propensities_S=np.ones(num_segments, np.float32),
    )


def test_a_shard_gives_back_what_was_written(tmp_path: Path) -> None:
    sequences = [sequence(7, [3, 60]), sequence(8, [64]), sequence(9, [])]
    path = tmp_path / shard_name(sequences)

    write_sequences(path, sequences)

    rows = pq.read_table(path).to_pylist()
    assert path.name == "train-000-0000000007-0000000009.parquet"
    assert [row["seq_no"] for row in rows] == [7, 8, 9]
    assert rows[0]["input_ids"] == list(range(7, 70))
    assert rows[0]["seq_lengths"] == [3, 60]
    assert rows[0]["doc_ids"] == ["doc-7-0", "doc-7-1"]
    assert rows[1]["clusters"] == [0]
    assert rows[2]["input_ids"] == []


def test_weights_and_qualities_are_columns_where_a_row_has_them(tmp_path: Path) -> None:
    said = replace(sequence(0, [3, 60]), weights_S=np.array([0.5, 2.0], np.float32))
    judged = replace(sequence(1, [64]), qualities_S=np.array([0.75], np.float32))
    sequences = [said, judged, sequence(2, [])]
    write_sequences(tmp_path / shard_name(sequences), sequences)
    rows = pq.read_table(tmp_path / shard_name(sequences)).to_pylist()
    assert [row["weights"] for row in rows] == [[0.5, 2.0], [1.0], []]
    assert np.isnan(rows[0]["qualities"]).all()
    assert rows[1]["qualities"] == [0.75]
    found = list(PackedStream(tmp_path))
    assert [sequence.weights_S.tolist() for sequence in found if sequence.weights_S is not None] == [
        [0.5, 2.0],
        [1.0],
        [],
    ]
    write_sequences(tmp_path / "plain", [sequence(0, [3])])
    assert not {"weights", "qualities"} & set(pq.read_schema(tmp_path / "plain").names)


def test_ranges_without_loss_are_a_column_where_a_row_has_them(tmp_path: Path) -> None:
    ranges_R2 = np.array([[0, 2], [5, 63]], np.uint32)
    sequences = [sequence(0, [3, 60]), replace(sequence(1, [63]), no_loss_R2=ranges_R2), sequence(2, [])]
    write_sequences(tmp_path / shard_name(sequences), sequences)

    rows = pq.read_table(tmp_path / shard_name(sequences)).to_pylist()
    assert [row["no_loss"] for row in rows] == [[], [0, 2, 5, 63], []]
    found = [sequence.no_loss_R2 for sequence in PackedStream(tmp_path)]
    assert [None if ranges is None else ranges.tolist() for ranges in found] == [None, ranges_R2.tolist(), None]
    write_sequences(tmp_path / "plain", [sequence(0, [3])])
    assert "no_loss" not in pq.read_schema(tmp_path / "plain").names


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_sequences(tmp_path / name, [sequence(0, [3, 60]), sequence(1, [64])])

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_datasets_reads_the_folder_as_it_is_and_leaves_the_held_out_documents_alone(tmp_path: Path) -> None:
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    output = tmp_path / "output"
    for folder in (output / "holdout", output / ".curatord" / "pending"):
        folder.mkdir(parents=True)
    for first in (0, 2):
        shard = [sequence(first, [5, 4]), sequence(first + 1, [64])]
        write_sequences(output / shard_name(shard), shard)
    write_holdout(
        output / "holdout" / "holdout-0.parquet", [Holdout(number=0, doc_id="h", source="", url="", text="t")]
    )

    dataset = load_dataset("parquet", data_dir=str(output), cache_dir=str(tmp_path / "cache"))

    assert list(dataset) == ["train"]
    assert dataset["train"]["seq_no"][:] == [0, 1, 2, 3]
    assert dataset["train"][0]["seq_lengths"] == [5, 4]
