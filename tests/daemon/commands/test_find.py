"""`curatord find`: texts that come later, in what was emitted before."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.daemon.conftest import Run


def words(seed: int, count: int) -> str:
    rng = random.Random(seed)
    return " ".join(f"{rng.choice('abcdefghij')}{rng.randrange(10_000)}" for _ in range(count))


QUESTIONS = [words(seed, 30) for seed in range(4)]
CONFIG = '[packing]\nmode = "best_fit"\ncontext_length = 256\nshuffle_block_rows = 4\n'


@pytest.fixture
def output(tmp_path: Path, run: Run) -> Path:
    """Documents of which one holds a question, a long one two, and one that waits another."""
    texts = {f"d{n}": words(50 + n, 70) for n in range(30)}
    texts["holds"] = f"{words(200, 20)} {QUESTIONS[0].replace(' ', ' extra ', 1)} {words(201, 20)}"
    texts["long"] = f"{words(202, 55)} {QUESTIONS[1]} {words(203, 300)} {QUESTIONS[0]} {words(204, 20)}"
    (tmp_path / "c.toml").write_text(CONFIG)
    for name, part, flags in (("a", texts, ()), ("b", {"waits": f"{words(9, 9)} {QUESTIONS[2]}"}, ("--keep-open",))):
        rows = [json.dumps({"id": doc_id, "text": text}) for doc_id, text in part.items()]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
        done = run("curate", tmp_path / f"{name}.jsonl", "-o", tmp_path / "out", "-c", tmp_path / "c.toml", *flags)
        assert done.exit_code == 0
    return tmp_path / "out"


def sequences_of(output: Path, doc_id: str) -> list[list[int]]:
    """[generation, seq_no] of every row with a document, from the shards."""
    rows = [row for path in sorted(output.glob("train-*.parquet")) for row in pq.read_table(path).to_pylist()]
    return [[0, row["seq_no"]] for row in rows if doc_id in row["doc_ids"]]


def test_questions_are_found_with_their_documents_and_sequences(output: Path, run: Run, tmp_path: Path) -> None:
    later = tmp_path / "later.jsonl"
    later.write_text("\n".join(json.dumps({"id": f"q{n}", "question": text}) for n, text in enumerate(QUESTIONS)))

    found = json.loads(run("find", later, "-o", output, "-c", tmp_path / "c.toml", "--json").output)
    told = run("find", later, "-o", output, "-c", tmp_path / "c.toml").output

    by_place = {(hit["id"], hit["document"]): hit for hit in found}
    assert set(by_place) == {("q0", "holds"), ("q0", "long"), ("q1", "long"), ("q2", "waits")}
    assert by_place["q0", "holds"]["sequences"] == sequences_of(output, "holds")
    assert 0.5 < by_place["q0", "holds"]["share"] <= 1
    of_long = sequences_of(output, "long")
    assert len(of_long) > 1
    for question in ("q0", "q1"):
        hit = by_place[question, "long"]
        assert hit["share"] == 1  # one of them is cut by the end of a sequence, or follows it
        assert hit["document_sequences"] == of_long
        assert 1 <= len(hit["sequences"]) <= len(of_long)
    assert by_place["q2", "waits"]["sequences"] == []
    assert f"sequence {sequences_of(output, 'holds')[0][1]}" in told
    assert "waits to be emitted" in told
    assert "3 of 4 texts are in documents" in told


def test_a_text_is_found_and_a_short_one_or_another_field_is_refused(output: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text(QUESTIONS[1])
    (tmp_path / "short.txt").write_text("too short")
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": QUESTIONS[0]}))
    place = ("-o", output, "-c", tmp_path / "c.toml")

    assert "in long: sequence" in run("find", tmp_path / "one.txt", *place).output
    assert "in holds: sequence" in run("find", tmp_path / "texts.jsonl", "--field", "text", *place).output
    short, other = run("find", tmp_path / "short.txt", *place), run("find", tmp_path / "texts.jsonl", *place)
    assert (short.exit_code, other.exit_code) == (2, 2)
    assert "13 words" in short.output
    assert "--field" in other.output


def test_another_tokenizer_and_a_damaged_shard_are_told(output: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text(QUESTIONS[1])
    (tmp_path / "other.toml").write_text("[tokenizer]\neos = false\n")
    other = run("find", tmp_path / "one.txt", "-o", output, "-c", tmp_path / "other.toml")
    assert other.exit_code == 2
    assert "made with the tokenizer" in other.output

    shard = sorted(output.glob("train-*.parquet"))[0]
    shard.write_bytes(shard.read_bytes()[:-40])
    damaged = run("find", tmp_path / "one.txt", "-o", output, "-c", tmp_path / "c.toml")
    assert shard.name in damaged.output
    assert damaged.exit_code == 0
    for path in output.glob("train-*.parquet"):
        path.unlink()
    gone = run("find", tmp_path / "one.txt", "-o", output, "-c", tmp_path / "c.toml")
    assert gone.exit_code == 2
    assert "copy the shards there" in gone.output
