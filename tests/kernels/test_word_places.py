"""Places of words against the words of the folded text."""

from __future__ import annotations

import unicodedata
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernels.columns import join_texts
from kernels.word_places import word_places
from tests.corpus import read_zst_jsonl
from tests.kernels.test_words import kernel_words, normalized

SCRIPTS = "aZ09_ ,.'-\n\u00ad\u200b\u200d\ufe0f\u0301\u0308\u3099éßΣςﬁ½①«»カタひ漢字ไทยกัน한국ᄒ\u1161\u11abअि𝔸🦩ㄅꯀ"


def assert_places_hold_the_words(text: str) -> None:
    words = kernel_words(text)
    raw = text.encode()
    places = word_places(join_texts(["some text before", text]), 1).tolist()

    assert len(places) == len(words)
    assert all(first < end for first, end in places)
    for (first, end), word in zip(places, words, strict=True):
        # A character that folds to several words is the place of each.
        assert word in kernel_words(raw[first:end].decode())


@given(st.text(st.sampled_from(SCRIPTS), max_size=60))
@example("e\u0301\u0301 x\u0308")
@example("漢\u3099字abcカナ\u3099ひ9")
@settings(max_examples=400)
def test_each_word_lies_where_it_is_said_to(text: str) -> None:
    assert_places_hold_the_words(text)


@given(st.text(max_size=40))
def test_any_text_has_a_place_for_each_of_its_words(text: str) -> None:
    text = unicodedata.normalize("NFC", text.encode(errors="ignore").decode())
    assert_places_hold_the_words(text)


@pytest.mark.parametrize("name", ["legal-de", "tldr-pages", "zh-arxiv"])
def test_words_of_real_documents(corpora: Path, name: str) -> None:
    paths = sorted((corpora / "web").glob(f"{name}*.zst")) or sorted((corpora / "web").glob("*.zst"))[:1]
    for document in islice(read_zst_jsonl(paths[0]), 200):
        text = document["text"]
        assert len(word_places(join_texts([text]), 0)) == len(kernel_words(text))


def test_normalizing_leaves_as_many_words() -> None:
    for text in ("cafe\u0301 e\u0301", "ᄒ\u1161\u11ab국", "カ\u3099キ", "\u212b \u2126x"):
        assert len(word_places(join_texts([text]), 0)) == len(kernel_words(normalized(text)))
