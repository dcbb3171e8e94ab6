"""The table of survivors: every entry is found, also while it grows and gaps close."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels import lsh_table


@pytest.mark.parametrize("kind", ["anywhere", "few homes", "at the end"])
def test_every_entry_is_found_after_the_table_has_grown(kind: str) -> None:
    rng = np.random.default_rng(7)
    for capacity in [*range(8, 200, 3), 20_000]:
        count = int(capacity * rng.uniform(0.1, 0.8))
        if kind == "anywhere":
            hashes = rng.integers(0, 2**32, count)
        elif kind == "few homes":
            hashes = rng.choice(np.array([0, 2**31, 2**32 - 1, 2**32 - 2**20]), min(count, 2000))
        else:
            hashes = 2**32 - 1 - rng.integers(0, 2**30, min(count, 2000))
        entries = [np.uint64(int(h) << 32 | (i + 1)) for i, h in enumerate(hashes.tolist())]
        table_C = np.zeros(capacity, np.uint64)
        for entry in entries:
            lsh_table.enter(table_C, entry)
        for _ in range(3):
            old_capacity = len(table_C)
            table_C.resize(int(old_capacity * 1.2) + 1, refcheck=False)
            lsh_table.spread(table_C, old_capacity)
            assert sorted(table_C[table_C != 0].tolist()) == sorted(map(int, entries))
            assert_reachable(table_C)


def assert_reachable(table_C: NDArray[np.uint64]) -> None:
    """Between the home of an entry and its place there is no empty place."""
    taken = np.flatnonzero(table_C)
    homes = np.array([lsh_table.home(table_C[place], len(table_C)) for place in taken.tolist()], np.int64)
    distances = (taken - homes) % len(table_C)
    empty_before = np.concatenate(([0], np.cumsum(table_C == 0), [0]))
    around = empty_before[-2]
    gaps = empty_before[taken] - empty_before[homes] + np.where(taken < homes, around, 0)
    assert (gaps == 0).all()
    assert (distances < len(table_C)).all()


def test_entries_without_a_slot_are_left_out_when_gaps_close() -> None:
    rng = np.random.default_rng(8)
    for kind in ("anywhere", "few tags"):
        tags = rng.integers(1, 2**32 if kind == "anywhere" else 5, 600)
        table_C = np.zeros(900, np.uint64)
        for slot, tag in enumerate(tags.tolist()):
            lsh_table.enter(table_C, np.uint64(tag << 32 | (slot + 1)))
        new_slots_S = np.where(rng.random(600) < 0.5, -1, np.arange(1000, 1600))
        lsh_table.renumber(table_C, new_slots_S)
        lsh_table.spread(table_C, len(table_C))
        living = np.flatnonzero(new_slots_S >= 0)
        expected = [int(tags[slot]) << 32 | int(new_slots_S[slot]) + 1 for slot in living.tolist()]
        assert sorted(table_C[table_C != 0].tolist()) == sorted(expected)
        assert_reachable(table_C)
