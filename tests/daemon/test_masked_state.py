"""Commands over a masked output: texts are compared masked alike, and nothing is looked for without the key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon.commands.receipt import LOG
from state.store import STATE_FOLDER
from tests.daemon.conftest import CONFIG, Run

PEOPLE = " ".join(f"Write to person{n}@corp-hidden.com about matter {n} of the list." for n in range(8))
TEXTS = {"plain": "Nothing of anyone is told here, and it goes on like this for a while, as texts do."}
RAW_ID = "zanzibar@corp-hidden.com"


@pytest.fixture
def masked(tmp_path: Path, run: Run) -> Path:
    """A configuration with a mask and an output that was made with it."""
    (tmp_path / "mask.key").write_text("0123456789abcdef0123456789abcdef")
    (tmp_path / "c.toml").write_text(f'{CONFIG}\n[mask]\nenabled = true\nkey_file = "{tmp_path / "mask.key"}"\n')
    rows = [{"id": RAW_ID, "text": PEOPLE}, *({"id": name, "text": text} for name, text in TEXTS.items())]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = run("curate", tmp_path / "a.jsonl", "-o", tmp_path / "out", "-c", tmp_path / "c.toml")
    assert result.exit_code == 0, result.output
    return tmp_path


@pytest.mark.parametrize("command", ["retract", "find"])
def test_without_the_mask_nothing_is_looked_for_and_nothing_written(masked: Path, run: Run, command: str) -> None:
    arguments = [RAW_ID] if command == "retract" else [masked / "a.jsonl", "--field", "text"]

    result = run(command, *arguments, "-o", masked / "out")

    assert result.exit_code == 78, result.output
    assert "masked" in result.output
    assert "--config" in result.output
    assert not (masked / "out" / STATE_FOLDER / LOG).exists()


def test_with_the_mask_the_producers_id_and_text_are_found(masked: Path, run: Run) -> None:
    found = run("find", masked / "a.jsonl", "--field", "text", "-o", masked / "out", "-c", masked / "c.toml", "--json")
    assert found.exit_code == 0, found.output
    assert len({hit["document"] for hit in json.loads(found.output)}) == 2

    retracted = run("retract", RAW_ID, "-o", masked / "out", "-c", masked / "c.toml")
    assert "taken back, but it had been emitted" in retracted.output
    assert b"corp-hidden" not in (masked / "out" / STATE_FOLDER / LOG).read_bytes()


def test_questions_of_evaluation_sets_are_masked_as_documents_are(masked: Path, run: Run) -> None:
    (masked / "sets.jsonl").write_text(json.dumps({"question": PEOPLE}))
    config = masked / "both.toml"
    config.write_text((masked / "c.toml").read_text() + f'[decontaminate]\nfiles = ["{masked / "sets.jsonl"}"]\n')

    result = run("curate", masked / "a.jsonl", "-o", masked / "new", "-c", config, "--json")

    assert json.loads(result.stdout)["ledger"]["rejections"]["decontaminate contaminated"] == 1


def test_explain_says_that_ids_are_masked(masked: Path, run: Run) -> None:
    result = run("explain", RAW_ID, "-o", masked / "out")

    assert result.exit_code == 2
    assert "pseudonyms" in result.output
