"""Reading ahead hands sequences over in order, in whole rounds, and with the error that ended it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from curatord.errors import SequenceGap
from curatord.folder import FolderSource
from curatord.output_folder import LocalFolder
from curatord.position import StreamState
from curatord.reader import Reader, Share, whole_rounds, without_skipped
from curatord.sequence import PackedSequence
from curatord.source import Found, Plan
from tests.curatord.streams import add_shard, row, write_manifest


def found(*numbers: int, error: Exception | None = None) -> Iterator[Found | None]:
    for number in numbers:
        yield Found(number, 1, partial(row, number))
    if error is not None:
        raise error


def unchecked(sequence: PackedSequence) -> PackedSequence:
    return sequence


def take_into(numbers: list[int], reader: Reader) -> None:
    while chunk := reader.take(lambda: "the next"):
        numbers += [sequence.seq_no for sequence in chunk]


@pytest.mark.parametrize("prefetch", [1, 8, 64])
def test_sequences_come_in_order_and_then_the_end(prefetch: int) -> None:
    reader, numbers = Reader(found(*range(50)), unchecked, prefetch), list[int]()
    take_into(numbers, reader)
    reader.stop()
    assert numbers == list(range(50))


def test_an_error_comes_after_what_was_read_before_it() -> None:
    gap = SequenceGap("sequence 3 is missing", expected=3, found=9)
    reader = Reader(found(0, 1, 2, error=gap), unchecked, prefetch=64)

    numbers: list[int] = []
    with pytest.raises(SequenceGap, match="sequence 3"):
        take_into(numbers, reader)
    reader.stop()
    assert numbers == [0, 1, 2]


def test_a_reader_that_is_stopped_ends_while_its_queue_is_full() -> None:
    Reader(found(*range(1000)), unchecked, prefetch=1).stop()


def test_a_round_that_is_not_complete_is_held_back(tmp_path: Path) -> None:
    add_shard(tmp_path, 0, 8)
    write_manifest(tmp_path, ends=[8])

    read = [
        [item.seq_no for item in whole_rounds(FolderSource(LocalFolder(tmp_path)), plan) if item is not None]
        for plan in (Plan(generation=0, first=0, stop_from=8, rank=rank, world=3) for rank in range(3))
    ]

    assert read == [[0, 3], [1, 4], [2, 5]]  # 6 and 7 have no third


def test_workers_share_the_batches_of_what_is_not_skipped() -> None:
    state = StreamState(generation=0, next_seq_no=0, skips=[(2, 4)])
    read = [
        [item.seq_no for item in without_skipped(found(*range(10)), state, Share(worker, 2, 2)) if item is not None]
        for worker in range(2)
    ]
    assert read == [[0, 1, 6, 7], [4, 5, 8, 9]]
