"""The archive has each sequence once, over a store with faults; a start goes on behind its last shard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.files.archive import Archived, Archiver, Place, oldest
from consumers.files.destination import open_destination
from curatord.errors import RetentionLost, StateBusy, StoreUnavailable
from curatord.folder import FolderSource
from curatord.output_folder import LocalFolder
from curatord.stream import PackedStream
from tests.curatord.streams import CONTEXT, add_shard, row, write_manifest
from tests.object_store_server import BUCKET, FaultyStore, store_server

PER_SHARD = 5
TOKENS = PER_SHARD * CONTEXT


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyStore]:
    with store_server() as server:
        yield server


@pytest.fixture
def topic(tmp_path: Path) -> Path:
    """Plays the topic: 33 sequences in shards of other sizes than the archive's, and an end."""
    for first, end in ((0, 7), (7, 20), (20, 33)):
        add_shard(tmp_path / "topic", first, end)
    write_manifest(tmp_path / "topic", ends=[33])
    return tmp_path / "topic"


def archiver(topic: Path, output: str, *, max_wait_s: float = 1e9, clock: float = 0.0) -> Archiver:
    source = FolderSource(LocalFolder(topic))
    return Archiver(source, open_destination(output), max_wait_s=max_wait_s, shard_tokens=TOKENS, clock=lambda: clock)


def archive_until(one: Archiver, end: int) -> list[Archived]:
    """Archive until the archiver waits behind `end`."""
    done = []
    for archived in one.run():
        if archived is not None:
            done.append(archived)
        elif one.place.seq_no >= end:
            break
    return done


def numbers(output: str) -> list[int]:
    with PackedStream(output) as stream:
        return [sequence.seq_no for sequence in stream]


@pytest.mark.parametrize("place", ["folder", f"s3://{BUCKET}/whole"])
def test_each_sequence_is_archived_once_and_the_end_with_them(
    server: FaultyStore, topic: Path, tmp_path: Path, place: str
) -> None:
    output = place if "://" in place else str(tmp_path / place)

    done = archive_until(archiver(topic, output), 33)

    assert [archived.sequences for archived in done] == [5, 5, 5, 5, 5, 5, 3]
    assert numbers(output) == list(range(33))
    with PackedStream(output, start=32) as stream:
        assert next(stream).doc_ids == row(32).doc_ids


def test_an_end_that_a_process_did_not_live_to_note_is_noted_by_the_next(topic: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "archive")
    for archived in archiver(topic, output).run():
        if archived is not None and archived.next_place == Place(0, 33):
            break  # the last shard lies there, the end is not noted yet

    archive_until(archiver(topic, output), 33)

    assert numbers(output) == list(range(33))


def test_a_start_goes_on_behind_the_last_shard(topic: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "archive")
    for archived in archiver(topic, output).run():
        if archived is not None and archived.next_place == Place(0, 10):
            break

    again = archiver(topic, output)

    assert again.place == Place(0, 10)
    archive_until(again, 33)
    shards = sorted(path.name for path in Path(output).glob("*.parquet"))
    assert shards[1] == "train-000-0000000005-0000000009.parquet"
    assert len(shards) == 7


def test_shards_are_the_same_wherever_the_process_was_stopped(topic: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    archive_until(archiver(topic, str(whole)), 33)

    for _ in range(7):
        next(archived for archived in archiver(topic, str(parts)).run() if archived is not None)

    contents = [{path.name: path.read_bytes() for path in folder.glob("*.parquet")} for folder in (whole, parts)]
    assert contents[0] == contents[1]


def test_a_hundred_faults_of_the_store_lose_and_double_nothing(
    server: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curatord.object_store.FIRST_WAIT_S", 0.0)
    monkeypatch.setattr("curatord.object_store.TRIES", 2)
    topic, output = tmp_path / "topic", f"s3://{BUCKET}/faults"
    add_shard(topic, 0, 300)
    write_manifest(topic, ends=[300])
    server.share, server.seen, lives = 0.25, 0, 0
    try:
        for lives in range(1, 1000):  # noqa: B007
            try:
                archive_until(archiver(topic, output), 300)
            except StoreUnavailable:
                continue
            break
    finally:
        server.share = 0.0

    assert server.seen >= 100
    assert lives > 1, "the faults were too few to end an archiver"
    assert numbers(output) == list(range(300))
    shards = sorted(open_destination(output).shards())
    assert len(shards) == 300 // PER_SHARD


def test_a_shard_that_is_not_full_goes_after_a_while(topic: Path, tmp_path: Path) -> None:
    write_manifest(topic, ends=[])  # so that it waits for more
    (topic / ".curatord/manifest.json").write_text(json.dumps({"ends": {}, "tokenizer_digest": "0"}))
    waiting = archiver(topic, str(tmp_path / "archive"), max_wait_s=600)

    done = [archived for archived, _ in zip(waiting.run(), range(8), strict=False) if archived is not None]
    assert waiting.place == Place(0, 30)
    assert waiting.reached() == Place(0, 33)
    old = archiver(topic, str(tmp_path / "archive"), max_wait_s=0)
    done += [archived for archived, _ in zip(old.run(), range(2), strict=False) if archived is not None]

    assert [archived.sequences for archived in done] == [5, 5, 5, 5, 5, 5, 3]


def test_what_waits_is_put_when_it_is_asked_for(topic: Path, tmp_path: Path) -> None:
    (topic / ".curatord/manifest.json").write_text(json.dumps({"ends": {}, "tokenizer_digest": "0"}))
    one = archiver(topic, str(tmp_path / "archive"))
    for archived in one.run():
        if archived is None:
            break

    assert [archived.name for archived in one.flush()] == ["train-000-0000000030-0000000032.parquet"]
    assert list(one.flush()) == []


def test_two_archivers_of_one_place_are_told(topic: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "archive")
    first = archiver(topic, output)
    archive_until(archiver(topic, output), 10)

    with pytest.raises(StateBusy, match="another `curatord archive` writes there"):
        archive_until(first, 5)


def test_a_topic_that_was_cut_before_it_was_archived_is_told(topic: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "archive")
    next(archived for archived in archiver(topic, output).run() if archived is not None)
    min(topic.glob("*.parquet")).unlink()

    with pytest.raises(RetentionLost, match="sequence 5 is not in"):
        archive_until(archiver(topic, output), 33)


def test_generations_follow_one_another(tmp_path: Path) -> None:
    topic, output = tmp_path / "topic", str(tmp_path / "archive")
    add_shard(topic, 0, 8)
    write_manifest(topic, ends=[8])
    add_shard(topic, 0, 12, generation=1, context=64)
    write_manifest(topic, ends=[12], generation=1)

    one = archiver(topic, output)
    for archived in one.run():
        if archived is None and one.place == Place(1, 12):
            break

    assert [s.seq_no for s in PackedStream(output, generation=1)] == list(range(12))
    assert [s.seq_no for s in PackedStream(output, generation=0)] == list(range(8))


def test_an_archive_begins_with_the_oldest_that_the_topic_has(tmp_path: Path) -> None:
    topic = tmp_path / "topic"
    add_shard(topic, 20, 30)
    add_shard(topic, 0, 5, generation=1)
    write_manifest(topic, ends=[5], generation=1)

    assert oldest(FolderSource(LocalFolder(topic))) == Place(0, 20)
