"""`curatord prepare`: a folder that curates like its inputs, in any parts, and after any stop."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consumers.files.inputs import expand
from consumers.files.prepared_folder import PartWriter, claimed, inputs_of, register
from curatord.errors import IdentityError, UsageError
from daemon.commands import prepare as command
from daemon.commands.prepare import prepare_files
from daemon.config import load_config
from daemon.prepared.preparer import open_preparer
from tests.daemon.conftest import CONFIG, WORDS, Run, text_of, write_documents

SETTINGS = CONFIG + "[daemon]\nprocesses = 1\n[output]\nholdout = 0.1\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs with all that inputs may hold, and what they were prepared into, in small parts and after a kill."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "curatord.toml").write_text(SETTINGS)
    (folder / "in").mkdir()
    first = write_documents(folder / "in" / "a.jsonl", range(200))
    texts = (text_of(5), text_of(88) + " more", " ".join(WORDS[:900]))
    lines = [*({"text": text} for text in texts), {"id": "doc-3", "text": "a new version"}]
    with first.open("a") as file:
        file.write("\n\n{broken\n" + "\n".join(map(json.dumps, lines)) + '\n{"id": [], "text": "of a list"}')
    pq.write_table(pa.table({"text": [text_of(n) for n in range(200, 330)]}), folder / "in" / "b.parquet")
    (folder / "in" / "empty.jsonl").write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "BATCH_ROWS", 50)
        patch.setattr(command, "PART_ROWS", 60)
        write, killed = PartWriter.write, []

        def dies(part: Any, batch: Any, following: int) -> None:
            if part.next >= 100 and not killed:
                killed.append(following)
                raise KeyboardInterrupt
            write(part, batch, following)

        patch.setattr(PartWriter, "write", dies)
        with pytest.raises(KeyboardInterrupt):
            prepare_files([str(folder / "in")], folder / "rows", folder / "curatord.toml")
        with pytest.raises(UsageError, match=r"3 of 3 inputs are not prepared to their end, first .*a.jsonl"):
            inputs_of(folder / "rows")
        patch.setattr(command, "BATCH_ROWS", 37)
        assert prepare_files([str(folder / "in")], folder / "rows", folder / "curatord.toml") == 0
    return folder


def outcome(folder: Path, name: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder / name)): path.read_bytes() for path in sorted((folder / name).rglob("*.parquet"))
    }


def summary_of(result: Any) -> dict[str, Any]:
    summary = json.loads(result.stdout)
    return {
        key: value
        for key, value in summary.items()
        # Bytes of the indices hang on how rows were batched.
        if key not in ("index_bytes", "elapsed", "timing", "output", "seconds", "training_seconds")
    }


def test_a_prepared_folder_gives_what_its_inputs_give(folder: Path, run: Run) -> None:
    config, summaries = folder / "curatord.toml", []
    for name, arguments in (("direct", (folder / "in",)), ("by-way", (folder / "rows",))):
        verdicts = ("--verdicts", folder / name / "verdicts-of")
        shutil.rmtree(folder / name, ignore_errors=True)
        result = run("curate", *arguments, "-o", folder / name / "out", "-c", config, "--json", *verdicts)
        assert result.exit_code == 0, result.output
        summaries.append(summary_of(result))

    assert outcome(folder, "direct") == outcome(folder, "by-way")
    assert len(outcome(folder, "direct")) >= 3
    assert summaries[0] == summaries[1]
    again = run("curate", folder / "in", "-o", folder / "by-way" / "out", "-c", config, "--json")
    assert summary_of(again)["unchanged_inputs"] == 3


def test_inputs_that_are_there_are_not_prepared_again(folder: Path, run: Run) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "rows").glob("*.arrow")}

    result = run("prepare", folder / "in", "-o", folder / "rows", "-c", folder / "curatord.toml")

    assert "0 rows of 3 inputs were prepared" in result.output
    assert "3 of them before" in result.output
    assert {path.name: path.stat().st_mtime_ns for path in (folder / "rows").glob("*.arrow")} == before


def test_a_file_of_a_folder_that_cannot_be_opened_is_told_and_left_out_as_in_curate(
    folder: Path, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    write_documents(tmp_path / "in" / "a.jsonl", range(5))
    (tmp_path / "in" / os.fsdecode(b"caf\xe9.jsonl")).write_text("{}")
    assert prepare_files([str(tmp_path / "in")], tmp_path / "rows", folder / "curatord.toml") == 0
    told = capsys.readouterr().err
    assert "1 of the files found could not be opened" in told
    assert "UTF-8" in told
    assert [Path(file.uri).name for file in inputs_of(tmp_path / "rows")] == ["a.jsonl"]
    curated = run("curate", tmp_path / "in", "-o", tmp_path / "out", "-c", folder / "curatord.toml")
    assert "1 input could not be opened" in curated.output


def test_an_input_that_another_process_has_is_left_to_it(folder: Path, tmp_path: Path, run: Run) -> None:
    rows = tmp_path / "rows"
    identity = open_preparer(load_config(folder / "curatord.toml")).identity
    entry = register(rows, expand([str(folder / "in" / "empty.jsonl")]), identity)[0]

    with claimed(rows, entry) as is_ours:
        assert is_ours
        result = run("prepare", folder / "in" / "empty.jsonl", "-o", rows, "-c", folder / "curatord.toml")

    assert "1 inputs are being prepared by other processes" in result.output


def test_another_configuration_is_refused_with_both_values(folder: Path, tmp_path: Path, run: Run) -> None:
    other = tmp_path / "other.toml"
    other.write_text(SETTINGS + '[input]\nid_scope = "source"\n')

    to_prepare = ("prepare", folder / "in", "-o", folder / "rows")
    to_curate = ("curate", folder / "rows", "-o", tmp_path / "out")
    for arguments in (to_prepare, to_curate):
        result = run(*arguments, "-c", other)
        assert result.exit_code == IdentityError.exit_code
        assert 'input.id_scope: it was prepared with "global", now it is "source"' in result.output


def test_a_folder_of_something_else_is_not_written_to(folder: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    result = run("prepare", folder / "in", "-o", tmp_path, "-c", folder / "curatord.toml")

    assert result.exit_code == UsageError.exit_code
    assert "holds something else" in result.output


def test_prepared_rows_are_curated_by_themselves(folder: Path, tmp_path: Path, run: Run) -> None:
    result = run("curate", folder / "rows", folder / "in", "-o", tmp_path / "out")

    assert result.exit_code == UsageError.exit_code
    assert "curate it by itself" in result.output


def test_prepared_rows_are_not_prepared_again(folder: Path, tmp_path: Path, run: Run) -> None:
    result = run("prepare", folder / "rows", "-o", tmp_path / "rows", "-c", folder / "curatord.toml")

    assert result.exit_code == UsageError.exit_code
    assert "holds prepared rows: give it to `curatord curate`" in result.output


def test_an_input_that_two_folders_hold_is_read_once(folder: Path, tmp_path: Path, run: Run) -> None:
    config = ("-c", folder / "curatord.toml", "--json")
    once = run("curate", folder / "rows", "-o", tmp_path / "once", *config)
    twice = run("curate", folder / "rows", folder / "rows", "-o", tmp_path / "twice", *config)

    assert summary_of(twice) == summary_of(once)
    assert outcome(tmp_path, "twice") == outcome(tmp_path, "once")
