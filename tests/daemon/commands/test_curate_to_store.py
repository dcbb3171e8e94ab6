"""`curatord curate --output s3://...`: the same shards as in a folder, the state beside, and stores that fail."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from curatord.object_store import ObjectStore
from curatord.stream import PackedStream
from tests.daemon.conftest import Curated, Run, write_documents
from tests.object_store_server import BUCKET, FaultyStore, store_server


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyStore]:
    with store_server() as server:
        yield server


@pytest.fixture
def url(server: FaultyStore, request: pytest.FixtureRequest) -> str:
    return f"s3://{BUCKET}/{request.node.name}"


def stored(url: str) -> dict[str, bytes | None]:
    store = ObjectStore(url)
    return {name: store.read(name) for name in sorted(store.sizes()) if name.startswith("train-")}


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("train-*.parquet"))}


def test_the_shards_are_those_of_a_folder_and_every_command_finds_its_place(
    curated: Curated, run: Run, url: str, tmp_path: Path
) -> None:
    state, documents = tmp_path / "state", curated.folder / "documents.jsonl"

    result = run("curate", documents, "-o", url, "--state", state, "-c", curated.config)

    assert result.exit_code == 0, result.output
    assert f"curatord.PackedStream('{url}')" in result.output
    assert stored(url) == shards(curated.output)
    assert not shards(state)
    assert run("inspect", "output", "-o", url).exit_code == 0
    assert "doc-5" in run("explain", "copy", "-o", state).output
    with PackedStream(url) as there, PackedStream(curated.output) as here:
        assert [s.tokens_T.tolist() for s in there] == [s.tokens_T.tolist() for s in here]

    more = write_documents(curated.folder / "more.jsonl", range(300, 420))
    assert run("curate", more, "-o", url, "--state", state, "-c", curated.config).exit_code == 0
    assert run("curate", more, "-o", curated.output, "-c", curated.config).exit_code == 0
    assert run("retract", "doc-301", "-o", state, "-c", curated.config).exit_code == 0
    assert stored(url) == shards(curated.output)


def test_a_store_that_fails_ends_the_run_and_the_same_command_goes_on(
    curated: Curated, run: Run, url: str, server: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curatord.object_store.FIRST_WAIT_S", 0.0)
    monkeypatch.setattr("curatord.object_store.TRIES", 1)
    documents = curated.folder / "documents.jsonl"
    command = ("curate", documents, "-o", url, "--state", tmp_path / "state", "-c", curated.config)
    for writes in range(3):  # the first manifest, then one shard more of what waits
        server.writes_left = writes
        failed = run(*command)
        server.writes_left = math.inf
        assert failed.exit_code == 69, failed.output
        assert f"the object store does not write {url}" in failed.output

    assert run(*command).exit_code == 0
    assert stored(url) == shards(curated.output)


def test_a_state_belongs_to_one_place(curated: Curated, run: Run, url: str, tmp_path: Path) -> None:
    documents = curated.folder / "documents.jsonl"

    foreign = run("curate", documents, "-o", url, "--state", curated.output, "-c", curated.config)
    assert foreign.exit_code == 2
    assert "is an output of its own" in foreign.output

    state = tmp_path / "state"
    assert run("curate", documents, "-o", url, "--state", state, "-c", curated.config).exit_code == 0
    other = run("curate", documents, "-o", url + "-other", "--state", state, "-c", curated.config)
    assert other.exit_code == 2
    assert f"belongs to --output {url}" in other.output


def test_a_url_needs_a_state_and_a_folder_none(curated: Curated, run: Run, url: str) -> None:
    for arguments in (("-o", url), ("-o", curated.output, "--state", curated.folder / "x")):
        result = run("curate", curated.folder / "documents.jsonl", *arguments)
        assert result.exit_code == 2
        assert "needs --state DIR" in result.output
