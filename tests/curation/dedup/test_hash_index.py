"""HashIndex is a dict from keys to numbers, also where it grows and where keys come back after they went."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from curation.dedup.hash_index import INITIAL_SLOTS, HashIndex, hash_keys

names = st.lists(st.integers(0, 12), max_size=6)
steps = st.lists(st.tuples(st.sampled_from(["find_or_insert", "assign", "drop", "find"]), names, st.integers(0, 99)))


def keys_of(names: list[int]) -> NDArray[np.uint64]:
    return hash_keys([b"%d" % name for name in names])


@given(steps)
def test_it_is_a_dict(steps: list[tuple[str, list[int], int]]) -> None:
    index = HashIndex()
    expected: dict[int, int] = {}
    for step, names, number in steps:
        keys_B2, numbers_B = keys_of(names), np.arange(number, number + len(names))
        pairs = list(zip(names, numbers_B.tolist(), strict=True))
        if step == "find_or_insert":
            before = []
            for name, own in pairs:
                before.append(expected.get(name, -1))
                expected.setdefault(name, own)
            assert index.find_or_insert(keys_B2, numbers_B).tolist() == before
        elif step == "assign":
            index.assign(keys_B2, numbers_B)
            expected.update(pairs)
        elif step == "drop":
            index.drop(keys_B2, numbers_B)
            for name in {name for name, own in pairs if expected.get(name) == own}:
                del expected[name]
        assert index.find(keys_of(list(range(13)))).tolist() == [expected.get(name, -1) for name in range(13)]


def test_unwanted_keys_are_passed_over() -> None:
    index = HashIndex()

    found_B = index.find_or_insert(keys_of([1, 2, 1]), np.array([5, 6, 7]), np.array([True, False, True]))

    assert found_B.tolist() == [-1, -1, 5]
    assert index.find(keys_of([1, 2])).tolist() == [5, -1]


def test_a_table_that_grows_keeps_what_it_had_and_forgets_what_was_dropped() -> None:
    index = HashIndex()
    keys_B2 = keys_of(list(range(INITIAL_SLOTS)))
    numbers_B = np.arange(INITIAL_SLOTS)
    index.assign(keys_B2[:1000], numbers_B[:1000])
    index.drop(keys_B2[:10], numbers_B[:10])
    before = index.num_bytes()

    index.assign(keys_B2[1000:], numbers_B[1000:])

    assert index.num_bytes() > before
    assert index.find(keys_B2).tolist() == [-1] * 10 + numbers_B[10:].tolist()
