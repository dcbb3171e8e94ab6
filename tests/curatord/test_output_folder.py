"""A folder of shards reads alike from this machine and from an object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from curatord.errors import CorruptSequence, StoreUnavailable, StreamError
from curatord.object_store import ObjectStore
from curatord.output_folder import MAX_CACHED, StoredFolder, open_folder
from curatord.stream import PackedStream
from tests.curatord.streams import add_shard, row, write_manifest
from tests.object_store_server import BUCKET, FaultyStore, store_server


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyStore]:
    with store_server() as server:
        yield server


@pytest.fixture
def url(server: FaultyStore, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Eight shards and their manifest, on the store and in a folder."""
    url = f"s3://{BUCKET}/{request.node.name}"
    for first in range(0, 80, 10):
        add_shard(tmp_path, first, first + 10)
    write_manifest(tmp_path, ends=[80])
    store = ObjectStore(url)
    for path in [*tmp_path.glob("train-*"), tmp_path / ".curatord" / "manifest.json"]:
        store.put(path, str(path.relative_to(tmp_path)))
    return url


@pytest.mark.parametrize(("rank", "world"), [(0, 1), (1, 3)])
def test_a_stream_from_a_store_gives_what_the_folder_does(url: str, tmp_path: Path, rank: int, world: int) -> None:
    streams = [PackedStream(place, rank=rank, world=world) for place in (tmp_path, url)]

    local, stored = ([(s.seq_no, s.tokens_T.tolist(), s.doc_ids) for s in stream] for stream in streams)

    assert [seq_no for seq_no, _, _ in stored] == [n for n in range(80) if n % world == rank][: 80 // world]
    assert stored == local


def test_a_state_of_the_folder_goes_on_at_the_store(url: str, tmp_path: Path) -> None:
    with PackedStream(tmp_path) as local:
        for _ in range(33):
            next(local)
        state = local.state_dict()

    with PackedStream(url, start=state) as stored:
        assert next(stored).seq_no == 33
        assert stored.bounds().end == 80


def test_few_shards_are_kept_on_this_machine(url: str) -> None:
    folder = StoredFolder(ObjectStore(url))
    names = sorted(folder.shards())
    for place, name in enumerate(names):
        path = folder.path(name, names[place + 1 :])
        assert path.stat().st_size > 0
        cached = list(path.parent.iterdir())
        assert len(cached) <= MAX_CACHED

    folder.close()

    assert not path.parent.exists()


def test_faults_of_the_store_are_not_seen(url: str, server: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curatord.object_store.FIRST_WAIT_S", 0.001)
    monkeypatch.setattr("curatord.object_store.TRIES", 20)  # five faults in a row come once in fifty runs
    server.share, server.seen = 0.2, 0
    try:
        with PackedStream(url) as stream:
            assert [sequence.seq_no for sequence in stream] == list(range(80))
    finally:
        server.share = 0.0
    assert server.seen


def test_a_store_that_goes_away_raises_and_the_stream_stands_where_it_stood(
    url: str, server: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curatord.object_store.FIRST_WAIT_S", 0.001)
    stream = PackedStream(url, prefetch=1)
    assert next(stream).seq_no == 0
    server.share = 1.0
    try:
        with pytest.raises(StoreUnavailable):
            list(stream)
    finally:
        server.share = 0.0

    at = stream.state_dict()["next_seq_no"]
    assert 0 < at < 80
    assert [sequence.seq_no for sequence in stream] == list(range(at, 80))
    stream.close()


def test_a_damaged_shard_is_named(url: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"no parquet")
    name = "train-000-0000000010-0000000019.parquet"
    ObjectStore(url).put(broken, name)

    with PackedStream(url) as stream, pytest.raises(CorruptSequence, match=f"{name} of {url}"):
        list(stream)


def test_nothing_there_is_told(server: FaultyStore, tmp_path: Path) -> None:
    with pytest.raises(StreamError, match="nothing lies at s3://bucket/nothing"):
        open_folder(f"s3://{BUCKET}/nothing")
    with pytest.raises(StreamError, match="no folder"):
        open_folder(str(tmp_path / "nothing"))


def test_rows_are_as_they_were_written(url: str) -> None:
    with PackedStream(url, start=41) as stream:
        assert next(stream).doc_ids == row(41).doc_ids
