"""The receipt of a retraction: every sequence and file that has the text still, and a log that outlives a kill."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from daemon.commands.receipt import LOG, read_receipts
from state.store import STATE_FOLDER
from tests.daemon.conftest import CONFIG, Curated, Run, write_documents


def log_of(output: Path) -> Path:
    return output / STATE_FOLDER / LOG


def test_it_names_every_sequence_that_has_a_piece(curated: Curated, run: Run) -> None:
    result = run("retract", "doc-3", "long", "never-seen", "-o", curated.output, "-c", curated.config, "--json")

    receipt = json.loads(result.stdout)
    holding: dict[str, set[int]] = {"doc-3": set(), "long": set(), "never-seen": set()}
    for path in curated.output.glob("train-*.parquet"):
        for row in pq.read_table(path).to_pylist():
            for doc_id in holding.keys() & set(row["doc_ids"]):
                holding[doc_id].add(row["seq_no"])
    told = {
        document["id"]: {piece["seq_no"] for version in document["versions"] for piece in version["emitted"]}
        for document in receipt["documents"]
    }
    assert told == holding
    assert len(told["long"]) > 1
    assert receipt["sequences"] == {"0": sorted(set.union(*holding.values()))}
    assert [len(document["versions"]) for document in receipt["documents"]] == [1, 1, 0]
    assert receipt["documents"][0]["versions"][0]["taken_back"] == "retracted"


def test_ids_come_from_a_file_and_the_text_says_what_a_trainer_must_know(curated: Curated, run: Run) -> None:
    listed = curated.folder / "ids.txt"
    listed.write_text("doc-7\n\ncopy\nwith blank and é\n")

    result = run("retract", "doc-3", "--from", listed, "-o", curated.output, "-c", curated.config)

    assert result.exit_code == 0, result.output
    for told in ("doc-3: taken back, but", "doc-7: taken back, but", "with blank and é: never read", "stream.skip"):
        assert told in result.output
    assert f"Receipt 1 is in {log_of(curated.output)}" in result.output
    (receipt,) = read_receipts(log_of(curated.output))
    copy = receipt.documents[2]
    decided = copy.versions[0]
    assert (copy.id, decided.decision, decided.taken_back) == ("copy", "exact_dedup same_text", "retracted")


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe\n"])
def test_a_list_that_cannot_be_used_is_refused(curated: Curated, run: Run, content: bytes) -> None:
    (curated.folder / "ids.txt").write_bytes(content)

    result = run("retract", "--from", curated.folder / "ids.txt", "-o", curated.output)

    assert result.exit_code == 2
    assert "ids.txt" in result.output


def test_no_id_at_all_is_refused(curated: Curated, run: Run) -> None:
    result = run("retract", "-o", curated.output)

    assert result.exit_code == 2
    assert "--from" in result.output


def test_a_line_that_a_kill_cut_short_costs_no_other_receipt(curated: Curated, run: Run) -> None:
    for doc_id in ("doc-3", "doc-4"):
        assert run("retract", doc_id, "-o", curated.output, "-c", curated.config).exit_code == 0
        with log_of(curated.output).open("ab") as file:
            file.write(b'{"number": 9, "made_at')

    numbers = [(receipt.number, receipt.documents[0].id) for receipt in read_receipts(log_of(curated.output))]
    assert numbers == [(1, "doc-3"), (2, "doc-4")]


def test_held_out_documents_are_named_with_their_file(run: Run, tmp_path: Path) -> None:
    config, output = tmp_path / "c.toml", tmp_path / "output"
    config.write_text(CONFIG + "\n[output]\nholdout = 0.5\n")
    documents = write_documents(tmp_path / "a.jsonl", range(40))
    assert run("curate", documents, "-o", output, "-c", config).exit_code == 0
    (shard,) = (output / "holdout").glob("*.parquet")
    doc_id = pq.read_table(shard).column("id")[0].as_py()

    result = run("retract", doc_id, "-o", output, "-c", config)

    assert f"its text is in holdout/{shard.name} still" in result.output
