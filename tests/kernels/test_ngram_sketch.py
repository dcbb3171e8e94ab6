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
    BASE,
    HALF,
    LOG_COUNTS_256,
    PAIR_SHARE,
    PIECE,
    SAMPLE_BITS,
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
    grown_X, totals_2 = np.empty(6 * len(tokens_T) + 1, np.uint32), np.zeros(2, np.int64)
    num_grown = measure_and_count(tokens_T, bounds_B1, seeds_B, counts_C, totals_2, nats_B2, grown_X)
    assert totals_2.tolist() == [len(tokens_T), np.count_nonzero(counts_C)]
    return nats_B2, grown_X[:num_grown], counts_C


class Plain:
    """The sketch in whole numbers of Python, a place and a cell after the other."""

    def __init__(self, size: int) -> None:
        self.counts = [0] * size
        self.grown: list[int] = []
        self.num_tokens = 0

    def cells(self, tokens: list[int]) -> list[list[int]]:
        """Of each place: a single, a pair, and at places of threes four more."""
        num_pairs = (len(self.counts) - SINGLE_CELLS) // PAIR_SHARE
        longer = (SINGLE_CELLS + num_pairs, len(self.counts) - SINGLE_CELLS - num_pairs)
        one = two = three = 0
        found = []
        for number in tokens:
            token = mixed(number + 1)
            keys = [(token, 0, SINGLE_CELLS), (mixed(token + 3 * one), SINGLE_CELLS, num_pairs)]
            before = mixed(5 * one + 7 * two)
            if before >> 64 - SAMPLE_BITS == 0:
                beginning = 11 * before + 13 * three
                places = before + token, before, beginning + token, beginning
                keys += [(mixed(key), *longer) for key in places]
            found.append([start + ((key >> 32) * size >> 32) for key, start, size in keys])
            one, two, three = token, one, two
        return found

    def nats(self, places: list[list[int]]) -> tuple[float, float]:
        """Mean nats a token, as the module says."""
        log_total = np.log(self.num_tokens + 1.0)
        log_before = log_total
        singles = pairs = longer = 0.0
        num_longer = 0
        for cells in places:
            single, pair, *rest = (self.counts[cell] for cell in cells)
            logs = [np.float32(LOG_COUNTS_256[count]) for count in rest]
            by_single = float(LOG_COUNTS_256[single]) - log_total
            by_pair = min(float(LOG_COUNTS_256[pair]) - log_before, 0.0) if pair else by_single + LOG_BACK_OFF
            by_pair += 2 * LOG_BACK_OFF
            singles, pairs, log_before = singles + by_single, pairs + by_pair, float(LOG_COUNTS_256[single])
            if not rest:
                continue
            best = by_pair
            if rest[0] and rest[1]:
                best = float(min(logs[0] - logs[1], np.float32(0))) + LOG_BACK_OFF
            if rest[2] and rest[3]:
                best = float(min(logs[2] - logs[3], np.float32(0)))
            longer += best - by_pair
            num_longer += 1
        mean = pairs / len(places) + (longer / num_longer if num_longer else 0.0)
        return -mean, -singles / len(places)

    def take(self, tokens: list[int], seed: int) -> tuple[float, float]:
        """Measure a document, then count it."""
        if not tokens:
            return np.nan, np.nan
        places = self.cells(tokens)
        nats, draw = self.nats(places), seed
        for cell in (cell for cells in places for cell in cells):
            count = self.counts[cell]
            if count:
                draw = (draw * 6364136223846793005 + 1442695040888963407) % 2**64
                if (draw >> 32) >= int(2.0**32 * BASE**-count) or count == 255:
                    continue
            self.counts[cell] += 1
            self.grown.append(cell)
        self.num_tokens += len(tokens)
        return nats


def mixed(key: int) -> int:
    key %= 2**64
    for _ in range(2):
        key = (key ^ key >> 32) * 0xD6E8FEB86659FD93 % 2**64
    return key ^ key >> 32


@pytest.mark.parametrize("num_words", [3, 3000])
def test_nats_counts_and_cells_are_those_of_the_plain_words_of_the_module(num_words: int) -> None:
    rng = np.random.default_rng(num_words)
    lengths = [0, 1, 2, 3, 4, 60, PIECE - 1, PIECE, PIECE + 1, PIECE + 3, 2 * PIECE + 2, 300, 300, 0]
    documents = [rng.integers(0, num_words, length).tolist() for length in lengths]
    size = 1 << 18
    nats_B2, grown_X, counts_C = sketched(documents, size)
    plain = Plain(size)
    seeds = [number * 0x9E3779B97F4A7C15 % 2**64 for number in range(len(documents))]
    expected = np.array([plain.take(tokens, seed) for tokens, seed in zip(documents, seeds, strict=True)])
    assert nats_B2.tobytes() == expected.tobytes()
    assert grown_X.tolist() == plain.grown
    assert counts_C.tolist() == plain.counts


def test_a_cell_that_is_full_grows_no_more() -> None:
    counts_C, nats_B2 = np.full(1 << 18, 255, np.uint8), np.empty((1, 2))
    tokens_T, grown_X = np.arange(200, dtype=np.uint32), np.empty(1201, np.uint32)
    # A seed whose first draw is 0, below every threshold.
    inverse = pow(6364136223846793005, -1, 2**64)
    seeds_B = np.array([-1442695040888963407 * inverse % 2**64], np.uint64)
    assert (
        measure_and_count(tokens_T, np.array([0, 200]), seeds_B, counts_C, np.ones(2, np.int64), nats_B2, grown_X) == 0
    )
    assert (counts_C == 255).all()


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
