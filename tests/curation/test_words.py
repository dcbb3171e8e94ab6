"""Words against Python's own regular expressions."""

from __future__ import annotations

import re
import unicodedata
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.batch import join_texts
from curation.kernels.words import (
    BLOCKS_WITHOUT_SPACES,
    MAX_GROWTH,
    NUM_CODE_POINTS,
    code_point_table,
    scratch_arrays,
    word_hashes,
)
from tests.corpus import read_zst_jsonl

WITHOUT_SPACES = "".join(f"{chr(first)}-{chr(end - 1)}" for first, end in BLOCKS_WITHOUT_SPACES)


def kernel_words(text: str) -> list[str]:
    """Words as the kernel finds them in `text` or, if it asks for that, in its normal form."""
    words, composes = words_and_composes(text)
    return words_and_composes(normalized(text))[0] if composes else words


def words_and_composes(text: str) -> tuple[list[str], bool]:
    buffer_N, starts_B, ends_B = join_texts([text])
    lower, bounds, hashes = scratch_arrays(len(buffer_N))
    num_words, composes = word_hashes(buffer_N, starts_B[0], ends_B[0], code_point_table(), lower, bounds, hashes)
    slices = bounds[: 2 * num_words].reshape(-1, 2).tolist()
    return [lower[start:end].tobytes().decode() for start, end in slices], composes


def normalized(text: str) -> str:
    r"""Lower case, NFC, and the foldings that keep the number of characters."""
    normal = unicodedata.normalize("NFC", text.lower())
    return "".join(part.casefold() if part.isalnum() and len(part.casefold()) == 1 else part for part in normal)


def is_written_without_spaces(character: str) -> bool:
    return bool(re.match(f"[{WITHOUT_SPACES}]", character)) and unicodedata.category(character)[0] in "LMN"


def expected_words(text: str) -> list[str]:
    r"""`\w+` of the folded text, cut around every character of a script without spaces."""
    return re.findall(f"[{WITHOUT_SPACES}]|(?:(?![{WITHOUT_SPACES}])\\w)+", keep_words(normalized(text)))


def keep_words(text: str) -> str:
    """Everything but letters, numbers, _ and the marks of scripts without spaces made a space."""
    return "".join(part if re.match(r"\w", part) or is_written_without_spaces(part) else " " for part in text)


def test_english_words_are_those_of_the_regular_expression() -> None:
    text = "Snake_case, don't STOP at 3.14; e-mail: a@b.co\n" * 40
    assert kernel_words(text) == re.findall(r"\w+", text.lower())


@pytest.mark.parametrize("length", [*range(130), 1000])
def test_words_end_where_the_text_ends(length: int) -> None:
    buffer_N, _, _ = join_texts(["x" * 2000])
    lower, bounds, hashes = scratch_arrays(length)
    num_words, _ = word_hashes(buffer_N, 7, 7 + length, code_point_table(), lower, bounds, hashes)
    assert num_words == min(length, 1)
    assert not length or bounds[:2].tolist() == [0, length]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Daß DASS dass GROẞ groß", ["daß", "dass", "dass", "groß", "groß"]),
        ("naïve “quotes” — dash…", ["naïve", "quotes", "dash"]),
        ("cafe\u0301 CAF\u00c9", ["café", "café"]),
        ("\u212b \u00c5 A\u030a", ["å", "å", "å"]),
        ("ΣΊΣΥΦΟΣ σίσυφος", ["σίσυφοσ", "σίσυφοσ"]),
        ("Привет, МИР_1", ["привет", "мир_1"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("\u1112\u1161\u11ab", ["한"]),
        ("用GPT4模型。", ["用", "gpt4", "模", "型"]),
        ("東京タワー", ["東", "京", "タ", "ワ", "ー"]),
        ("ไทย ที่", ["ไ", "ท", "ย", "ท", "ี", "่"]),
        ("abc中", ["abc", "中"]),
        ("😀 𝒳x 🇩🇪", ["𝒳x"]),
        ("", []),
        (" —–… ", []),
    ],
)
def test_words_of_other_scripts(text: str, words: list[str]) -> None:
    assert kernel_words(text) == words


@given(st.text(max_size=300))
@settings(max_examples=400, deadline=None)
def test_any_text_gives_the_words_of_its_normal_form(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    assert kernel_words(text) == expected_words(text)


@given(
    st.text(st.sampled_from("aB1_ .é\u0301\u0308ßİςΣ中語ไี่か\u3099\u00c5\u212b가\u1161\u11a8ﬁ😀\u2028"), max_size=200)
)
@settings(max_examples=400, deadline=None)
def test_difficult_neighbours_give_the_words_of_the_normal_form(text: str) -> None:
    assert kernel_words(text) == expected_words(text)


def test_every_character_alone_is_the_word_of_its_normal_form() -> None:
    codes = [code for code in range(NUM_CODE_POINTS + 100) if not 0xD800 <= code < 0xE000]
    text = " . ".join(map(chr, codes))
    words, _ = words_and_composes(text)
    assert words == expected_words(text)


def test_no_character_grows_beyond_the_scratch_arrays() -> None:
    for code, entry in enumerate(code_point_table().tolist()):
        num_bytes = (entry >> 56 & 7) + (2 if entry >> 59 & 1 else 0)
        assert num_bytes <= MAX_GROWTH * len(chr(code).encode("utf-8", "surrogatepass"))


def test_equal_words_have_equal_hashes_and_different_words_different_ones() -> None:
    text = " ".join(
        f"{stem}{number} x{number}" for stem in ("word", "a_much_longer_word_than_eight") for number in range(20_000)
    )
    buffer_N, starts_B, ends_B = join_texts([text])
    lower, bounds, hashes = scratch_arrays(len(buffer_N))
    num_words, _ = word_hashes(buffer_N, starts_B[0], ends_B[0], code_point_table(), lower, bounds, hashes)
    words = text.split()
    assert num_words == len(words)
    assert len(set(hashes[:num_words].tolist())) == len(set(words))
    assert len(set(zip(words, hashes[:num_words].tolist(), strict=True))) == len(set(words))


@pytest.mark.parametrize("name", ["web/win32", "web/tldr", "web/gesetze-de", "labelled/udhr-languages"])
def test_words_of_real_documents(corpora: Path, name: str) -> None:
    num_others = 0
    for document in islice(read_zst_jsonl(corpora / f"{name}.jsonl.zst"), 0, 2000, 10):
        text = document["text"][:20_000]
        words = kernel_words(text)
        assert words == expected_words(text)
        num_others += words != re.findall(r"\w+", unicodedata.normalize("NFC", text).lower())
    # Chinese, Japanese, Thai; Greek for its final sigma.
    assert num_others < {"web/win32": 1, "web/gesetze-de": 1}.get(name, 40)


def test_hashes_do_not_depend_on_what_stands_around_the_text() -> None:
    def hashes_of(buffer_N: np.ndarray, start: int, end: int) -> list[int]:
        lower, bounds, hashes = scratch_arrays(end - start)
        num_words, _ = word_hashes(buffer_N, start, end, code_point_table(), lower, bounds, hashes)
        return hashes[:num_words].tolist()

    texts = ["one two thrée", "four", "fünf"]
    buffer_N, starts_B, ends_B = join_texts(texts)
    for text, start, end in zip(texts, starts_B.tolist(), ends_B.tolist(), strict=True):
        alone_N, _, ends_1 = join_texts([text])
        assert hashes_of(buffer_N, start, end) == hashes_of(alone_N, 0, int(ends_1[0]))
