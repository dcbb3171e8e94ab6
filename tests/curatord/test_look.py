"""A look at sequences opens a source of its own and stops where it is asked to."""

from __future__ import annotations

from pathlib import Path

from curatord.look import bounds_of, read_again
from tests.curatord.streams import add_shard, write_manifest


def test_a_look_reads_its_range_over_shards_and_ends_with_the_folder(tmp_path: Path) -> None:
    add_shard(tmp_path, 0, 7)
    add_shard(tmp_path, 7, 12)
    write_manifest(tmp_path, ends=[12])

    assert (bounds_of(str(tmp_path), {}, None).first, bounds_of(str(tmp_path), {}, 0).end) == (0, 12)
    assert [found.seq_no for found in read_again(str(tmp_path), {}, 0, 5, 9)] == [5, 6, 7, 8]
    assert [found.seq_no for found in read_again(str(tmp_path), {}, 0, 10, 100)] == [10, 11]
