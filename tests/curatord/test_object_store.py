"""Objects are there whole or not, faults of the store are tried again, and what is refused says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from curatord import object_store
from curatord.errors import StoreUnavailable, StreamError
from curatord.object_store import ObjectStore, is_url
from tests.object_store_server import BUCKET, FaultyStore, store_server


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyStore]:
    with store_server() as server:
        yield server


def test_what_was_put_is_listed_read_and_copied(server: FaultyStore, tmp_path: Path) -> None:
    store, file = ObjectStore(f"s3://{BUCKET}/first/"), tmp_path / "file"
    file.write_bytes(b"content")

    assert store.sizes() == {}
    assert store.read("a/b") is None
    store.put(file, "a/b")
    store.put(file, "c")

    assert store.sizes() == {"c": 7}
    assert store.sizes("a") == {"b": 7}
    assert store.read("a/b") == b"content"
    store.get("c", tmp_path / "copy", 7)
    assert (tmp_path / "copy").read_bytes() == b"content"


def test_another_process_sees_what_was_put(server: FaultyStore, tmp_path: Path) -> None:
    first, second = (ObjectStore(f"s3://{BUCKET}/second") for _ in range(2))
    (tmp_path / "file").write_bytes(b"x")
    assert second.sizes() == {}

    first.put(tmp_path / "file", "file")

    assert second.sizes() == {"file": 1}


def test_faults_are_tried_again(server: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(object_store, "TRIES", 20)  # five faults in a row come once in fifty runs
    store, file = ObjectStore(f"s3://{BUCKET}/tried"), tmp_path / "file"
    file.write_bytes(bytes(100_000))
    server.share, server.seen = 0.3, 0
    try:
        for number in range(10):
            store.put(file, str(number))
            store.get(str(number), tmp_path / "copy", 100_000)
            assert (tmp_path / "copy").read_bytes() == bytes(100_000)
        assert len(store.sizes()) == 10
    finally:
        server.share = 0.0
    assert server.seen > 5


def test_a_store_that_is_down_is_told_with_what_was_wanted(
    server: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "TRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")

    with pytest.raises(StoreUnavailable, match=r"read s3://bucket/x/name: .*credentials"):
        ObjectStore("s3://bucket/x").read("name")


def test_a_bucket_that_is_not_there_is_told_of_at_once(server: FaultyStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")

    with pytest.raises(StoreUnavailable, match="write s3://nowhere/x/file"):
        ObjectStore("s3://nowhere/x").put(tmp_path / "file", "file")


@pytest.mark.parametrize("url", ["nothing://bucket/x", "s4://bucket"])
def test_an_unknown_protocol_is_refused(url: str) -> None:
    with pytest.raises(StreamError, match="give kafka://host:9092/topic, a folder, or the URL"):
        ObjectStore(url)


def test_a_package_that_is_missing_is_named() -> None:
    with pytest.raises(StreamError, match=r"gs:// needs one more package: .*gcsfs"):
        ObjectStore("gs://bucket/x")


def test_a_url_is_told_from_a_folder() -> None:
    assert is_url("s3://bucket/x")
    assert not is_url("folder/x")
