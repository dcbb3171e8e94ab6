"""Dead letters of an output folder."""

from __future__ import annotations

import json

from curatord.errors import UsageError
from tests.daemon.conftest import Curated, Run


def test_letters_of_a_folder_are_listed_and_shown(curated: Curated, run: Run) -> None:
    tree = json.loads(run("dead-letters", "list", "-o", curated.output, "--json").output)
    assert (tree["letters"], tree["by_reason"]) == (1, {"not_json": 1})
    (example,) = tree["newest"]["not_json"]
    assert example["source"] == str(curated.folder / "documents.jsonl")
    assert "not_json" in run("dead-letters", "list", "-o", curated.output).output

    shown = run("dead-letters", "show", example["place"], "-o", curated.output)
    assert "documents.jsonl:303" in shown.output
    assert '{"id": "broken"' in shown.output
    raw = run("dead-letters", "show", example["place"], "-o", curated.output, "--raw")
    assert raw.output_bytes == b'{"id": "broken"'
    assert "No dead letters" in run("dead-letters", "list", "-o", curated.output, "--reason", "too_deep").output


def test_a_place_without_a_letter_is_an_error_of_the_user(curated: Curated, run: Run) -> None:
    for place in ("7", "0:1", "x", "9" * 30):
        assert isinstance(run("dead-letters", "show", place, "-o", curated.output).exception, UsageError)
    assert isinstance(run("dead-letters", "list", "-o", curated.output, "--since", "soon").exception, UsageError)
