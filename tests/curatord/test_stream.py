"""PackedStream over folders: who reads what, where it goes on, where it ends."""

from __future__ import annotations

import gc
import json
import pickle
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curatord.errors import ForeignStream, GenerationEnded, RetentionLost, SequenceGap, StreamError
from curatord.stream import PackedStream
from tests.curatord.streams import CONTEXT, DIGEST, add_shard, row, write_manifest

WORLDS = [1, 2, 3, 4, 6, 8]
BATCH = 24  # sequences of a step, all ranks together; every world divides it


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """240 sequences in shards of uneven size, complete."""
    for first, end in [(0, 7), (7, 100), (100, 101), (101, 240)]:
        add_shard(tmp_path, first, end)
    write_manifest(tmp_path, ends=[240])
    return tmp_path


def batches(folder: Path, world: int, count: int, **options: Any) -> tuple[list[list[set[int]]], list[dict[str, Any]]]:
    """Sequences of each rank in each of `count` steps, and every rank's state after them."""
    taken, states = [], []
    for rank in range(world):
        with PackedStream(folder, rank=rank, world=world, **options) as stream:
            share = BATCH // world
            taken.append([{s.seq_no for s in islice(stream, share)} for _ in range(count)])
            states.append(stream.state_dict(consumed=count * share))
    return taken, states


def test_sequences_come_as_they_were_written(folder: Path) -> None:
    with PackedStream(folder) as stream:
        read = list(stream)

    assert [sequence.seq_no for sequence in read] == list(range(240))
    for sequence in read:
        wanted = row(sequence.seq_no)
        assert sequence.doc_ids == wanted.doc_ids
        assert (sequence.context_length, sequence.tokenizer_digest) == (CONTEXT, DIGEST)
        for name in ("tokens_T", "segment_lengths_S", "segment_flags_S", "clusters_S", "propensities_S"):
            found = getattr(sequence, name)
            np.testing.assert_array_equal(found, getattr(wanted, name))
            assert found.dtype == getattr(wanted, name).dtype


@pytest.mark.parametrize("saved", WORLDS)
def test_global_batches_are_the_same_sets_for_any_world(folder: Path, saved: int) -> None:
    taken, states = batches(folder, saved, 3)

    assert all(state == states[0] for state in states)
    assert len(json.dumps(states[0])) < 1000
    before = [set().union(*(ranks[step] for ranks in taken)) for step in range(3)]
    assert before == [set(range(step * BATCH, (step + 1) * BATCH)) for step in range(3)]
    for loaded in WORLDS:
        taken, _ = batches(folder, loaded, 2, start=states[0])
        for step in range(2):
            shares = [ranks[step] for ranks in taken]
            assert sum(map(len, shares)) == BATCH  # disjoint
            assert set().union(*shares) == set(range((3 + step) * BATCH, (4 + step) * BATCH))


def test_a_batch_that_no_world_divides_still_loads(folder: Path) -> None:
    state = PackedStream(folder, start=7).state_dict(consumed=10)

    seen = [
        {sequence.seq_no for sequence in islice(PackedStream(folder, rank=rank, world=3, start=state), 8)}
        for rank in range(3)
    ]

    assert set().union(*seen) == set(range(17, 41))


def test_a_state_counts_what_was_consumed_and_not_what_was_taken(folder: Path) -> None:
    with PackedStream(folder, prefetch=16) as stream:
        next(stream)
        assert stream.state_dict()["next_seq_no"] == 1
        assert stream.state_dict(consumed=0)["next_seq_no"] == 0
        list(islice(stream, 9))
        assert stream.state_dict(consumed=4)["next_seq_no"] == 4
        stream.load_state_dict(stream.state_dict(consumed=4))
        assert next(stream).seq_no == 4


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_all_ranks_end_after_the_same_number(folder: Path, world: int) -> None:
    counts = [len(list(PackedStream(folder, rank=rank, world=world, start=5))) for rank in range(world)]

    assert counts == [235 // world] * world


def test_it_waits_for_more_until_an_end_is_set(tmp_path: Path) -> None:
    write_manifest(tmp_path, ends=[])
    add_shard(tmp_path, 0, 5)
    seen: list[int] = []
    stream = PackedStream(tmp_path)
    reading = threading.Thread(target=lambda: seen.extend(sequence.seq_no for sequence in stream))
    reading.start()
    time.sleep(0.6)
    assert seen == list(range(5))
    assert reading.is_alive()

    add_shard(tmp_path, 5, 9)
    write_manifest(tmp_path, ends=[9])
    reading.join(10)

    assert seen == list(range(9))
    assert not reading.is_alive()


def test_it_stops_at_the_end_that_was_known_when_it_began(folder: Path) -> None:
    stream = PackedStream(folder, prefetch=1)
    first = next(stream)
    add_shard(folder, 240, 250)
    write_manifest(folder, ends=[240, 250])
    stream.close()

    assert [first.seq_no, *(sequence.seq_no for sequence in stream)] == list(range(240))
    assert [s.seq_no for s in PackedStream(folder, start=stream.state_dict())] == list(range(240, 250))
    assert [s.seq_no for s in PackedStream(folder)] == list(range(250))
    assert not list(PackedStream(folder, start=250))


def test_a_copy_without_a_manifest_ends_with_its_last_shard(tmp_path: Path) -> None:
    add_shard(tmp_path, 0, 5)

    assert len(list(PackedStream(tmp_path))) == 5


def test_a_missing_shard_is_an_error_or_a_hole(folder: Path) -> None:
    (folder / "train-000-0000000100-0000000100.parquet").unlink()

    with pytest.raises(SequenceGap, match="lacks the sequences 100 to 100") as caught:
        list(PackedStream(folder))
    assert (caught.value.expected, caught.value.found) == (100, 101)
    filled = list(PackedStream(folder, on_gap="fill"))
    assert [sequence.seq_no for sequence in filled] == list(range(240))
    assert [sequence.seq_no for sequence in filled if sequence.is_filler] == [100]


def test_a_start_that_was_deleted_says_where_to_start(folder: Path) -> None:
    (folder / "train-000-0000000000-0000000006.parquet").unlink()

    with pytest.raises(RetentionLost, match="start=7") as caught:
        next(PackedStream(folder, start=3))
    assert (caught.value.wanted, caught.value.oldest) == (3, 7)
    assert next(PackedStream(folder)).seq_no == 7


def test_a_stream_of_another_kind_is_refused(folder: Path) -> None:
    with pytest.raises(ForeignStream, match="tokenizer"):
        next(PackedStream(folder, tokenizer_digest="00000000000000aa"))
    with pytest.raises(ForeignStream, match="context of 32 tokens, this run trains on 64"):
        next(PackedStream(folder, context_length=64))
    stream = PackedStream(folder)
    next(stream)
    with pytest.raises(ForeignStream, match="0000000000abcdef"):
        PackedStream(folder, start=stream.state_dict(), tokenizer_digest="00000000000000aa")
    with pytest.raises(ForeignStream, match="context of 32"):
        PackedStream(folder, start=stream.state_dict(), context_length=64)


def test_a_generation_ends_where_the_next_begins(folder: Path) -> None:
    add_shard(folder, 0, 4, generation=1, context=64)
    write_manifest(folder, ends=[4], generation=1)

    assert [sequence.context_length for sequence in PackedStream(folder)] == [64] * 4
    old = PackedStream(folder, generation=0, rank=1, world=7)
    assert len(list(islice(old, 34))) == 34  # 240 = 34 · 7 + 2: the last two have no whole round
    with pytest.raises(StopIteration):
        next(old)  # the end that was known
    with pytest.raises(GenerationEnded, match="generation=1"):
        next(PackedStream(folder, start=old.state_dict(), rank=1, world=7))
    old.skip(239, 246)
    stream = PackedStream(folder, start=old.state_dict(), generation=1, context_length=64)
    assert [(sequence.generation, sequence.seq_no) for sequence in stream] == [(1, seq_no) for seq_no in range(4)]
    again = PackedStream(folder, start=stream.state_dict(consumed=3), generation=1)
    assert [sequence.seq_no for sequence in again] == [3]


def test_ranges_can_be_left_out(folder: Path) -> None:
    world = 4
    for rank in range(world):
        stream = PackedStream(folder, rank=rank, world=world)
        next(stream)
        stream.skip(8, 16)
        assert [next(stream).seq_no for _ in range(3)] == [4 + rank, 16 + rank, 20 + rank]
        assert stream.state_dict()["next_seq_no"] == 24
        state = stream.state_dict(consumed=1)
        assert state["next_seq_no"] == 4
        assert [s.seq_no for s in islice(PackedStream(folder, start=state), 6)] == [4, 5, 6, 7, 16, 17]
        with pytest.raises(ValueError, match="whole number of rounds"):
            stream.skip(30, 33)
        with pytest.raises(ValueError, match="consumed already"):
            stream.skip(20, 24)


def test_looking_does_not_move(folder: Path) -> None:
    with PackedStream(folder, rank=1, world=2, start=10) as stream:
        assert [sequence.seq_no for sequence in stream.replay(3, 6)] == [3, 4, 5]
        seen = stream.dry_run(20)
        assert (stream.bounds().first, stream.bounds().end) == (0, 240)
        assert next(stream).seq_no == 11
        assert stream.lead == 228

    rows = [row(seq_no) for seq_no in range(10, 30)]
    tokens = sum(len(sequence.tokens_T) for sequence in rows)
    assert (seen.sequences, seen.tokens) == (20, tokens)
    assert seen.padding == pytest.approx(1 - tokens / (20 * CONTEXT))
    assert seen.fragments == 0


def test_looking_goes_past_ends_of_the_generation_of_the_state(folder: Path) -> None:
    write_manifest(folder, ends=[25, 240])
    assert [sequence.seq_no for sequence in PackedStream(folder).replay(20, 40)] == list(range(20, 40))
    assert [sequence.seq_no for sequence in PackedStream(folder).replay(235, 400)] == list(range(235, 240))

    add_shard(folder, 0, 4, generation=1, context=64)
    write_manifest(folder, ends=[4], generation=1)

    assert PackedStream(folder, start={"generation": 0, "next_seq_no": 20}).dry_run(100).sequences == 100


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_share_the_batches_of_a_rank(folder: Path, workers: int) -> None:
    stream = PackedStream(folder, rank=1, world=2, start=4)
    parts = [pickle.loads(pickle.dumps(stream.for_worker(number, workers, 5))) for number in range(workers)]

    for part in parts:
        part.skip(44, 64)
    in_turn = [[next(parts[turn % workers]).seq_no for _ in range(5)] for turn in range(6)]

    expected = [n for n in range(5, 240, 2) if not 44 <= n < 64]
    assert [n for batch in in_turn for n in batch] == expected[:30]


def test_arguments_are_checked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="rank=2, world=2"):
        PackedStream(folder, rank=2, world=2)
    with pytest.raises(ValueError, match=r"bounds\(\)"):
        PackedStream(folder, rank=0, world=2, start="latest")
    with pytest.raises(StreamError, match="no folder"):
        next(PackedStream(folder / "nothing"))
    with pytest.raises(StreamError, match="no state"):
        PackedStream(folder, start={"next": 3})
    with pytest.raises(StreamError, match="names no topic"):
        next(PackedStream("kafka://broker:9092"))
    with pytest.raises(StreamError, match="nosuch://"):
        next(PackedStream("nosuch://bucket/out"))
    with pytest.raises(ValueError, match="run_id"):
        PackedStream(folder).report(np.zeros((1, 3)), [row(0)])
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(ValueError, match="one of 8 processes"):
        PackedStream(folder)


def test_a_stream_that_is_dropped_ends_its_thread(folder: Path) -> None:
    before = set(threading.enumerate())
    for _ in PackedStream(folder, prefetch=1):
        break
    gc.collect()
    wait_until = time.monotonic() + 60
    while set(threading.enumerate()) - before and time.monotonic() < wait_until:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= before


def test_a_wait_ends_when_another_thread_closes_the_stream(tmp_path: Path) -> None:
    write_manifest(tmp_path, ends=[])
    add_shard(tmp_path, 0, 2)
    stream, errors = PackedStream(tmp_path), list[Exception]()

    def read() -> None:
        try:
            for _ in stream:
                pass
        except StreamError as error:
            errors.append(error)

    reading = threading.Thread(target=read)
    reading.start()
    while stream.state_dict()["next_seq_no"] < 2:
        time.sleep(0.01)
    while reading.is_alive():  # it may not wait yet
        stream.close()
        reading.join(0.1)
    assert [str(error) for error in errors] == ["the stream was closed by another thread while this one waited"]
