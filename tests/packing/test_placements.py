"""Placements: the segments of any sequences, from blocks that are committed or of the open epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from packing.placements import PLACEMENTS, PlacementIndex, Placements, index_placements, place, placements_of
from state.document_numbers import make_numbers
from state.epoch import Epoch
from state.store import Store

Block = list[int]  # segments of each of consecutive sequences; 0 of a filler


def block_of(generation: int, first: int, block: Block) -> Placements:
    """Segment i of sequence n starts at 100 n + i, in the cluster n."""
    sequences = first + np.repeat(np.arange(len(block)), block)
    within = np.concatenate([np.arange(count) for count in block])
    fact = Placements(
        generation=generation,
        first_seq_no=first,
        num_segments=np.array(block, np.uint32).tobytes(),
        doc_nos=sequences.astype(np.int64).tobytes(),
        starts=(100 * sequences + within).astype(np.uint32).tobytes(),
        lengths=np.ones(len(sequences), np.uint32).tobytes(),
        numbers=make_numbers(sequences, 0, 0.5).tobytes(),
    )
    return fact


def place_block(epoch: Epoch, generation: int, first: int, block: Block) -> None:
    place(block_of(generation, first, block), epoch)


def test_a_document_leads_to_its_sequences_also_in_a_state_of_before(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old, new = Epoch(number=1, identity=""), Epoch(number=2, identity="")
    blocks = [block_of(generation, first, [1] * 100) for generation in (1, 2) for first in range(0, 9000, 100)]
    for fact in blocks:
        PLACEMENTS.put(old, (fact.generation, fact.first_seq_no), fact)
    store.apply(old.changes())
    place(block_of(3, 5000, [0, 0, 1]), new)  # fillers, and the document of sequence 5002
    store.apply(new.changes())

    def found(doc_no: int) -> set[tuple[int, int]]:
        return {
            (fact.generation, fact.first_seq_no)
            for fact in placements_of(store, doc_no)
            if doc_no in np.frombuffer(fact.doc_nos, np.int64)
        }

    for _ in range(2):
        assert found(5002) == {(1, 5000), (2, 5000), (3, 5000)}
        assert found(8999) == {(1, 8900), (2, 8900)}
        assert not found(20_000)
        index_placements(store)
    assert len(list(placements_of(store, 8999))) < 20  # of 181
    store.close()


def test_segments_of_any_sequences_are_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    generation = 0

    @given(
        st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=5),
        st.integers(0, 5),
        st.sets(st.integers(0, 30), max_size=8),
    )
    def check(blocks: list[Block], num_committed: int, wanted: set[int]) -> None:
        nonlocal generation
        generation += 1  # what was committed for earlier examples is of other generations
        epoch, counts = Epoch(number=1, identity=""), list[int]()
        for number, block in enumerate(blocks):
            if number == num_committed:
                store.apply(epoch.changes())
                epoch = Epoch(number=2, identity="")
            place_block(epoch, generation, len(counts), block)
            counts += block

        placed = PlacementIndex(store).find(generation, np.array(sorted(wanted), np.int64), epoch)

        known = [seq_no for seq_no in sorted(wanted) if seq_no < len(counts)]
        expected = [(seq_no, i) for seq_no in known for i in range(counts[seq_no])]
        assert placed.num_segments_N.tolist() == [
            counts[seq_no] if seq_no < len(counts) else -1 for seq_no in sorted(wanted)
        ]
        assert placed.starts_S.tolist() == [100 * seq_no + i for seq_no, i in expected]
        assert placed.numbers_S["cluster"].tolist() == [seq_no for seq_no, _ in expected]
        assert placed.numbers_S["propensity"].tolist() == [0.5] * len(expected)

    check()
    store.close()
