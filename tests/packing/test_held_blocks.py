"""Blocks of held documents, whole and as the journal has them."""

from __future__ import annotations

import msgspec
import numpy as np

from kernels.columns import Ragged, bounds_of
from packing.held_blocks import BLOCKS, Block, encode_placed
from packing.places import Places


def block() -> Block:
    return Block(
        np.array([4, 6, 9]),
        ["a", "b", "c"],
        Ragged(np.arange(70_000, 70_006, dtype=np.uint32), bounds_of([1, 2, 3])),
        np.array([True, False, True]),
        Places.in_message("prepared-0", 1 << 40, np.array([3, 4, 250])),
    )


def test_a_block_comes_back_with_the_documents_that_are_held() -> None:
    again = BLOCKS.value.decode(BLOCKS.value.encode(block()))
    assert (again.doc_nos_B.tolist(), again.ids, again.is_read) == ([4, 9], ["a", "c"], True)
    assert [again.tokens[b].tolist() for b in range(2)] == [[70_000], [70_003, 70_004, 70_005]]
    assert again.places is not None
    assert again.places.places_B.tolist() == [(0, 1 << 40, 3), (0, 1 << 40, 250)]


def test_a_block_of_a_state_that_knew_no_places_is_read() -> None:
    packed = msgspec.msgpack.decode(BLOCKS.value.encode(block()))
    again = BLOCKS.value.decode(msgspec.msgpack.encode(packed[:3]))
    assert (again.doc_nos_B.tolist(), again.is_read, again.places) == ([4, 9], True, None)


def test_the_journal_has_lengths_and_places_in_place_of_tokens() -> None:
    whole = block()
    assert whole.places is not None
    again = BLOCKS.value.decode(encode_placed(whole, whole.places))
    assert (again.doc_nos_B.tolist(), again.ids, again.is_read) == ([4, 9], ["a", "c"], False)
    assert again.tokens.lengths().tolist() == [1, 3]
    assert again.places is not None
    assert again.places.sources == ("prepared-0",)
    assert again.places.places_B.tolist() == [(0, 1 << 40, 3), (0, 1 << 40, 250)]
