"""Another context length: which generation a folder has, and what its readers meet."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from curatord import PackedStream
from curatord.errors import GenerationEnded
from daemon.commands.inspect_output import check_output
from tests.daemon.conftest import CONFIG, Curated, Run, write_documents


def with_length(folder: Path, length: int) -> Path:
    """The configuration with another context length."""
    path = folder / f"{length}.toml"
    path.write_text(CONFIG.replace("context_length = 512", f"context_length = {length}"))
    return path


def manifest_of(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / ".curatord" / "manifest.json").read_text())
    return found


def read(output: Path, **options: Any) -> list[tuple[int, int, int]]:
    """(generation, context length, seq_no) of every sequence up to the end; fails where there is none."""
    found: list[tuple[int, int, int]] = []
    errors: list[BaseException] = []

    def take() -> None:
        try:
            found.extend((s.generation, s.context_length, s.seq_no) for s in PackedStream(output, **options))
        except BaseException as error:
            errors.append(error)

    reading = threading.Thread(target=take, daemon=True)
    reading.start()
    reading.join(20)
    assert not reading.is_alive(), "the reader waits"
    if errors:
        raise errors[0]
    return found


def test_another_length_without_new_input_leaves_the_folder_as_it_was(
    curated: Curated, run: Run, tmp_path: Path
) -> None:
    documents = curated.folder / "documents.jsonl"
    before, manifest = read(curated.output), manifest_of(curated.output)
    assert before
    for options in ([], ["--keep-open"]):
        for length in (1024, 2048, 512):
            config = with_length(tmp_path, length)
            result = run("curate", documents, "-o", curated.output, "-c", config, "--json", *options)
            assert result.exit_code == 0, result.output
            assert json.loads(result.stdout)["generations"] == [{"context_length": 512, "sequences": len(before)}]
            assert read(curated.output) == before
            assert manifest_of(curated.output) == manifest
    assert run("retract", "doc-3", "-o", curated.output).exit_code == 0
    assert read(curated.output) == before


def test_every_generation_ends_for_its_readers_and_names_the_next(curated: Curated, run: Run, tmp_path: Path) -> None:
    for first, length in ((1000, 1024), (2000, 512)):
        more = write_documents(tmp_path / f"{first}.jsonl", range(first, first + 100))
        config = with_length(tmp_path, length)
        result = run("curate", more, "-o", curated.output, "-c", config)
        assert result.exit_code == 0, result.output
    screen = result.output

    ends = {generation: found for generation, (found,) in manifest_of(curated.output)["ends"].items()}
    for generation, length in enumerate((512, 1024, 512)):
        end = ends[str(generation)]
        assert read(curated.output, generation=generation) == [(generation, length, seq_no) for seq_no in range(end)]
    assert read(curated.output) == read(curated.output, generation=2)
    for generation in (0, 1):
        for world in (1, 7):  # a step of 7 ranks is not left
            start = ends[str(generation)] - world + 1
            with pytest.raises(GenerationEnded, match="generation=2"):
                read(curated.output, generation=generation, start=start, rank=0, world=world)
    assert f"{ends['0']} of 512 tokens, then {ends['1']} of 1,024 tokens, then {ends['2']} of 512 tokens" in screen
    assert check_output(curated.output).problems == []


def test_what_is_held_for_a_length_begins_its_generation_only_with_a_sequence(
    curated: Curated, run: Run, tmp_path: Path
) -> None:
    before = read(curated.output)
    more = write_documents(tmp_path / "more.jsonl", range(1000, 1250))  # beyond a tick, less than a row
    longer = with_length(tmp_path, 1 << 17)
    assert run("curate", more, "-o", curated.output, "-c", longer, "--keep-open").exit_code == 0
    assert read(curated.output) == before

    refused = run("curate", more, "-o", curated.output, "-c", curated.config)
    assert refused.exit_code == 65
    assert "packing.context_length" in refused.output

    ids = [f"doc-{number}" for number in range(1000, 1250)]
    assert run("retract", *ids, "-o", curated.output).exit_code == 0
    # Nothing is held any more, and no row of the length ever went out.
    again = write_documents(tmp_path / "again.jsonl", range(3000, 3050))
    assert run("curate", again, "-o", curated.output, "-c", curated.config).exit_code == 0
    assert len(read(curated.output)) > len(before)
    assert {generation for generation, _, _ in read(curated.output)} == {0}


def test_a_run_without_a_sequence_ends_for_its_readers(run: Run, tmp_path: Path) -> None:
    (tmp_path / "nothing.jsonl").write_text('{"id": "a", "content": "the text is elsewhere"}\n')
    assert run("curate", tmp_path / "nothing.jsonl", "-o", tmp_path / "out").exit_code == 0

    assert read(tmp_path / "out") == []
