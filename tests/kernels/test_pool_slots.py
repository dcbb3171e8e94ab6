"""Slots of the pool: chains in the order of ages, and cells by the nearest centre."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.pool_slots import Arrivals, Slots, divide, enter, leave
from packing.pool import Pool, quantize
from tests.packing.test_pool import weights


def chain(newer_S: NDArray[np.int32], first: int) -> list[int]:
    slots = []
    while first >= 0:
        slots.append(int(first))
        first = newer_S[first]
    return slots


def test_chains_are_those_of_plain_lists() -> None:
    rng = np.random.default_rng(1)
    vectors_ND = quantize(rng.normal(size=(300, 16)).astype(np.float32) / 4)
    centres_KD = quantize(rng.normal(size=(7, 16)).astype(np.float32) / 4)
    pool = Pool(weights=weights(), limit=40, padded_dimension=128, centres_KD=centres_KD)
    slots, chains, cells = pool._slots, pool._chains, pool._cells
    numbers_N = np.arange(300)
    none_N = np.zeros(300, np.uint8)
    arrivals = Arrivals(vectors_ND, numbers_N + 1, numbers_N, numbers_N, numbers_N, none_N)
    waiting: list[int] = []
    for n in range(300):
        if len(waiting) == 41:
            number = waiting.pop(int(rng.integers(41)))
            used = chain(chains.newer_S, chains.ends[0])
            leave(slots, chains, next(s for s in used if slots.numbers_S[s] == number))
        enter(slots, chains, cells, arrivals, n)
        waiting.append(n)
        if n == 200:
            divide(slots, chains, cells)  # by the same centres: nothing moves
        check(waiting, slots, chains.newer_S, chains.ends[0])
    nearest_N = (vectors_ND.astype(np.int64) @ centres_KD.astype(np.int64).T).argmax(axis=1)
    for cell in range(7):
        own = [number for number in waiting if nearest_N[number] == cell]
        check(own, slots, chains.newer_in_cell_S, chains.cell_ends_K2[cell, 0])
    assert np.flatnonzero(slots.same_length_L).tolist() == [number + 1 for number in waiting]


def check(expected: list[int], slots: Slots, newer_S: NDArray[np.int32], first: int) -> None:
    assert slots.numbers_S[chain(newer_S, first)].tolist() == expected
