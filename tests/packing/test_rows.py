"""Blocks of closed rows: shuffled by ordinal, numbered densely, given out in whole quanta."""

from __future__ import annotations

from itertools import pairwise

import pytest

from packing.rows import CLOSED_ROWS, ClosedRow, Generation, RowBlocks
from tests.kept import Kept, changes_of


def blocks_of(block_rows: int = 8, batch_quantum: int = 1, context_length: int = 256) -> RowBlocks:
    return RowBlocks(seed=3, block_rows=block_rows, batch_quantum=batch_quantum, context_length=context_length)


def close_all(blocks: RowBlocks, numbers: range) -> list[ClosedRow]:
    return [row for number in numbers for row in blocks.close([number], flushed=False)]


def test_sequences_are_dense_and_every_row_leaves_once() -> None:
    blocks = blocks_of()
    rows = close_all(blocks, range(21)) + blocks.flush()
    assert [row.seq_no for row in rows] == list(range(21))
    assert sorted(row.ordinal for row in rows) == list(range(21))
    assert not len(blocks)


def test_a_row_never_leaves_its_block() -> None:
    rows = close_all(blocks_of(), range(64))
    assert all(row.ordinal // 8 == (row.seq_no or 0) // 8 for row in rows)


def test_what_went_out_stays_so_under_a_larger_quantum() -> None:
    small = blocks_of(block_rows=1)
    rows = close_all(small, range(10))
    large = blocks_of(block_rows=1, batch_quantum=8)
    kept = Kept()
    kept.commit(small)
    kept.restore(large)
    assert large.num_given_out == 10
    rows += close_all(large, range(10, 30))

    assert [row.seq_no for row in rows] == list(range(24))
    assert large.num_given_out == 24


def test_neighbours_are_apart() -> None:
    rows = close_all(blocks_of(block_rows=1024), range(1024))
    assert [row.ordinal for row in rows] != list(range(1024))
    together = sum(abs(b.ordinal - a.ordinal) == 1 for a, b in pairwise(rows))
    assert together < 10  # two expected of a random order


def test_blocks_of_one_row_keep_the_order_of_closing() -> None:
    rows = close_all(blocks_of(block_rows=1), range(9))
    assert [row.ordinal for row in rows] == list(range(9))


def test_another_seed_gives_another_order() -> None:
    other = RowBlocks(seed=4, block_rows=8, batch_quantum=1, context_length=256)
    assert [row.ordinal for row in close_all(other, range(8))] != [
        row.ordinal for row in close_all(blocks_of(), range(8))
    ]


def test_a_quantum_is_given_out_whole_or_not_at_all() -> None:
    blocks = blocks_of(block_rows=8, batch_quantum=3)
    rows = close_all(blocks, range(8))
    assert [row.seq_no for row in rows] == list(range(6))
    assert [row.seq_no for row in close_all(blocks, range(8, 16))] == list(range(6, 15))
    assert blocks.flush() == []
    assert [(row.seq_no, row.numbers != ()) for row in blocks.flush(fill=True)] == [
        (15, True),
        (16, False),
        (17, False),
    ]


def test_a_flush_begins_a_new_block() -> None:
    blocks = blocks_of()
    close_all(blocks, range(3))
    assert len(blocks.flush()) == 3
    assert close_all(blocks, range(3, 10)) == []
    assert [row.seq_no for row in close_all(blocks, range(10, 11))] == list(range(3, 11))


def test_a_row_that_loses_its_pieces_is_dropped_while_it_has_no_place() -> None:
    blocks = blocks_of(block_rows=4)
    blocks.close([0, 1], flushed=False)
    close_all(blocks, range(2, 4))
    shorter = blocks.remove(0)
    assert shorter is not None
    assert shorter.numbers == (1,)
    blocks.remove(2)
    rows = blocks.close([4], flushed=False)
    assert sorted(row.numbers for row in rows) == [(1,), (3,), (4,)]
    assert [row.seq_no for row in rows] == [0, 1, 2]
    assert blocks.remove(99) is None


def test_a_row_that_has_its_place_becomes_a_filler() -> None:
    blocks = blocks_of(block_rows=2, batch_quantum=4)
    close_all(blocks, range(2))
    blocks.remove(0)
    rows = close_all(blocks, range(2, 4))
    assert [row.seq_no for row in rows] == [0, 1, 2, 3]
    assert sum(row.numbers == () for row in rows) == 1


def test_a_generation_begins_with_the_first_row_of_another_length_that_gets_its_place() -> None:
    blocks = blocks_of(block_rows=2, batch_quantum=2)
    close_all(blocks, range(3))
    blocks.flush(fill=True)
    longer = blocks_of(block_rows=2, batch_quantum=3, context_length=512)
    kept = Kept()
    kept.commit(blocks)
    kept.restore(longer)
    assert longer.flush(fill=True) == []  # which completes no quantum of the other length
    assert close_all(longer, range(1)) == []
    assert (longer.generation, longer.num_given_out) == (0, 4)
    rows = close_all(longer, range(1, 2)) + longer.flush(fill=True)
    assert (longer.generation, [row.seq_no for row in rows]) == (1, [0, 1, 2])
    assert longer.generations == (Generation(256, 4), Generation(512, 3))


@pytest.mark.parametrize("batch_quantum", [1, 3])
@pytest.mark.parametrize("stop", range(0, 24, 5))
def test_blocks_go_on_from_their_facts(stop: int, batch_quantum: int) -> None:
    straight, first = blocks_of(batch_quantum=batch_quantum), blocks_of(batch_quantum=batch_quantum)
    kept = Kept()
    for number in range(stop):
        assert straight.close([number], flushed=False) == first.close([number], flushed=False)
        changes_of(straight)
        kept.commit(first)
    restored = blocks_of(batch_quantum=batch_quantum)
    kept.restore(restored)
    for number in range(stop, 24):
        assert straight.close([number], flushed=False) == restored.close([number], flushed=False)
        assert changes_of(straight) == changes_of(restored)
    assert straight.flush() == restored.flush()


def test_a_row_that_came_and_went_within_a_commit_is_no_fact() -> None:
    blocks = blocks_of(block_rows=4)
    close_all(blocks, range(6))
    kept = Kept()
    kept.commit(blocks)
    assert len(list(CLOSED_ROWS.keys(kept))) == 2
    assert kept.commit(blocks) == []
    blocks.flush()
    assert [row is None for _, row in CLOSED_ROWS.changed(kept.commit(blocks))] == [True, True]
