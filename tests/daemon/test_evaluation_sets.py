"""Evaluation sets of files; documents that hold their questions are dropped, told of, and the same behind workers."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consumers.broker import RawDocument
from consumers.formats.prepared import Covers, encode_message
from consumers.memory import CrashPoint, World
from curatord.errors import ConfigError
from daemon.commands.explain import explain
from daemon.config import Config
from daemon.evaluation_sets import open_questions
from daemon.prepared.identity import prepared_identity
from daemon.prepared.preparer import open_preparer
from state.ledger import LEDGER
from tests.simulation.world import NUM_WARM_ROWS, make_config, new_world, outcome, run, tokenizer


def words(seed: int, count: int) -> str:
    rng = random.Random(seed)
    return " ".join(f"{rng.choice('abcdefghij')}{rng.randrange(10_000)}" for _ in range(count))


QUESTIONS = [words(seed, 25) for seed in range(8)]


def write_sets(folder: Path) -> list[str]:
    """A set as JSON, as Parquet, and a folder of texts."""
    (folder / "texts").mkdir(parents=True)
    rows = [{"id": f"q{n}", "question": text, "answer": "7"} for n, text in enumerate(QUESTIONS[:3])]
    (folder / "quiz.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.table({"question": QUESTIONS[3:6]}), folder / "test.parquet")
    for number, text in enumerate(QUESTIONS[6:]):
        (folder / "texts" / f"{number}.txt").write_text(text)
    return [str(folder / "quiz.jsonl"), str(folder / "test.parquet"), str(folder / "texts")]


def config_of(files: list[str], *, drop: bool = True, **daemon: int) -> Config:
    sets = {"files": files, "drop": drop}
    return make_config(decontaminate=sets, daemon=daemon, packing={"mode": "best_fit"}, output={"holdout": 0.0})


def world_of(folder: Path) -> World:
    """Every fourth new document holds a question with an edit."""
    world = new_world(0, 0, folder)
    for at in range(80):
        text = words(100 + at, 80)
        if at % 4 == 0:
            text += " " + QUESTIONS[at // 4 % 8].replace(" ", " extra ", 1) + " " + words(300 + at, 40)
        value = json.dumps({"id": f"e{at}", "text": text}).encode()
        world.documents = [*world.documents, RawDocument("simulated", NUM_WARM_ROWS + at, value)]
    return world


def test_questions_are_read_from_any_kind_of_file(tmp_path: Path) -> None:
    questions = open_questions(config_of(write_sets(tmp_path)))
    assert questions is not None
    assert {question.text for question in questions.questions} == set(QUESTIONS)
    assert {question.set for question in questions.questions} == {"quiz.jsonl", "test.parquet", "0.txt", "1.txt"}
    assert open_questions(make_config()) is None


def test_files_without_questions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "short.jsonl").write_text('{"question": "What is it?"}')
    (tmp_path / "other.jsonl").write_text('{"text": "What is it?"}')
    with pytest.raises(ConfigError, match="all 1 questions are too short"):
        open_questions(config_of([str(tmp_path / "short.jsonl")]))
    with pytest.raises(ConfigError, match=r"decontaminate\.files: 1 row cannot be read"):
        open_questions(config_of([str(tmp_path / "other.jsonl")]))
    with pytest.raises(ConfigError, match=r"decontaminate\.files"):
        open_questions(config_of([str(tmp_path / "absent.jsonl")]))


@pytest.mark.parametrize("poll", [7, 100])
def test_documents_that_hold_a_question_are_dropped_and_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], poll: int
) -> None:
    files = write_sets(tmp_path / "sets")
    world = world_of(tmp_path)
    before = len(world.sequences)
    crashes = {2: CrashPoint.BEFORE_COMMIT, 4: CrashPoint.AFTER_COMMIT}
    run(world, config_of(files, poll_documents=poll, epoch_documents=15), tmp_path, crashes=crashes)

    rejections = LEDGER.value.decode(outcome(world).ledger).rejections
    assert rejections["decontaminate contaminated"] == 20
    emitted = {doc_id for sequence in world.sequences[before:] for doc_id in sequence.doc_ids}
    assert {f"e{at}" for at in range(80) if at % 4} <= emitted
    assert not {f"e{at}" for at in range(0, 80, 4)} & emitted
    explain("e4", tmp_path, as_json=False)
    told = capsys.readouterr().out
    assert "  decontaminate REJECTED, contaminated" in told
    assert f"of question q1 of quiz.jsonl: {QUESTIONS[1][:40]}" in told
    explain("e4", tmp_path, as_json=True)
    assert json.loads(capsys.readouterr().out)[0]["question"]["set"] == "quiz.jsonl"


def test_told_of_only_they_go_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = world_of(tmp_path)
    run(world, config_of(write_sets(tmp_path / "sets"), drop=False), tmp_path)

    assert "e8" in {doc_id for sequence in world.sequences for doc_id in sequence.doc_ids}
    explain("e8", tmp_path, as_json=False)
    assert "of question q2 of quiz.jsonl" in capsys.readouterr().out


def test_prepared_elsewhere_they_are_the_same_and_other_sets_are_another_identity(tmp_path: Path) -> None:
    files = write_sets(tmp_path / "sets")
    config = config_of(files)
    alone, behind = world_of(tmp_path / "a"), world_of(tmp_path / "b")
    run(alone, config, tmp_path / "a")
    preparer = open_preparer(config)
    behind.prepared_with = preparer.identity
    part = behind.documents[behind.num_read :]
    covers = Covers("simulated", part[0].position, part[-1].position + 1)
    behind.prepared = [encode_message(preparer.prepare(part), covers)]

    run(behind, config, tmp_path / "b")

    assert outcome(behind) == outcome(alone)
    assert "question" in preparer.prepare([]).schema.names
    others = [prepared_identity(each, tokenizer()) for each in (config, config_of(files[:1]), make_config())]
    assert len(set(others)) == 3
