"""Sums of blocks against the same in Python's numbers, and what changes them."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import checksums
from kernels.checksums import BLOCK_WORDS, FACTOR, SEED


def expected(words: list[int]) -> int:
    """The definition, in whole numbers."""
    terms = [(word ^ word >> 32) * ((FACTOR * place % 2**64) | 1) for place, word in enumerate(words, 1)]
    return (SEED + sum(terms)) % 2**64


@pytest.mark.parametrize("num_words", [1, BLOCK_WORDS - 1, BLOCK_WORDS, 2 * BLOCK_WORDS + 7])
def test_sums_are_those_of_the_definition(num_words: int) -> None:
    words = np.random.default_rng(num_words).integers(0, 1 << 64, num_words, dtype=np.uint64)
    sums_K = np.zeros(-(-num_words // BLOCK_WORDS), np.uint64)
    checksums.sum_blocks(words.ctypes.data, num_words, sums_K)
    blocks = [words[start : start + BLOCK_WORDS].tolist() for start in range(0, num_words, BLOCK_WORDS)]
    assert sums_K.tolist() == [expected(block) for block in blocks]


def test_every_bit_counts_and_zeros_are_no_sum_of_zeros() -> None:
    words = np.random.default_rng(3).integers(0, 1 << 64, BLOCK_WORDS, dtype=np.uint64)
    sums_K = np.zeros(1, np.uint64)
    checksums.sum_blocks(words.ctypes.data, len(words), sums_K)
    for place in (0, 200, BLOCK_WORDS - 1):
        for bit in range(64):
            words[place] ^= np.uint64(1 << bit)
            assert checksums.first_damaged(words.ctypes.data, len(words), sums_K) == 0
            words[place] ^= np.uint64(1 << bit)
    assert checksums.first_damaged(words.ctypes.data, len(words), sums_K) == -1
    words.fill(0)
    assert checksums.first_damaged(words.ctypes.data, len(words), np.zeros(1, np.uint64)) == 0
