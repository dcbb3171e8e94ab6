"""A run with `[mask]`: not one byte of what was planted is left anywhere, and nothing hangs on how it was run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from state.common_facts import RETRACTED
from state.segments import read_segments
from state.store import Store, state_folder
from tests.daemon.conftest import CONFIG, Run, text_of
from tests.planted import PIECES, broken, contents, pieces_in, planted

MASKED = CONFIG + '[output]\nholdout = 0.2\n[mask]\nenabled = true\nphone = "pseudonym"\nkey_file = "{key}"\n'
NUM_DOCUMENTS = 150


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masked")
    (folder / "mask.key").write_text("0123456789abcdef0123456789abcdef")
    config = MASKED.format(key=folder / "mask.key")
    (folder / "curatord.toml").write_text(config)
    (folder / "other.toml").write_text(config + "[daemon]\npoll_documents = 7\nepoch_documents = 40\n")
    (folder / "workers.toml").write_text(config + "[daemon]\nprocesses = 1\n")
    lines: list[bytes] = []
    for number in range(NUM_DOCUMENTS):
        lines.append(json.dumps(planted(number, text_of(number).split())).encode())
        if number % 10 == 0:
            lines += [broken(number), json.dumps(planted(number, text_of(number).split())).encode()]
            lines.append(json.dumps({**planted(number, text_of(number).split()), "id": f"copy-{number}"}).encode())
    (folder / "in.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return folder


def shards(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in sorted(output.rglob("*.parquet"))}


def test_nothing_that_was_planted_is_in_any_file_fact_or_screen(folder: Path, run: Run) -> None:
    raw = (folder / "in.jsonl").read_bytes()
    assert all(piece in raw for piece in PIECES if b"BEGIN" not in piece)
    output, config = folder / "out", folder / "curatord.toml"
    verdicts = folder / "verdicts"
    curated = run("curate", folder / "in.jsonl", "-o", output, "-c", config, "--verdicts", verdicts)
    assert curated.exit_code == 0
    told = curated.output
    told += run("dead-letters", "list", "-o", output).output
    told += run("inspect", "dropped", "-o", output).output
    told += run("inspect", "state", "-o", output).output

    places = {**dict(contents(output)), **dict(contents(verdicts))}
    assert {where: pieces_in(what) for where, what in places.items() if pieces_in(what)} == {}
    assert pieces_in(told.encode()) == []
    everything = b"".join(places.values())
    marks = (b"<EMAIL>", b"<EMAIL-", b"<PHONE-", b"<SECRET>", b"<IBAN>", b"<CARD>", b"<IP>")
    assert [mark for mark in marks if mark not in everything] == []
    assert sum("decoded" in where for where in places) > 3
    assert sum(where.startswith("documents ") for where in places) >= 1
    assert list((output / "holdout").glob("*"))


def test_explain_names_the_edits_and_not_what_they_hid(folder: Path, run: Run) -> None:
    output = folder / "explained"
    run("curate", folder / "in.jsonl", "-o", output, "-c", folder / "curatord.toml")
    store = Store(state_folder(output), read_only=True)
    (near,) = {name for segment in read_segments(store) for name in segment.ids if name.endswith("/7")}
    store.close()

    told = run("explain", near, "-o", output).output

    assert pieces_in(told.encode()) == []
    assert "  mask        text: " in told
    assert "url: 1 email" in told
    assert "id: 1 " in told


def test_a_document_is_retracted_by_the_id_that_its_producer_knows(folder: Path, run: Run) -> None:
    output, config = folder / "retracted", folder / "curatord.toml"
    run("curate", folder / "in.jsonl", "-o", output, "-c", config)
    doc_id = planted(8, [])["id"]

    told = run("retract", doc_id, "-o", output, "-c", config).output

    assert pieces_in(doc_id.encode())
    assert pieces_in(told.encode()) == []
    assert "/8" in told
    assert "never read" not in told
    store = Store(state_folder(output), read_only=True)
    assert list(RETRACTED.items(store))
    store.close()
    assert {where: what for where, what in contents(output) if pieces_in(what)} == {}


def test_neither_batches_nor_commits_nor_workers_nor_a_second_run_change_a_byte(folder: Path, run: Run) -> None:
    for name in ("curatord", "other", "workers"):
        assert run("curate", folder / "in.jsonl", "-o", folder / name, "-c", folder / f"{name}.toml").exit_code == 0
    path = folder / "in.jsonl"
    assert run("prepare", path, "-o", folder / "rows", "-c", folder / "curatord.toml").exit_code == 0
    assert run("curate", folder / "rows", "-o", folder / "prepared", "-c", folder / "curatord.toml").exit_code == 0

    expected = shards(folder / "curatord")
    assert len(expected) >= 2
    assert shards(folder / "other") == shards(folder / "workers") == shards(folder / "prepared") == expected
    assert {where: what for where, what in contents(folder / "rows") if pieces_in(what)} == {}
