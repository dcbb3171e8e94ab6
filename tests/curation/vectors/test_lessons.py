"""Lessons: the teacher is asked once about a text, through stops, kills and damage to the file."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from curation.vectors.embedding_config import DEFAULT_MODEL
from curation.vectors.lessons import Lessons
from curation.vectors.teacher import GROUP_DOCUMENTS, Teacher, open_teacher
from state.store import Store

TEXTS = [f"Document {number} is about the number {number}." for number in range(3 * GROUP_DOCUMENTS)]


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return open_teacher(DEFAULT_MODEL, 1, for_lessons=True)


class _Stopped(Exception):
    pass


def _stop_after_a_group(done: int, total: int) -> None:
    if done:
        raise _Stopped


def _encoded(lessons: Lessons, texts: list[str], teacher: Teacher) -> int:
    """How many documents the teacher encodes to give these lessons, which must be right."""
    told: list[int] = []
    vectors_BD = lessons.take(texts, teacher, lambda done, total: told.append(done))
    assert np.array_equal(vectors_BD, teacher.encode(texts))
    return len(texts) - told[0]


def test_a_training_that_was_stopped_goes_on(tmp_path: Path, teacher: Teacher) -> None:
    lessons = Lessons(tmp_path / "lessons")
    with pytest.raises(_Stopped):
        lessons.take(TEXTS, teacher, _stop_after_a_group)

    assert _encoded(Lessons(tmp_path / "lessons"), TEXTS, teacher) == len(TEXTS) - GROUP_DOCUMENTS
    assert _encoded(Lessons(tmp_path / "lessons"), TEXTS, teacher) == 0


def test_lessons_lie_among_the_files_of_a_state_and_outlive_its_opening(tmp_path: Path, teacher: Teacher) -> None:
    lessons = Lessons(tmp_path / "lessons.sqlite")
    for expected in (len(TEXTS), 0):
        store = Store(tmp_path)
        assert _encoded(lessons, TEXTS, teacher) == expected
        store.close()


def test_a_training_that_was_killed_goes_on(tmp_path: Path, teacher: Teacher) -> None:
    code = f"""
import os, signal
from tests.curation.vectors.test_lessons import *
def kill(done, total):
    if done:
        os.kill(os.getpid(), signal.SIGKILL)
Lessons(Path({str(tmp_path / "lessons")!r})).take(TEXTS, open_teacher(DEFAULT_MODEL, 1, for_lessons=True), kill)
"""
    folder = Path(__file__).parents[3]
    killed = subprocess.run([sys.executable, "-c", code], cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)})
    assert killed.returncode == -signal.SIGKILL

    assert _encoded(Lessons(tmp_path / "lessons"), TEXTS, teacher) == len(TEXTS) - GROUP_DOCUMENTS


def test_only_new_documents_are_encoded_and_only_present_ones_kept(tmp_path: Path, teacher: Teacher) -> None:
    lessons = Lessons(tmp_path / "lessons")
    lessons.take(TEXTS[:40], teacher, None)

    assert _encoded(lessons, TEXTS[20:50], teacher) == 10
    with sqlite3.connect(tmp_path / "lessons") as file:
        assert file.execute("SELECT count(*) FROM lessons").fetchone() == (30,)


def test_a_retracted_document_leaves_no_trace(tmp_path: Path, teacher: Teacher) -> None:
    lessons = Lessons(tmp_path / "lessons")
    vectors_BD = lessons.take(TEXTS[:3], teacher, None)
    lessons.forget([TEXTS[1]])

    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for part in (slice(32), slice(-32, None)):
        assert vectors_BD[0, part].tobytes() in stored
        assert vectors_BD[1, part].tobytes() not in stored
    Lessons(tmp_path / "none").forget([TEXTS[1]])
    assert not (tmp_path / "none").exists()


def test_nothing_is_kept_when_no_training_is_to_come(tmp_path: Path, teacher: Teacher) -> None:
    lessons = Lessons(tmp_path / "lessons")
    lessons.take(TEXTS[:3], teacher, None)
    for _ in range(2):
        lessons.clear()
        assert list(tmp_path.iterdir()) == []
    Lessons(None).clear()


def test_lessons_of_another_teacher_do_not_count(tmp_path: Path, teacher: Teacher) -> None:
    Lessons(tmp_path / "lessons").take(TEXTS[:5], open_teacher(DEFAULT_MODEL, 1), None)

    assert _encoded(Lessons(tmp_path / "lessons"), TEXTS[:5], teacher) == 5


def _overwrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _say(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(statement)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: _overwrite(path, b""),
        lambda path: _overwrite(path, b"no database at all" * 100),
        lambda path: _overwrite(path, path.read_bytes()[:5000]),
        lambda path: _say(path, "UPDATE lessons SET vector = x'00'"),
        lambda path: _say(path, "UPDATE lessons SET vector = NULL"),
        lambda path: _say(path, "UPDATE lessons SET vector = 'text'"),
        lambda path: (_say(path, "DROP TABLE lessons"), _say(path, "CREATE TABLE lessons (other)")),
    ],
)
def test_a_file_that_is_damaged_is_begun_anew(
    tmp_path: Path, damage: Callable[[Path], object], teacher: Teacher
) -> None:
    lessons = Lessons(tmp_path / "lessons")
    lessons.take(TEXTS[:5], teacher, None)
    damage(tmp_path / "lessons")

    assert _encoded(lessons, TEXTS[:5], teacher) == 5
    assert _encoded(lessons, TEXTS[:5], teacher) == 0


def test_a_file_that_another_process_locks_is_waited_for_once(
    tmp_path: Path, teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, waits = tmp_path / "lessons", list[float]()
    lessons = Lessons(path)
    connect = sqlite3.connect

    def connect_at_once(database: str, timeout: float = 5.0) -> sqlite3.Connection:
        waits.append(timeout)
        return connect(database, timeout=0.01)

    monkeypatch.setattr("sqlite3.connect", connect_at_once)
    with closing(connect(path)) as other:

        def lock(done: int, total: int) -> None:
            if not done:
                other.execute("BEGIN EXCLUSIVE")

        lessons.take(TEXTS, teacher, lock)
    assert len(waits) == 2  # when the lessons were looked for, and when the first group was to be kept

    with closing(connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert _encoded(lessons, TEXTS[:5], teacher) == 5
    assert _encoded(lessons, TEXTS[:5], teacher) == 0


def test_a_place_that_cannot_be_written_is_done_without(tmp_path: Path, teacher: Teacher) -> None:
    for path in (None, tmp_path / "no folder" / "lessons"):
        assert _encoded(Lessons(path), TEXTS[:5], teacher) == 5
    assert Lessons(None).take([], teacher, None).shape == (0, 384)
