"""The n-gram model of the value benchmark, against the formula written out."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.value.kneser_ney import ORDER, KneserNey

VOCABULARY = 5


def brute_force(ids: list[int], before: list[int], token: int) -> float:
    """Interpolated Kneser-Ney of the same order, one dictionary a step."""
    counts = Counter(tuple(ids[i : i + ORDER]) for i in range(len(ids) - ORDER + 1))
    by_order = {ORDER: counts}
    for order in range(ORDER - 1, 0, -1):
        distinct = {tuple(ids[i : i + order + 1]) for i in range(len(ids) - order)}
        by_order[order] = Counter(gram[1:] for gram in distinct)
    chance = 1 / VOCABULARY
    for order in range(1, min(ORDER, len(before) + 1) + 1):
        table = by_order[order]
        context = tuple(before[len(before) - order + 1 :]) if order > 1 else ()
        total = sum(count for gram, count in table.items() if gram[:-1] == context)
        ones, twos = (sum(count == wanted for count in table.values()) for wanted in (1, 2))
        discount = ones / max(1, ones + 2 * twos)
        if total:
            followers = sum(gram[:-1] == context for gram in table)
            share = max(0.0, table[(*context, token)] - discount)
            chance = share / total + discount * followers / total * chance
    return chance


@pytest.mark.parametrize("seed", range(3))
def test_the_bits_are_those_of_the_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.choice(VOCABULARY - 1, 60, p=[0.5, 0.3, 0.1, 0.1])
    text = rng.choice(VOCABULARY, 12)
    wanted = sum(
        -np.log2(max(1e-12, brute_force(ids.tolist(), text[:i].tolist(), int(text[i])))) for i in range(1, len(text))
    )
    assert KneserNey.of(ids, VOCABULARY).bits(text) == pytest.approx(wanted)


def test_text_that_was_seen_is_easier() -> None:
    ids = np.array([0, 1, 2, 3] * 20)
    model = KneserNey.of(ids, VOCABULARY)
    assert model.bits(ids[:12]) < model.bits(np.array([first for first, _ in pairwise([3, 1, 0, 2] * 4)])[:12])
