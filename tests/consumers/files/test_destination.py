"""A file is put whole, on this disk, on another one, and on an object store."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.files.destination import Destination, LocalDestination, open_destination
from tests.object_store_server import BUCKET, store_server

SHARD = "train-000-0000000000-0000000009.parquet"


@pytest.fixture(scope="module")
def _server() -> Iterator[None]:
    with store_server():
        yield


@pytest.fixture(params=["folder", "store"])
def destination(request: pytest.FixtureRequest, tmp_path: Path, _server: None) -> Destination:
    name = str(tmp_path / "output") if request.param == "folder" else f"s3://{BUCKET}/{request.node.name}"
    return open_destination(name)


def test_what_was_put_is_there_and_a_second_time_changes_nothing(destination: Destination, tmp_path: Path) -> None:
    assert destination.shards() == []
    assert destination.read(".curatord/manifest.json") is None

    for _ in range(2):
        for name in (SHARD, "holdout/holdout-0000000000.parquet", ".curatord/manifest.json"):
            (tmp_path / "file").write_bytes(b"content")
            destination.put(tmp_path / "file", name)
            assert not (tmp_path / "file").exists()
    destination.sync()

    assert destination.shards() == [SHARD]
    assert destination.read(".curatord/manifest.json") == b"content"


def test_a_file_goes_whole_to_another_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace

    def on_another_disk(path: Path, target: Path) -> Path:
        if path.name == "file":
            raise OSError(errno.EXDEV, "another disk")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", on_another_disk)
    (tmp_path / "file").write_bytes(b"content")

    LocalDestination(tmp_path / "output").put(tmp_path / "file", SHARD)

    assert [path.name for path in (tmp_path / "output").iterdir()] == [SHARD]
    assert (tmp_path / "output" / SHARD).read_bytes() == b"content"
