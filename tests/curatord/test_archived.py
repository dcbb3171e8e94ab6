"""A topic and its archive read as one: what the topic lacks comes from the archive, and nothing twice.

The topic's part is played by a folder, whose oldest shards go as retention takes them; `tests/integration` has a topic.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from curatord.archived import ArchivedTopic
from curatord.errors import RetentionLost
from curatord.folder import FolderSource
from curatord.output_folder import LocalFolder
from curatord.sequence import EndOfStream
from curatord.source import Found, Plan
from tests.curatord.streams import add_shard, write_manifest


def folder(path: Path, first: int, end: int, *, ends: list[int]) -> Path:
    for start in range(first, end, 10):
        add_shard(path, start, start + 10)
    write_manifest(path, ends=ends)
    return path


def joined(topic: Path, archive: Path) -> ArchivedTopic:
    return ArchivedTopic(FolderSource(LocalFolder(topic)), FolderSource(LocalFolder(archive)))


def read(source: ArchivedTopic, plan: Plan) -> Iterator[int]:
    for item in source.read(plan):
        if isinstance(item, EndOfStream):
            return
        if isinstance(item, Found):
            yield item.seq_no


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("cut", [0, 30, 60])
def test_each_number_comes_once_from_one_or_the_other(tmp_path: Path, cut: int, world: int) -> None:
    source = joined(folder(tmp_path / "topic", cut, 100, ends=[100]), folder(tmp_path / "archive", 0, 70, ends=[]))

    for first in (0, 5, 29, 59, 61, 99):
        found = [
            seq_no
            for rank in range(world)
            for seq_no in read(source, Plan(generation=0, first=first, stop_from=100, rank=rank, world=world))
        ]
        assert sorted(found) == list(range(first, 100)), first
    assert source.bounds(None).first == 0
    assert source.bounds(None).end == 100


def test_an_end_in_the_archive_is_the_topics_to_tell(tmp_path: Path) -> None:
    source = joined(folder(tmp_path / "topic", 40, 100, ends=[50, 100]), folder(tmp_path / "archive", 0, 50, ends=[50]))

    assert list(read(source, Plan(generation=0, first=0, stop_from=51))) == list(range(100))
    assert list(read(source, Plan(generation=0, first=0, stop_from=50))) == list(range(50))


def test_a_copy_of_an_archive_does_not_end_the_stream(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    add_shard(archive, 0, 50)
    source = joined(folder(tmp_path / "topic", 40, 100, ends=[100]), archive)

    assert list(read(source, Plan(generation=0, first=0, stop_from=100))) == list(range(100))


def test_what_neither_has_is_lost(tmp_path: Path) -> None:
    source = joined(folder(tmp_path / "topic", 60, 100, ends=[100]), folder(tmp_path / "archive", 0, 40, ends=[]))

    assert source.bounds(None).first == 60
    with pytest.raises(RetentionLost, match="sequence 40 is not in"):
        list(read(source, Plan(generation=0, first=0, stop_from=100)))


class CutMeanwhile(FolderSource):
    """Loses its older shards between the look at its bounds and the read."""

    def read(self, plan: Plan) -> Iterator[Found | EndOfStream | None]:
        for shard in self.path.glob("train-*"):
            if shard.name < "train-000-0000000060":
                shard.unlink()
        return super().read(plan)

    path: Path


def test_a_topic_that_is_cut_before_it_is_read_goes_on_in_the_archive(tmp_path: Path) -> None:
    topic = CutMeanwhile(LocalFolder(folder(tmp_path / "topic", 0, 100, ends=[100])))
    topic.path = tmp_path / "topic"
    archive = FolderSource(LocalFolder(folder(tmp_path / "archive", 0, 70, ends=[])))

    assert list(read(ArchivedTopic(topic, archive), Plan(generation=0, first=0, stop_from=100))) == list(range(100))


def test_a_newer_generation_is_not_looked_for_in_an_older_archive(tmp_path: Path) -> None:
    topic = tmp_path / "topic"
    add_shard(topic, 0, 10, generation=1)
    write_manifest(topic, ends=[10], generation=1)
    source = joined(topic, folder(tmp_path / "archive", 0, 40, ends=[40]))

    assert (source.bounds(None).generation, source.bounds(None).first) == (1, 0)
    assert list(read(source, Plan(generation=1, first=0, stop_from=10))) == list(range(10))
