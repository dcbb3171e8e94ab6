"""The sketch ranks documents as exact counts of all their n-grams do."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from kernels.ngram_sketch import (
    HALF,
    LOG_COUNTS_256,
    SINGLE_CELLS,
    grow,
    halve,
    measure_and_count,
)
from tests.corpus import read_zst_jsonl

LOG_BACK_OFF = np.log(0.4)


def exact_nats(documents: list[list[int]]) -> np.ndarray:
    """Mean nats a token of each document by the exact counts of all n-grams before it, by stupid back-off."""
    seen: Counter[tuple[int, ...]] = Counter()
    begun: Counter[tuple[int, ...]] = Counter()
    num_tokens, found = 0, []
    for tokens in documents:
        padded = [-1] * 3 + tokens
        places = [(padded[at - 3 : at], padded[at]) for at in range(3, len(padded))]
        nats = 0.0
        for before, token in places:
            for back in range(3):
                beginning = tuple(before[back:])
                if count := seen[(*beginning, token)]:
                    nats -= np.log(count / begun[beginning]) + back * LOG_BACK_OFF
                    break
            else:
                nats -= np.log(max(seen[(token,)], 0.5) / (num_tokens + 1)) + 3 * LOG_BACK_OFF
        found.append(nats / len(places))
        for before, token in places:
            seen[(token,)] += 1
            for back in range(3):
                seen[(*before[back:], token)] += 1
                begun[tuple(before[back:])] += 1
        num_tokens += len(tokens)
    return np.array(found)


def sketched(documents: list[list[int]], num_bytes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nats of each document, the cells that grew, and the counts."""
    tokens_T = np.array([token for tokens in documents for token in tokens], np.uint32)
    bounds_B1 = np.cumsum([0, *map(len, documents)])
    counts_C, nats_B2 = np.zeros(num_bytes, np.uint8), np.empty((len(documents), 2))
    seeds_B = np.arange(len(documents), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    grown_X, totals_2 = np.empty(6 * len(tokens_T), np.uint32), np.zeros(2, np.int64)
    num_grown = measure_and_count(tokens_T, bounds_B1, seeds_B, counts_C, totals_2, nats_B2, grown_X)
    assert totals_2.tolist() == [len(tokens_T), np.count_nonzero(counts_C)]
    return nats_B2, grown_X[:num_grown], counts_C


def test_documents_are_ranked_as_by_exact_counts(corpora: Path) -> None:
    rows = [
        row
        for _, row in zip(range(1500), read_zst_jsonl(corpora / "labelled" / "20newsgroups.jsonl.zst"), strict=False)
    ]
    texts = [*(row["text"] for row in rows), *(row["text"] for row in rows[:150])]
    documents = [[zlib.crc32(word.encode()) >> 12 for word in re.findall(r"\w+|[^\w\s]", text)] for text in texts]
    documents = [tokens for tokens in documents if len(tokens) >= 100]
    nats_B2, _, _ = sketched(documents, 32 << 20)
    exact_B = exact_nats(documents)
    settled = slice(len(documents) // 4, None)
    assert spearmanr(nats_B2[settled, 0], exact_B[settled])[0] >= 0.98


def test_a_document_that_comes_again_is_foretold_and_one_of_its_words_in_another_order_is_not() -> None:
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, 2000, 400).tolist() for _ in range(40)]
    shuffled = rng.permutation(documents[0]).tolist()
    nats_B2, _, _ = sketched([*documents, documents[0], shuffled, []], 4 << 20)
    again, other, nothing = nats_B2[-3:]
    assert again[0] < 0.5 < 5 < other[0]
    assert again[1] == pytest.approx(other[1], abs=0.3)  # single tokens have no order, and came once more
    assert np.isnan(nothing).all()


def test_the_cells_that_grew_give_the_counts_again() -> None:
    documents = [[1, 2, 3, 4, 5] * 50, [2, 3, 4] * 40, [7]]
    _, grown_X, counts_C = sketched(documents, 1 << 20)
    again_C = np.zeros_like(counts_C)
    grow(again_C, np.sort(grown_X))
    assert (again_C == counts_C).all()


def test_counts_of_many_are_right_within_their_steps_and_halving_halves_them() -> None:
    _, _, counts_C = sketched([[1] * 1000] * 20, 1 << 20)
    log_count = LOG_COUNTS_256[counts_C[:SINGLE_CELLS].max()]
    assert abs(log_count - np.log(20_000)) < 0.7
    left = halve(counts_C)
    assert left == np.count_nonzero(counts_C)
    assert log_count - LOG_COUNTS_256[counts_C[:SINGLE_CELLS].max()] == pytest.approx(np.log(2), abs=0.02)
    ones_C = np.full(8, HALF, np.uint8)
    assert halve(ones_C) == 0
