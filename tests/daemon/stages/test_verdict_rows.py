"""`curate --verdicts`: the decision of every document as Parquet, with the text of what was dropped."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from consumers.formats.verdicts import FILE_SCHEMA, SCHEMA
from daemon.stages import verdict_rows
from daemon.stages.verdict_rows import VerdictRows
from kernels.columns import Texts, join_texts
from state.epoch import Epoch
from state.segments import Segment, Verdicts
from tests.daemon.commands.test_again import unlearned
from tests.daemon.conftest import Curated, Run, text_of, write_documents
from tests.daemon.stages.test_examples import LENIENT
from tests.kept import Kept


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_every_document_has_a_row_and_what_was_dropped_its_text(run: Run, tmp_path: Path) -> None:
    documents = write_documents(tmp_path / "in.jsonl", range(40))
    with documents.open("a") as file:
        for doc_id, text in (("copy", text_of(5)), ("near", text_of(8) + " more"), ("short", "too short")):
            file.write(json.dumps({"id": doc_id, "text": text}) + "\n")
        file.write(json.dumps({"id": "doc-7", "text": text_of(7070)}) + "\n")
        file.write("{broken\n")
    config = unlearned(tmp_path, LENIENT)
    arguments = ["curate", documents, "-o", tmp_path / "out", "-c", config, "--verdicts", tmp_path / "verdicts"]

    result = run(*arguments, "--json")

    assert result.exit_code == 0, result.output
    ledger = json.loads(result.stdout)["ledger"]
    paths = sorted((tmp_path / "verdicts").glob("*.parquet"))
    assert pq.read_schema(paths[0]).remove_metadata() == FILE_SCHEMA.remove_metadata()
    assert FILE_SCHEMA.names[: len(SCHEMA.names)] == SCHEMA.names
    rows = rows_in(tmp_path / "verdicts")
    outcomes = Counter(row["outcome"] for row in rows)
    assert outcomes["accepted"] == ledger["rows"]["accepted"]
    assert outcomes["rejected"] == ledger["rows"]["rejected"]
    assert outcomes["taken_back"] == 1
    by_reason = Counter(f"{row['stage']} {row['reason']}" for row in rows if row["outcome"] == "rejected")
    assert by_reason == ledger["rejections"]
    found = {row["doc_id"]: row for row in rows if row["outcome"] == "rejected"}
    assert (found["copy"]["match_id"], found["copy"]["text"]) == ("doc-5", text_of(5))
    assert (found["copy"]["similarity"], found["copy"]["position"]) == (1.0, 40)
    assert found["short"]["text"] == "too short"
    assert found["short"]["num_bytes"] == len("too short")
    assert found["short"]["input"] == str(documents)
    assert (found["short"]["value"], found["short"]["threshold"]) == (2.0, 5.0)
    assert all(row["text"] is None for row in rows if row["outcome"] == "accepted")
    assert all(row["text"] for row in rows if row["outcome"] == "rejected")
    # Nothing new, nothing written; another output may not write there.
    assert run(*arguments).exit_code == 0
    assert rows_in(tmp_path / "verdicts") == rows
    other = run("curate", documents, "-o", tmp_path / "b", "-c", config, "--verdicts", tmp_path / "verdicts")
    assert other.exit_code == 2
    assert "holds those of" in other.output


def test_a_folder_in_the_output_is_refused(curated: Curated, run: Run) -> None:
    for folder in (curated.output, curated.output / "verdicts"):
        result = run("curate", curated.folder / "documents.jsonl", "-o", curated.output, "--verdicts", folder)
        assert result.exit_code == 65 or result.exit_code == 2
        result = run(
            *("curate", curated.folder / "documents.jsonl", "-o", curated.output, "-c", curated.config),
            *("--verdicts", folder),
        )
        assert result.exit_code == 2
        assert "beside it" in result.output


def feed(rows: VerdictRows, numbers: range, step: int) -> list[tuple[int, list[str]]]:
    """Documents as segments of at most `step`; the shards that come out, with all facts put back after each."""
    shards = []
    for first in range(numbers.start, numbers.stop, step):
        count = min(step, numbers.stop - first)
        epoch = Epoch(number=1, identity="")
        verdicts = Verdicts(first, count, [])
        keys = np.arange(first, first + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        segment = verdicts.segment(
            ids=[str(n) for n in range(first, first + count)],
            id_keys_B2=np.stack([keys, keys], axis=1),
            text_keys_B2=np.stack([keys, keys], axis=1),
            url_keys_B2=np.stack([keys, keys], axis=1),
            ordinals_B=np.arange(count),
            inputs=["i"] * count,
            positions_B=np.arange(count),
            sources=[""] * count,
            num_bytes_B=np.ones(count, np.int64),
        )
        rows.note(segment, join_texts(()), epoch)
        shards += [(shard.first, [row.doc_id for row in shard.rows]) for shard in epoch.verdicts]
    return shards


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_shards_are_the_same_however_rows_come_and_after_a_restore(
    monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(verdict_rows, "SHARD_ROWS", 10)
    expected = feed(VerdictRows(share=share, seed=1), range(100), 100)
    assert [first for first, _ in expected] == [10 * n for n in range(len(expected))]
    for step in (1, 3, 10, 17):
        rows, kept, found = VerdictRows(share=share, seed=1), Kept(), []
        for first in range(0, 100, 20):
            found += feed(rows, range(first, first + 20), step)
            kept.commit(rows)
            rows = VerdictRows(share=share, seed=1)
            kept.restore(rows)
        assert found == expected


def test_a_sample_is_by_id() -> None:
    every = [ids for _, ids in feed(VerdictRows(share=1.0, seed=1), range(20_000), 500)]
    some = [ids for _, ids in feed(VerdictRows(share=0.9, seed=1), range(20_000), 500)]
    assert sum(map(len, every)) == verdict_rows.SHARD_ROWS
    assert set(some[0]) < {str(n) for n in range(20_000)}
    assert 17_000 < max(int(doc_id) for doc_id in some[0]) < 19_500


def dropped(doc_no: int, text: str) -> tuple[Segment, Texts]:
    """A document that was rejected."""
    verdicts = Verdicts(doc_no, 1, [])
    verdicts.reject(np.array([doc_no]), "quality", ["rule"], values=np.nan, thresholds=np.nan)
    keys_12 = np.full((1, 2), doc_no, np.uint64)
    segment = verdicts.segment(
        ids=[str(doc_no)],
        id_keys_B2=keys_12,
        text_keys_B2=keys_12,
        url_keys_B2=keys_12,
        ordinals_B=np.array([doc_no]),
        inputs=["i"],
        positions_B=np.array([doc_no]),
        sources=[""],
        num_bytes_B=np.array([len(text)]),
    )
    return segment, join_texts([text])


def test_a_text_that_was_taken_back_fills_no_shard_before_a_restore_or_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict_rows, "SHARD_TEXT", 100)
    epoch = Epoch(number=1, identity="")
    rows, restored = (VerdictRows(share=1.0, seed=1) for _ in range(2))
    segment, texts = dropped(0, "x" * 60)
    rows.note(segment, texts, epoch)
    rows.take_back(segment, 0, "retracted", epoch)
    kept = Kept()
    kept.commit(rows)
    kept.restore(restored)

    for each in (rows, restored):
        each.note(*dropped(1, "y" * 60), epoch)

    assert len(rows) == len(restored) == 3
    assert epoch.verdicts == []
