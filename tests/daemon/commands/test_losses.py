"""Losses: what a run loses without an error is said loudly, with a count, an example and what to set."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curatord import PackedStream
from daemon.commands.losses import RunLoss, losses
from state.outcomes import Reason, Stage
from state.tally import Tally
from tests.daemon.conftest import CONFIG, Run, text_of

PLACE = Path("out")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "c.toml"
    path.write_text(CONFIG)
    return path


def write_lines(path: Path, records: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def records(numbers: range, **fields: Any) -> list[dict[str, Any]]:
    return [{"text": text_of(number), **fields} for number in numbers]


def ids_of(output: Path) -> set[str]:
    return {
        doc_id
        for path in output.glob("train-*.parquet")
        for ids in pq.read_table(path).column("doc_ids").to_pylist()
        for doc_id in ids
    }


def kinds(found: tuple[RunLoss, ...]) -> list[str]:
    return [loss.kind for loss in found]


@pytest.mark.parametrize(
    ("tallies", "expected"),
    [
        ({"a": Tally(rows=100, dead=10, reason="no_text")}, []),
        ({"a": Tally(rows=100, dead=11, reason="no_text")}, ["unreadable"]),
        ({"a": Tally(rows=100, dead=1, reason="damaged_file")}, ["unreadable"]),
        (
            {"a": Tally(rows=2, dead=2, reason="no_text"), "b": Tally(rows=9, dead=9, reason="not_json")},
            ["unreadable"] * 2,
        ),
        ({"a": Tally()}, ["empty"]),
        ({"a": Tally(rows=9, lost_ids=1)}, ["lost_ids"]),
        ({"a": Tally(rows=99, lost_ids=1)}, []),
        ({"a": Tally(rows=99), "b": Tally(rows=99, replaced=1, replaced_input="a")}, ["replaced"]),
        ({"b": Tally(rows=99, replaced=1, replaced_input="of an earlier run")}, []),
        ({"b": Tally(rows=99, replaced=10, replaced_input="of an earlier run")}, ["replaced"]),
    ],
)
def test_a_file_is_warned_of_when_more_than_a_tenth_of_it_is_lost(
    tallies: dict[str, Tally], expected: list[str]
) -> None:
    assert kinds(losses(tallies, {}, [], PLACE)) == expected


def test_a_source_is_warned_of_when_one_stage_rejects_most_of_it() -> None:
    sources = {
        "web": {"": 100, "exact_dedup": 51, "quality": 10},
        "wiki": {"": 100, "exact_dedup": 50, "near_dedup": 50},
        "few": {"": 9, "quality": 9},
        "held": {"": 100, "holdout": 90},
    }
    (loss,) = losses({}, sources, [], PLACE)
    assert loss.what == "source 'web': 51 of 100 documents were rejected by exact_dedup"
    assert "[dedup.exact]" in loss.remedy


def test_a_source_that_quality_empties_gets_a_way_out_for_each_of_its_reasons() -> None:
    (loss,) = losses({}, {"web": {"": 100, "quality": 90}}, [], PLACE)
    ways_out = {"language": "[language] keep", "score": "head without min and max"}
    for reason in Reason:
        if reason.stage is Stage.QUALITY:
            assert ways_out[reason.split("_")[0]] in loss.remedy, reason
    assert 'preset = "observe"' in loss.remedy


def test_a_run_without_a_readable_row_says_why_ends_its_readers_and_reads_again_when_repaired(
    run: Run, tmp_path: Path, config: Path
) -> None:
    documents = write_lines(tmp_path / "in.jsonl", [{"content": text_of(number)} for number in range(12)])
    output = tmp_path / "out"

    first = run("curate", documents, "-o", output, "-c", config)

    assert first.exit_code == 0
    assert f"WARNING  {documents}: all 12 rows could not be read (no_text)" in first.output
    assert "the fields are 'content'. Another name for it: [input.fields] text" in first.output
    assert f"curatord dead-letters list -o {output}" in first.output
    assert "train on it" not in first.output
    assert list(PackedStream(output)) == []

    again = run("curate", documents, "-o", output, "-c", config, "--strict")
    assert again.exit_code == 1
    assert "all 12 rows could not be read" in again.output

    config.write_text(CONFIG + '\n[input.fields]\ntext = "content"\n')
    repaired = run("curate", documents, "-o", output, "-c", config, "--strict")
    assert repaired.exit_code == 0, repaired.output
    assert "unreadable" not in repaired.output
    assert "did not change" not in repaired.output
    assert "WARNING" not in repaired.output
    assert len(ids_of(output)) == 12
    assert "No dead letters" in run("dead-letters", "list", "-o", output).output
    assert "did not change" in run("curate", documents, "-o", output, "-c", config).output
    assert run("inspect", "state", "-o", output).exit_code == 0


def test_what_one_file_of_a_folder_cannot_give_costs_no_other(run: Run, tmp_path: Path, config: Path) -> None:
    folder = tmp_path / "in"
    write_lines(folder / "good.jsonl", records(range(8)))
    pq.write_table(pa.table({"text": [text_of(99)]}), folder / "good.parquet")
    whole = (folder / "good.parquet").read_bytes()
    (folder / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.parquet").write_bytes(b"")
    (folder / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    packed = gzip.compress("".join(json.dumps(one) + "\n" for one in records(range(20, 60))).encode())
    (folder / "cut.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    for name in ("a.py", "b.py", "c.pdf", "README", "d.svg.gz"):
        (folder / name).write_text("x")

    result = run("curate", folder, "-o", tmp_path / "out", "-c", config)

    assert result.exit_code == 0, result.output
    assert "2 .py" in result.output
    assert "1 .svg.gz" in result.output
    assert "gone.jsonl: No such file" in result.output
    assert "cut.parquet" in result.output
    assert "and what follows the last one is lost (damaged_file)" in result.output
    assert len(ids_of(tmp_path / "out")) > 9

    strict = run("curate", folder, "-o", tmp_path / "strict", "-c", config, "--strict")
    assert strict.exit_code == 2
    assert "gone.jsonl" in strict.output
    assert not list((tmp_path / "strict").glob("train*"))


def test_a_packed_file_is_named_by_its_whole_ending(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.svg.gz").write_bytes(b"x")
    assert "files ending in .svg.gz are not read" in run("curate", tmp_path / "a.svg.gz", "-o", tmp_path / "o").output


def test_ids_that_begin_anew_in_every_file_are_said_and_can_be_made_unique(
    run: Run, tmp_path: Path, config: Path
) -> None:
    for shard in range(3):
        texts = [text_of(shard * 10 + number) for number in range(10)]
        write_lines(
            tmp_path / "in" / f"{shard}.jsonl", [{"id": number, "text": text} for number, text in enumerate(texts)]
        )

    result = run("curate", tmp_path / "in", "-o", tmp_path / "global", "-c", config, "--strict")

    assert result.exit_code == 1
    assert "20 documents of one input replaced those of another" in result.output
    assert '[input] id_scope = "input"' in result.output
    assert "1.jsonl replaced that of" in result.output or "2.jsonl replaced that of" in result.output

    config.write_text(CONFIG + '\n[input]\nid_scope = "input"\n')
    apart = run("curate", tmp_path / "in", "-o", tmp_path / "apart", "-c", config, "--strict")
    assert apart.exit_code == 0, apart.output
    assert len(ids_of(tmp_path / "apart")) == 30
    assert f"{tmp_path}/in/2.jsonl#7" in ids_of(tmp_path / "apart")
    refused = run("curate", tmp_path / "in", "-o", tmp_path / "global", "-c", config)
    assert refused.exit_code == 65
    assert "input.id_scope: it was made with global, now it is input" in refused.output


def test_new_versions_in_a_later_run_are_no_reason_to_warn(run: Run, tmp_path: Path, config: Path) -> None:
    output = tmp_path / "out"
    first = write_lines(tmp_path / "a.jsonl", [{"id": number, "text": text_of(number)} for number in range(30)])
    later = write_lines(
        tmp_path / "b.jsonl", [{"id": number, "text": text_of(number + 500)} for number in range(29, 60)]
    )
    assert run("curate", first, "-o", output, "-c", config).exit_code == 0
    assert run("curate", later, "-o", output, "-c", config, "--strict").exit_code == 0


def test_placeholders_are_no_addresses_and_cost_no_document(run: Run, tmp_path: Path, config: Path) -> None:
    lines = [one | {"url": ("N/A", "None", "about:blank")[number % 3]} for number, one in enumerate(records(range(12)))]
    output = tmp_path / "out"
    assert (
        run("curate", write_lines(tmp_path / "a.jsonl", lines), "-o", output, "-c", config, "--strict").exit_code == 0
    )
    assert len(ids_of(output)) == 12


def test_a_saved_dataset_is_read_by_its_rows(run: Run, tmp_path: Path, config: Path) -> None:
    import datasets

    def part(first: int) -> datasets.Dataset:
        numbers = range(first, first + 8)
        return datasets.Dataset.from_dict({"id": [str(n) for n in numbers], "text": [text_of(n) for n in numbers]})

    part(0).save_to_disk(tmp_path / "one")
    datasets.DatasetDict(train=part(100), test=part(200)).save_to_disk(tmp_path / "two")
    shutil.copy(tmp_path / "one" / "data-00000-of-00001.arrow", tmp_path / "one" / "cache-0123.arrow")

    result = run("curate", tmp_path / "one", tmp_path / "two", "-o", tmp_path / "out", "-c", config, "--strict")

    assert result.exit_code == 0, result.output
    assert ids_of(tmp_path / "out") == {str(first + n) for first in (0, 100, 200) for n in range(8)}


def test_a_foreign_shard_in_the_output_folder_is_refused_and_found(run: Run, tmp_path: Path, config: Path) -> None:
    output = tmp_path / "out"
    documents = write_lines(tmp_path / "a.jsonl", records(range(12)))
    assert run("curate", documents, "-o", output, "-c", config).exit_code == 0
    pq.write_table(pa.table({"text": ["a"]}), output / "train-00000-of-00001.parquet")

    refused = run("curate", documents, "-o", output, "-c", config)
    assert refused.exit_code == 2
    assert "train-00000-of-00001.parquet" in refused.output
    inspected = run("inspect", "output", "-o", output)
    assert inspected.exit_code == 1
    assert "train-00000-of-00001.parquet: no shard of curatord" in inspected.output
