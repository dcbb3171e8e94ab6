"""`quality fit`, and what `explain` tells of the scores, the target and the rewards of a document."""

from __future__ import annotations

import json
import random
from pathlib import Path

from click.testing import CliRunner

from curatord.errors import UsageError
from daemon.cli import cli

TOPICS = [[f"{kind}{i}" for i in range(60)] for kind in ("law", "web", "code")]


def write(path: Path, rows: list[tuple[str, str]]) -> str:
    path.write_text(
        "".join(json.dumps({"id": f"{path.stem}{i}", "text": t, "source": s}) + "\n" for i, (t, s) in enumerate(rows))
    )
    return str(path)


def texts(topic: int, number: int, seed: int) -> list[tuple[str, str]]:
    rng = random.Random(seed)
    return [(" ".join(rng.choices(TOPICS[topic], k=rng.randint(30, 80))), f"source{topic}") for _ in range(number)]


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_head_is_fitted_used_and_explained(tmp_path: Path) -> None:
    good, bad = write(tmp_path / "good.jsonl", texts(0, 60, 1)), write(tmp_path / "bad.jsonl", texts(1, 60, 2))
    head = tmp_path / "law.head"
    arguments = ("quality", "fit", "--good", good, "--bad", bad, "--name", "law", "-o", str(head))
    report = json.loads(invoke(*arguments, "--json"))
    assert report["auc"] > 0.99
    assert "file =" in invoke(*arguments)

    stream = [*texts(0, 300, 3), *texts(1, 300, 4), *texts(2, 300, 5)]
    random.Random(0).shuffle(stream)
    config, sample = tmp_path / "curatord.toml", write(tmp_path / "sample.jsonl", stream[:250])
    config.write_text(
        f'[target]\nfiles = ["{good}"]\nagainst = ["{sample}"]\nkeep_ratio = 0.6\n'
        f'[quality.heads.law]\nfile = "{head}"\n[packing]\nmode = "best_fit"\n'
        '[dedup.near]\nenabled = false\n[tokenizer]\nname = "tekken"\n'
    )
    output = tmp_path / "out"
    invoke("curate", write(tmp_path / "doc.jsonl", stream), "-o", str(output), "-c", str(config))
    kept = {source: [0, 0] for _, source in stream}
    for number in range(0, 900, 30):
        (story,) = json.loads(invoke("explain", f"doc{number}", "-o", str(output), "--json"))
        source = story["verdict"]["source"]
        assert (story["scores"]["law"] > 0.5) == (source == "source0") or source == "source2"
        is_kept = story["target"]["key"] >= story["target"]["threshold"]
        assert is_kept == bool(story["placements"] or story["held"])
        kept[source][is_kept] += 1
    shown = invoke("explain", "doc1", "-o", str(output))
    assert "scores      target" in shown
    assert "against a threshold of" in shown
    assert kept["source0"][1] > kept["source1"][1]


def test_what_cannot_be_fitted_is_refused(tmp_path: Path) -> None:
    few = write(tmp_path / "few.jsonl", texts(0, 5, 1))
    result = CliRunner().invoke(cli, ["quality", "fit", "--good", few, "--bad", few])
    assert "5 good and 5 bad documents were read" in str(result.exception)
    result = CliRunner().invoke(cli, ["quality", "fit", "--good", few, "--bad", few, "--name", "No name"])
    assert "a head is called by" in str(result.exception)


def test_a_file_that_cannot_be_written_is_refused_with_a_way_out(tmp_path: Path) -> None:
    good, bad = write(tmp_path / "good.jsonl", texts(0, 60, 1)), write(tmp_path / "bad.jsonl", texts(1, 60, 2))
    for output, problem in (
        (tmp_path / "missing" / "a.head", "there is no folder"),
        (Path("/dev/full"), "cannot be written (No space left on device)"),
    ):
        result = CliRunner().invoke(cli, ["quality", "fit", "--good", good, "--bad", bad, "-o", str(output)])
        assert isinstance(result.exception, UsageError)
        assert problem in str(result.exception)
        assert "name a" in str(result.exception)


def test_a_head_of_equal_files_is_said_to_be_worth_little(tmp_path: Path) -> None:
    rows = texts(0, 60, 1)
    good, bad = write(tmp_path / "good.jsonl", rows), write(tmp_path / "bad.jsonl", rows)
    arguments = ("quality", "fit", "--good", good, "--bad", bad, "-o", str(tmp_path / "no.head"))
    assert json.loads(invoke(*arguments, "--json"))["calibration_error"] < 0.25
    assert "hardly tells good from bad" in invoke(*arguments)
