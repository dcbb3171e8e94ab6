"""N-grams: counts, means and gains are those of plain Python over the same hashes."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.columns import join_texts
from kernels.ngrams import count_features, count_order, likeness_and_order, mean_weights
from kernels.words import code_point_table, normal_form, scratch_arrays, word_hashes

SIZE, SLOTS, WORDS = 512, 1 << 12, 1 << 10
TEXTS = st.lists(st.text(st.sampled_from(list("ab cd.e\n é日本Ä̈")), max_size=60), min_size=1, max_size=5)


def hashes_of(text: str) -> list[int]:
    joined = join_texts([normal_form(text)])
    scratch = scratch_arrays(int(joined.ends_B[0]))
    number, _ = word_hashes(joined.buffer_N, 0, int(joined.ends_B[0]), code_point_table(), *scratch)
    return [int(h) for h in scratch[2][:number]]


def pair(first: int, second: int) -> int:
    product = (first ^ 0xA0761D6478BD642F) * second
    return (product ^ product >> 64) & 0xFFFFFFFFFFFFFFFF


def bucket(h: int, size: int) -> int:
    return (h >> 32) * size >> 32


def features(text: str, size: int) -> list[int]:
    hashes = hashes_of(text)
    return [bucket(h, size) for h in hashes] + [bucket(pair(a, b), size) for a, b in pairwise(hashes)]


@settings(deadline=None)
@given(TEXTS)
def test_counts_and_means_are_those_of_a_loop(texts: list[str]) -> None:
    counts = np.zeros(SIZE)
    count_features(texts, counts, counts)
    found = [place for text in texts for place in features(text, SIZE)]
    assert counts.tolist() == np.bincount(np.array(found, np.int64), minlength=SIZE).tolist()
    weights = np.random.default_rng(0).normal(size=SIZE).astype(np.float32)
    for text, mean in zip(texts, mean_weights(join_texts(texts), weights).tolist(), strict=True):
        places = features(text, SIZE)
        assert mean == pytest.approx(float(weights[places].mean()) if places else math.nan, nan_ok=True, abs=1e-6)


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_the_gain_of_order_is_the_log_ratio_of_interpolated_shares(wanted: list[str], texts: list[str]) -> None:
    words, pairs = np.zeros(WORDS), np.zeros(SLOTS, np.uint32)
    count_order(wanted, words, pairs)
    together: dict[int, int] = {}
    for text in wanted:
        hashes = hashes_of(text)
        for a, b in pairwise(hashes):
            together[pair(a, b)] = together.get(pair(a, b), 0) + 1
    weights = np.ones(SIZE, np.float32)
    scores = likeness_and_order(join_texts(texts), weights, words.astype(np.float32), pairs)
    total = words.sum() + 0.5 * WORDS
    for text, (likeness, gain) in zip(texts, scores.tolist(), strict=True):
        hashes = hashes_of(text)
        assert likeness == pytest.approx(1.0 if hashes else math.nan, nan_ok=True)
        gains = []
        for a, b in pairwise(hashes):
            first, share = words[bucket(a, WORDS)], (words[bucket(b, WORDS)] + 0.5) / total
            gains.append(math.log((together.get(pair(a, b), 0) / share + 5.0) / (first + 5.0)))
        assert gain == pytest.approx(float(np.mean(gains)) if gains else math.nan, nan_ok=True, rel=1e-3, abs=1e-4)


def test_a_text_does_not_hang_on_the_batch_that_it_comes_in() -> None:
    texts = ["one two three", "", "Cafe\u0301 noir", "日本語 words and more", "one"]
    weights = np.random.default_rng(1).normal(size=SIZE).astype(np.float32)
    together = mean_weights(join_texts(texts), weights)
    alone = [mean_weights(join_texts([text]), weights)[0] for text in texts]
    assert np.array_equal(together, np.array(alone), equal_nan=True)
    composed = mean_weights(join_texts(["Café noir"]), weights)
    assert composed[0] == together[2]
