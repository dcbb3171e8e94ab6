"""Batches that are read beside the stream."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from curatord.adapters.batches import whole_batches
from curatord.stream import PackedStream
from tests.curatord.adapters.streams import make_folder
from tests.curatord.streams import CONTEXT, DIGEST


def test_the_stream_stays_where_it_is(folder: Path) -> None:
    stream = PackedStream(folder, rank=1, world=2, start=4)

    first = [[s.seq_no for s in batch] for batch in islice(whole_batches(stream, 3), 4)]
    again = [[s.seq_no for s in batch] for batch in islice(whole_batches(stream, 3), 4)]

    assert first == again == [[5, 7, 9], [11, 13, 15], [17, 19, 21], [23, 25, 27]]
    state = stream.state_dict(consumed=12)
    assert state["next_seq_no"] == 28
    # What it was made with is known by now, so that the state fits no other stream.
    assert (state["context_length"], state["tokenizer_digest"]) == (CONTEXT, f"{DIGEST:016x}")


def test_a_place_that_was_loaded_meanwhile_stays(folder: Path) -> None:
    stream = PackedStream(folder)
    batches = whole_batches(stream, 3)
    next(batches)
    stream.load_state_dict(stream.state_dict(consumed=30))
    next(batches)

    assert stream.state_dict(consumed=0)["next_seq_no"] == 30


def test_what_is_no_whole_batch_is_left_for_later(tmp_path: Path) -> None:
    stream = PackedStream(make_folder(tmp_path, 8))

    assert [[s.seq_no for s in batch] for batch in whole_batches(stream, 3)] == [[0, 1, 2], [3, 4, 5]]
