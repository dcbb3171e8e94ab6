"""Words against Python's own regular expressions."""

from __future__ import annotations

import re
import unicodedata
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.columns import join_texts
from kernels.words import (
    JOINED,
    KATAKANA,
    MARK,
    MAX_GROWTH,
    NO_WORD,
    NUM_CODE_POINTS,
    PASSED_OVER,
    code_point_table,
    scratch_arrays,
    word_hashes,
    word_kinds,
)
from tests.corpus import read_zst_jsonl

# Where UAX 29 joins and we do not, or the other way round, as the docstring of `words` lists it.
JOINERS = regex.compile(r"[\p{WB=MidLetter}\p{WB=MidNum}\p{WB=MidNumLet}'\"_\u202f\u066b]")
OTHERWISE = regex.compile(
    r"[\p{No}\p{So}\p{Sk}\p{Cf}\p{Bopomofo}\p{Javanese}\p{Balinese}\p{Buginese}\p{Batak}\p{Vai}\p{Yi}\p{Cn}"
    r"\p{Default_Ignorable_Code_Point}\u3005\u3006\u30a0\u3031-\u3035\ua9cf\uff9e\uff9f\U00016fe0-\U00016fe3]"
)
MANY_ALIKE = (range(0x3400, 0xA000), range(0xAC00, 0xD7A4), range(0x17000, 0x18D00), range(0x20000, 0x32000))


def kernel_words(text: str) -> list[str]:
    """Words as the kernel finds them in `text` or, if it asks for that, in its normal form."""
    words, composes = words_and_composes(text)
    return words_and_composes(normalized(text))[0] if composes else words


def words_and_composes(text: str) -> tuple[list[str], bool]:
    joined = join_texts([text])
    buffer_N, starts_B, ends_B = joined.buffer_N, joined.starts_B, joined.ends_B
    lower, bounds, hashes = scratch_arrays(len(buffer_N))
    num_words, composes = word_hashes(buffer_N, starts_B[0], ends_B[0], code_point_table(), lower, bounds, hashes)
    slices = bounds[: 2 * num_words].reshape(-1, 2).tolist()
    return [lower[start:end].tobytes().decode() for start, end in slices], composes


def normalized(text: str) -> str:
    """Lower case, NFC, and the foldings that keep the number of characters."""
    normal = unicodedata.normalize("NFC", text.lower())
    return "".join(part.casefold() if part.isalnum() and len(part.casefold()) == 1 else part for part in normal)


def expected_words(text: str) -> list[str]:
    """The definition, character by character."""
    words: list[str] = []
    before = NO_WORD  # kind of the last character that is neither a mark nor passed over
    for character in normalized(text):
        kind = int(word_kinds()[ord(character)])
        if kind == PASSED_OVER:
            continue
        if kind == MARK or (kind == before and kind in (JOINED, KATAKANA)):
            if before != NO_WORD:
                words[-1] += character
            continue
        if kind != NO_WORD:
            words.append(character)
        before = kind
    return words


def words_of_uax_29(text: str) -> list[str]:
    """Segments of the default algorithm, as the library `regex` has it, that hold a letter, a number or a connector."""
    segments = regex.split(r"(?wV1)\b", text)
    return [
        segment for segment in segments if regex.search(r"[\p{L}\p{N}\p{Pc}\u055a-\u055c\u055e\u058a\u05f3]", segment)
    ]


def test_english_words_are_those_of_the_regular_expression() -> None:
    text = "Snake_case, don't STOP at 3.14; e-mail: a@b.co\n" * 40
    assert kernel_words(text) == re.findall(r"\w+", text.lower())


@pytest.mark.parametrize("length", [*range(130), 1000])
def test_words_end_where_the_text_ends(length: int) -> None:
    buffer_N = join_texts(["x" * 2000]).buffer_N
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
        ("東京タワーに", ["東", "京", "タワー", "に"]),
        ("GPTモデル2", ["gpt", "モデル", "2"]),
        ("らーめん", ["ら", "ー", "め", "ん"]),
        ("ไทย ที่ ๑๒ กิโล", ["ไ", "ท", "ย", "ที่", "๑๒", "กิ", "โ", "ล"]),
        ("မြန်မာ", ["မြ", "န်", "မာ"]),
        ("ꦧꦱꦗꦮ", ["ꦧ", "ꦱ", "ꦗ", "ꦮ"]),
        ("ꆈꌠꁱꂷ", ["ꆈ", "ꌠ", "ꁱ", "ꂷ"]),
        ("བོད་སྐད", ["བོད", "སྐད"]),
        ("वह जाता है। वह जाती है॥", ["वह", "जाता", "है", "वह", "जाती", "है"]),
        ("সে খায়", ["সে", "খায\u09bc"]),
        ("அவன் போகிறான்", ["அவன்", "போகிறான்"]),
        ("Ի՞նչ է սա։", ["ի՞նչ", "է", "սա"]),
        ("العَرَبِيَّة", ["العَرَبِيَّة"]),
        ("שָׁלוֹם", ["שָׁלוֹם"]),
        ("می\u200cخواهم", ["میخواهم"]),
        ("exam\u00adple exam\u200bple \ufeffx\u200f", ["example", "exam", "ple", "x"]),
        ("can't can\u2019t 3.14 1,000", ["can", "t", "can", "t", "3", "14", "1", "000"]),
        ("a\u203fb c\uff3fd e\u202ff", ["a\u203fb", "c\uff3fd", "e", "f"]),
        ("\u0301x !\u0301y z\u0321\u0301", ["x", "y", "ź\u0321"]),
        ("葛\U000e0100城 ❤\ufe0f 1\ufe0f\u20e3", ["葛", "城", "1\u20e3"]),
        ("0\U000e01f00 0\U000e00410", ["00", "00"]),
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
    st.text(
        st.sampled_from(
            "aB1_ .é\u0301\u0308\u0323\u0321\u0344\u0f73\u0958"
            "ßİςΣ中語ไี่かタ\u3099\u00c5\u212b\u00ad가\u1161\u11a8क\u093c\u094dোﬁ😀\u2028"
        ),
        max_size=200,
    )
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
        num_bytes = (entry >> 56 & 7) + 2  # a space before it and one after
        assert code < 0x80 or num_bytes <= MAX_GROWTH * len(chr(code).encode("utf-8", "surrogatepass"))


def test_every_character_between_letters_is_cut_as_uax_29_cuts_it() -> None:
    codes = [code for code in range(0x20, NUM_CODE_POINTS) if not 0xD800 <= code < 0xE000]
    codes = [code for code in codes if code % 50 == 0 or not any(code in alike for alike in MANY_ALIKE)]
    characters = OTHERWISE.sub("", JOINERS.sub("", "".join(map(chr, codes))))
    assigned = [character for character in characters if unicodedata.category(character) != "Cn"]
    assert len(assigned) > 10_000
    for pattern in ("a{}b", "か{}か", "1{}タ", "ก{}ก", " {}x"):
        tried = [part for part in assigned if unicodedata.category(part) != "Pc" or "タ" not in pattern]
        text = normalized("\n".join(pattern.format(part) for part in tried))
        assert expected_words(text) == words_of_uax_29(text)


@pytest.mark.parametrize("name", ["web/cncf-glossary", "web/tldr", "labelled/udhr-languages"])
def test_words_of_real_documents_are_those_of_uax_29(corpora: Path, name: str) -> None:
    num_words = 0
    for document in islice(read_zst_jsonl(corpora / f"{name}.jsonl.zst"), 0, None, 50 if "tldr" in name else 4):
        text = OTHERWISE.sub(" ", JOINERS.sub(" ", document["text"][:4_000]))
        words = kernel_words(text)
        assert words == words_of_uax_29(normalized(text)), document["id"]
        num_words += len(words)
    assert num_words > 10_000


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("वह बाज़ार जाता है", "वह बाज़ार जाती है"),
        ("সে বাজারে যায়", "সে বাজারে যেয়ে"),
        ("அவன் கடைக்கு போகிறான்", "அவள் கடைக்கு போகிறாள்"),
        ("သူ ဈေး သွားတယ်", "သူ ဈေး သွားတော့"),
        ("ಅವನು ಹೋಗುತ್ತಾನೆ", "ಅವನು ಹೋಗುತ್ತಾನೊ"),
        ("ಸಹ ಗಿಡ", "ಸಹ ಗುಡ"),
        ("บ้านนี้ดี", "บ้านนี้ดู"),
        ("ספר סֵפֶר", "ספר סַפָּר"),
    ],
)
def test_sentences_that_differ_in_marks_have_different_words(one: str, other: str) -> None:
    assert kernel_words(one) != kernel_words(other)


@pytest.mark.parametrize("text", ["বাংলা ভাষায় লেখা", "தமிழ் மொழி போகிறான்", "हिन्दी भाषा", "العَرَبِيَّةُ", "Tiếng Việt"])
def test_text_in_normal_form_is_read_once(text: str) -> None:
    assert not words_and_composes(unicodedata.normalize("NFC", text))[1]


def test_equal_words_have_equal_hashes_and_different_words_different_ones() -> None:
    text = " ".join(
        f"{stem}{number} x{number}" for stem in ("word", "a_much_longer_word_than_eight") for number in range(20_000)
    )
    joined = join_texts([text])
    buffer_N, starts_B, ends_B = joined.buffer_N, joined.starts_B, joined.ends_B
    lower, bounds, hashes = scratch_arrays(len(buffer_N))
    num_words, _ = word_hashes(buffer_N, starts_B[0], ends_B[0], code_point_table(), lower, bounds, hashes)
    words = text.split()
    assert num_words == len(words)
    assert len(set(hashes[:num_words].tolist())) == len(set(words))
    assert len(set(zip(words, hashes[:num_words].tolist(), strict=True))) == len(set(words))


@pytest.mark.parametrize("name", ["web/win32", "web/tldr", "web/gesetze-de", "labelled/udhr-languages"])
def test_words_of_real_documents_are_those_of_their_normal_form(corpora: Path, name: str) -> None:
    for document in islice(read_zst_jsonl(corpora / f"{name}.jsonl.zst"), 0, 2000, 10):
        text = document["text"][:20_000]
        assert kernel_words(text) == expected_words(text)


def test_hashes_do_not_depend_on_what_stands_around_the_text() -> None:
    def hashes_of(buffer_N: np.ndarray, start: int, end: int) -> list[int]:
        lower, bounds, hashes = scratch_arrays(end - start)
        num_words, _ = word_hashes(buffer_N, start, end, code_point_table(), lower, bounds, hashes)
        return hashes[:num_words].tolist()

    texts = ["one two thrée", "four", "fünf"]
    joined = join_texts(texts)
    buffer_N, starts_B, ends_B = joined.buffer_N, joined.starts_B, joined.ends_B
    for text, start, end in zip(texts, starts_B.tolist(), ends_B.tolist(), strict=True):
        alone = join_texts([text])
        assert hashes_of(buffer_N, start, end) == hashes_of(alone.buffer_N, 0, int(alone.ends_B[0]))
