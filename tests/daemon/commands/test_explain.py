"""`explain` tells what decided: the bandit, the target alone, or nothing, and the share of the cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.daemon.conftest import CONFIG, Run, text_of, write_documents


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    return write_documents(tmp_path / "documents.jsonl", range(200))


def _explained(run: Run, documents: Path, options: str) -> tuple[str, dict[str, object]]:
    """The page and the JSON of a document that went out."""
    config, output = documents.with_name("curatord.toml"), documents.with_name("output")
    config.write_text(CONFIG + options)
    assert run("curate", documents, "-o", output, "-c", config).exit_code == 0
    for number in range(100, 200):
        (story,) = json.loads(run("explain", f"doc-{number}", "-o", output, "--json").output)
        if story["placements"]:
            return run("explain", f"doc-{number}", "-o", output).output, story
    raise AssertionError("no document went out")


def test_where_every_document_goes_on_no_policy_is_told_of(run: Run, documents: Path) -> None:
    shown, story = _explained(run, documents, "")
    assert "sample" not in shown
    assert "mixture" not in shown
    assert (story["is_sampled"], story["balance"]) == (False, None)


def test_what_a_target_alone_let_through_is_told_so(run: Run, documents: Path, tmp_path: Path) -> None:
    wanted = tmp_path / "wanted.jsonl"
    wanted.write_text("".join(json.dumps({"text": text_of(4 * n)}) + "\n" for n in range(1000, 1040)))
    target = f'[target]\nfiles = ["{wanted}"]\nagainst = ["{documents}"]\nkeep_ratio = 0.7\n'
    shown, _ = _explained(run, documents, target)
    assert "by the target alone" in shown
    assert "policy" not in shown


def test_the_likeness_by_vectors_that_decided_is_told(run: Run, documents: Path, tmp_path: Path) -> None:
    wanted = tmp_path / "wanted.jsonl"
    wanted.write_text("".join(json.dumps({"text": text_of(4 * n)}) + "\n" for n in range(1000, 1040)))
    target = f'[target]\nby = "similarity"\nfiles = ["{wanted}"]\nagainst = ["{documents}"]\nkeep_ratio = 0.7\n'
    shown, story = _explained(run, documents, target)
    assert "by the target alone" in shown
    assert isinstance(story["scores"], dict)
    aimed = story["target"]
    assert isinstance(aimed, dict)
    assert aimed["key"] >= aimed["threshold"]
    assert f"target {story['scores']['target']:.3g}" in shown


def test_a_bandit_tells_its_policy_and_the_weights_of_its_rewards(run: Run, documents: Path) -> None:
    shown, _ = _explained(run, documents, '[bandit]\nenabled = true\nkeep_ratio = 0.9\nreward = ["rules"]\n')
    assert "by policy" in shown
    assert "rules 100%" in shown


def test_a_mixture_tells_the_share_of_the_cluster(run: Run, documents: Path) -> None:
    shown, story = _explained(run, documents, '[mixture]\nrho = 0.5\nweights = {"source-0" = 3.0}\n')
    assert "its cluster is to have" in shown
    balance = story["balance"]
    assert isinstance(balance, dict)
    assert 0 < balance["natural"] < 1
    assert 0 < balance["share"] < 1
