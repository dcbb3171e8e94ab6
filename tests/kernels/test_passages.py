"""Fingerprints of passages: against plain Python, and the guarantee of winnowing."""

from __future__ import annotations

import random
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.columns import join_texts
from kernels.passages import fingerprint_passages

GRAM, WINDOW = 5, 4


def fingerprints(text: str, gram: int = GRAM, window: int = WINDOW) -> list[tuple[int, int]]:
    found, _ = fingerprint_passages(join_texts([text]), gram_words=gram, window=window)
    return [(int(h), int(first)) for h, first in found[0].tolist()]


def gram_hashes(words: list[str], gram: int) -> list[int]:
    """One by one, as texts of one gram each."""
    texts = [" ".join(words[at : at + gram]) for at in range(len(words) - gram + 1)]
    found, _ = fingerprint_passages(join_texts(texts), gram_words=gram, window=1)
    return [int(found[b]["hash"][0]) for b in range(len(texts))]


@given(words=st.lists(st.sampled_from(["a", "b", "Ab", "ä", "ß"]), max_size=60))
@settings(max_examples=200)
def test_of_every_window_the_smallest_hash_is_a_fingerprint_and_no_other(words: list[str]) -> None:
    found = fingerprints(" ".join(words))
    hashes = gram_hashes(words, GRAM)

    assert all(hashes[first] == h for h, first in found)
    windows = [hashes[at : at + WINDOW] for at in range(max(1, len(hashes) - WINDOW + 1))] if hashes else []
    assert {h for h, _ in found} == {min(window) for window in windows}
    assert [first for _, first in found] == sorted({first for _, first in found})


@given(seed=st.integers(0, 10_000), length=st.integers(0, 30))
@settings(max_examples=200)
def test_texts_that_share_a_long_run_share_a_fingerprint(seed: int, length: int) -> None:
    rng = random.Random(seed)
    draw = lambda count: [rng.choice("abcdefgh") + str(rng.randrange(50)) for _ in range(count)]  # noqa: E731
    run = draw(GRAM + WINDOW - 1)
    left, right = draw(length) + run + draw(length), draw(7) + run + draw(rng.randrange(9))

    assert {h for h, _ in fingerprints(" ".join(left))} & {h for h, _ in fingerprints(" ".join(right))}


def test_two_in_a_window_and_one_are_fingerprints() -> None:
    rng = random.Random(1)
    text = " ".join(f"w{rng.randrange(10_000)}" for _ in range(40_000))
    assert 2 / 33 * 0.95 < len(fingerprints(text, 50, 32)) / 40_000 < 2 / 33 * 1.05


def test_a_repeated_word_has_few_fingerprints() -> None:
    assert len(fingerprints("ha " * 10_000, 50, 32)) <= 10_000 / 32 + 1


@pytest.mark.parametrize("words", [0, 4, 5, 7, 8])
def test_short_texts_have_one_or_none(words: int) -> None:
    text = " ".join(f"w{n}" for n in range(words))
    assert len(fingerprints(text)) == (0 if words < GRAM else len({min(gram_hashes(text.split(), GRAM))}))


def test_case_and_composition_make_no_difference_and_scripts_without_spaces_have_letters_for_words() -> None:
    text = " ".join(f"café{n} Größer" for n in range(40))
    assert fingerprints(text) == fingerprints(unicodedata.normalize("NFD", text.replace("G", "g")))
    chinese = "".join(chr(0x4E00 + 7 * n % 500) for n in range(300))
    assert len(fingerprints(chinese)) > 60
    assert {h for h, _ in fingerprints(chinese)} & {h for h, _ in fingerprints("前言" + chinese[100:120] + "后记")}


def test_any_batch_gives_what_each_document_has_alone() -> None:
    texts = ["", "short", "e\u0301 " * 30, *(" ".join(f"w{n * k % 97}" for n in range(200)) for k in range(1, 9))]
    found, num_words_B = fingerprint_passages(join_texts(texts), gram_words=GRAM, window=WINDOW)
    for b, text in enumerate(texts):
        alone, num_words_1 = fingerprint_passages(join_texts([text]), gram_words=GRAM, window=WINDOW)
        assert np.array_equal(found[b], alone[0])
        assert num_words_B[b] == num_words_1[0]
