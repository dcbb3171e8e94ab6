"""Other options over what was read already: what is said, and how to decide anew."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.commands.inspect_output import check_output
from state.store import Store, state_folder
from tests.daemon.conftest import CONFIG, Curated, Run, text_of, write_documents


def config_with(folder: Path, text: str, name: str = "other.toml") -> Path:
    path = folder / name
    path.write_text(CONFIG + text)
    return path


def unlearned(folder: Path, text: str = "", name: str = "unlearned.toml") -> Path:
    """A configuration for a new output: the teacher embeds its few documents, since a student takes long to train."""
    path = folder / name
    path.write_text(CONFIG.replace("[embedding]", '[embedding]\nmode = "teacher"') + text)
    return path


def files_of(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(output.rglob("*.parquet"))}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[quality]\npreset = "c4"\n', ['quality.preset: "observe" for 304 rows; now "c4"']),
        ('[language]\nkeep = ["de"]\n', ["language.keep"]),
        ("[dedup.near]\nmin_similarity = 0.9\n", ["dedup.near.min_similarity"]),
        ("[output]\nholdout = 0.5\n[mixture]\nrho = 0.5\n", ["output.holdout", "mixture.rho"]),
        ('[input.fields]\ntext = "content"\n', ["input.fields.text"]),
    ],
)
def test_options_that_differ_are_named_with_both_values_and_the_way_to_decide_anew(
    curated: Curated, run: Run, tmp_path: Path, text: str, named: list[str]
) -> None:
    documents = curated.folder / "documents.jsonl"

    result = run("curate", documents, "-o", curated.output, "-c", config_with(tmp_path, text))

    assert result.exit_code == 0, result.output
    for each in named:
        assert each in result.stderr
    assert "new documents only" in result.stderr
    assert f"curatord curate --again {curated.output} -o NEW" in result.stderr


def test_options_that_do_not_decide_or_are_the_same_are_not_named(curated: Curated, run: Run, tmp_path: Path) -> None:
    documents = curated.folder / "documents.jsonl"
    assert run("retract", "doc-3", "-o", curated.output).exit_code == 0  # without the configuration
    for config in (curated.config, config_with(tmp_path, "[daemon]\npoll_documents = 7\nprocesses = 1\n")):
        result = run("curate", documents, "-o", curated.output, "-c", config)
        assert "new documents only" not in result.output + result.stderr


def test_deciding_again_equals_deciding_the_same_inputs_for_the_first_time(run: Run, tmp_path: Path) -> None:
    # In the order in which they were read, which is not that of their names.
    second, first = (
        write_documents(tmp_path / "a.jsonl", range(30, 50)),
        write_documents(tmp_path / "b.jsonl", range(40)),
    )
    with second.open("a") as file:
        file.write(json.dumps({"id": "near-copy", "text": text_of(8) + " more"}) + "\n")
    old, new, straight = tmp_path / "old", tmp_path / "new", tmp_path / "straight"
    plain, other = unlearned(tmp_path, name="plain.toml"), unlearned(tmp_path, "[dedup.near]\nenabled = false\n")
    assert run("curate", first, "-o", old, "-c", plain).exit_code == 0
    assert run("curate", second, "-o", old, "-c", plain).exit_code == 0
    assert run("curate", first, second, "-o", straight, "-c", other).exit_code == 0
    before = files_of(old)

    result = run("curate", "--again", old, "-o", new, "-c", other)

    assert result.exit_code == 0, result.output
    assert "new documents only" not in result.stderr
    assert files_of(new) == files_of(straight) != before
    assert files_of(old) == before
    # The same command again is the same output, and goes on as any other.
    assert run("curate", "--again", old, "-o", new, "-c", other).exit_code == 0
    assert files_of(new) == files_of(straight)
    assert run("curate", first, "-o", new, "-c", other, "--json").exit_code == 0
    assert check_output(new).problems == []


def test_what_was_taken_back_stays_away(run: Run, tmp_path: Path) -> None:
    config, old = unlearned(tmp_path), tmp_path / "old"
    documents = write_documents(tmp_path / "in.jsonl", range(12))
    assert run("curate", documents, "-o", old, "-c", config).exit_code == 0
    assert run("retract", "doc-3", "-o", old, "-c", config).exit_code == 0

    assert run("curate", "--again", old, "-o", tmp_path / "new", "-c", config).exit_code == 0

    assert "REJECTED, retracted" in run("explain", "doc-3", "-o", tmp_path / "new").output
    assert "emitted" in run("explain", "doc-4", "-o", tmp_path / "new").output


def test_inputs_that_changed_or_are_gone_are_named(run: Run, tmp_path: Path) -> None:
    config = unlearned(tmp_path)
    kept, changed, gone = (write_documents(tmp_path / f"{n}.jsonl", range(8 * n, 8 * n + 8)) for n in range(3))
    old = tmp_path / "old"
    assert run("curate", kept, changed, gone, "-o", old, "-c", config).exit_code == 0
    write_documents(changed, range(8, 20))

    result = run("curate", "--again", old, "-o", tmp_path / "new", "-c", config)
    assert result.exit_code == 0
    assert f"1 of 3 inputs changed since they were read into {old}" in result.stderr
    assert str(changed) in result.stderr

    gone.unlink()
    piped = json.dumps({"text": text_of(9000)}).encode()
    command = [sys.executable, "-m", "curatord", "curate", "-", "-o", str(old), "-c", str(config)]
    assert subprocess.run(command, input=piped, capture_output=True).returncode == 0
    result = run("curate", "--again", old, "-o", tmp_path / "newer", "-c", config)
    assert result.exit_code == 2
    assert str(gone) in result.output
    assert "standard input cannot be read again" in result.output
    assert str(kept) not in result.output
    assert "name the inputs yourself" in result.output


def test_the_new_output_must_be_new_and_the_inputs_are_those_of_the_old(
    curated: Curated, run: Run, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(curated.output, other)
    for arguments, words in (
        (["--again", curated.output, "-o", other], "holds something already"),
        (["--again", curated.output, "-o", curated.output], "give another --output"),
        (["--again", curated.output, "more.jsonl", "-o", tmp_path / "new"], "name no others"),
        (["--again", tmp_path / "nothing", "-o", tmp_path / "new"], "there is no state"),
        (["-o", tmp_path / "new"], "no input was given"),
    ):
        result = run("curate", *arguments, "-c", curated.config)
        assert result.exit_code == 2, result.output
        assert words in result.output
    assert os.path.realpath(curated.output) != os.path.realpath(other)
    store = Store(state_folder(other), read_only=True)
    assert store.get("meta", b"again") is None
    store.close()
