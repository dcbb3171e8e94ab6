"""Placements: the segments of any sequences, from blocks that are committed or of the open epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from packing.placements import PLACEMENTS, PlacementIndex, Placements
from state.document_numbers import make_numbers
from state.epoch import Epoch
from state.store import Store

Block = list[int]  # segments of each of consecutive sequences; 0 of a filler


def put_block(epoch: Epoch, generation: int, first: int, block: Block) -> None:
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
    PLACEMENTS.put(epoch, (generation, first), fact)


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
            put_block(epoch, generation, len(counts), block)
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
