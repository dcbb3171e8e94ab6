"""Signatures against datasketch and against exact sets of shingles."""

from __future__ import annotations

import random
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from datasketch import MinHash

from kernels import minhash
from kernels.columns import join_texts
from kernels.words import code_point_table, scratch_arrays, word_hashes, word_kinds
from tests.kernels.test_words import expected_words

ENGLISH = "The quick brown fox jumps over the lazy dog, and then the dog sleeps for a while near the old river bank. "
CHINESE = "大语言模型的训练数据需要去重和过滤，以提高模型的质量。"


def shingle_hashes_of(text: str, shingle_words: int) -> list[int]:
    joined = join_texts([text])
    buffer_N, starts_B, ends_B = joined.buffer_N, joined.starts_B, joined.ends_B
    lower, bounds, hashes = scratch_arrays(len(buffer_N))
    num_words, _ = word_hashes(buffer_N, starts_B[0], ends_B[0], code_point_table(), lower, bounds, hashes)
    shingles = np.empty(num_words + 1, np.uint32)
    return shingles[: minhash.shingle_hashes(hashes, num_words, shingle_words, shingles)].tolist()


def shingle_set(text: str, shingle_words: int = 5) -> set[tuple[str, ...]]:
    words = expected_words(text)
    if len(words) < shingle_words:
        return {tuple(words)} if words else set()
    return {tuple(words[i : i + shingle_words]) for i in range(len(words) - shingle_words + 1)}


@pytest.mark.parametrize("num_permutations", [64, 128, 192, 256])
@pytest.mark.parametrize("shingle_words", [1, 3, 5, 8])
@pytest.mark.parametrize(
    "text",
    [ENGLISH * 9, CHINESE * 3, "three words only", "Grüße — aus Köln. " * 20],
    ids=["english", "chinese", "short", "german"],
)
def test_minima_equal_those_of_datasketch(text: str, shingle_words: int, num_permutations: int) -> None:
    shingles = shingle_hashes_of(text, shingle_words)
    oracle = MinHash(num_perm=num_permutations, scheme="affine32", hashfunc=lambda shingle: shingle)
    oracle.update_batch(shingles)
    mixed = np.array([minhash.premix(np.uint32(shingle)) for shingle in shingles], np.uint32)
    minima_K = np.empty(num_permutations, np.uint32)
    minhash.minimize(mixed, len(mixed), *minhash.permutations(num_permutations), minima_K)
    assert minima_K.tolist() == oracle.hashvalues.tolist()


@pytest.mark.parametrize(
    "text", [ENGLISH * 3, CHINESE * 2, "one two three four five", "one two", "语言模型"], ids=range(5)
)
@pytest.mark.parametrize("shingle_words", [1, 2, 5])
def test_equal_shingles_and_only_those_have_equal_hashes(text: str, shingle_words: int) -> None:
    words = expected_words(text)
    width = min(len(words), shingle_words)
    shingles = [tuple(words[i : i + width]) for i in range(len(words) - width + 1)]
    hashes = shingle_hashes_of(text, shingle_words)
    assert len(hashes) == len(shingles)
    assert len(set(zip(shingles, hashes, strict=True))) == len(set(shingles)) == len(set(hashes))


def test_chinese_is_shingled_by_characters() -> None:
    assert len(shingle_hashes_of("大语言模型的训练数据", 5)) == 6
    assert len(shingle_hashes_of("大语 言模，型", 5)) == 1


def sign(texts: list[str], num_bands: int = 20, band_rows: int = 2) -> tuple[np.ndarray, ...]:
    return minhash.sign(join_texts(texts), num_bands=num_bands, band_rows=band_rows, sketch_bins=1024)


def test_only_a_text_with_a_word_has_words() -> None:
    assert sign(["", " … — !\n", "word", "語", "_"])[3].tolist() == [False, False, True, True, True]


def test_no_documents_give_no_signatures() -> None:
    sketches_BQ, tags_BT, symbols_B, has_words_B = sign([])
    assert sketches_BQ.shape == (0, 256)
    assert tags_BT.shape == (0, 64)
    assert symbols_B.shape == has_words_B.shape == (0,)


def test_composed_and_decomposed_text_have_the_same_signature() -> None:
    texts = ["Crème brûlée à la vanille, naïvement préparée. " * 3, "plain ascii between the two " * 3]
    decomposed = "Cre\u0300me bru\u0302le\u0301e a\u0300 la vanille, nai\u0308vement pre\u0301pare\u0301e. " * 3
    sketches_BQ, tags_BT, *_ = sign([texts[0], texts[1], decomposed])
    assert sketches_BQ[0].tolist() == sketches_BQ[2].tolist() != sketches_BQ[1].tolist()
    assert tags_BT[0].tolist() == tags_BT[2].tolist() != tags_BT[1].tolist()


@pytest.mark.parametrize("band_rows", [1, 2, 5])
def test_two_documents_share_a_tag_with_the_similarity_to_the_power_of_the_rows(band_rows: int) -> None:
    rng = random.Random(5)
    texts, truths = [], []
    for _ in range(150):
        words = [f"word{rng.randrange(5000)}" for _ in range(300)]
        edited = [word if rng.random() > 0.03 else f"new{rng.randrange(5000)}" for word in words]
        texts += [" ".join(words), " ".join(edited)]
        a, b = shingle_set(texts[-2]), shingle_set(texts[-1])
        truths.append(len(a & b) / len(a | b))
    _, tags_BT, *_ = sign(texts, 20, band_rows)
    assert (tags_BT > 0).all()
    expected = np.array(truths) ** band_rows
    half = tags_BT.shape[1] // 2
    theory = np.sqrt(np.mean(expected * (1 - expected) / half))
    for bands in (slice(0, half), slice(half, None)):
        errors_P = (tags_BT[::2, bands] == tags_BT[1::2, bands]).mean(axis=1) - expected
        assert abs(errors_P.mean()) < 4 * theory / np.sqrt(len(truths))


def test_spare_bands_have_minima_in_other_company() -> None:
    for num_bands, band_rows in [(25, 4), (25, 5), (16, 8), (1, 32)]:
        num_permutations = minhash.count_permutations(num_bands, band_rows)
        num_tags = minhash.count_tags(num_bands, band_rows)
        assert num_tags >= 2 * num_bands
        minima_K = np.arange(num_permutations, dtype=np.uint32)
        tags_T, others_T = np.zeros((2, num_tags), np.uint32)
        minhash.fill_tags(minima_K, band_rows, tags_T)
        bands_of_minimum = []
        for k in range(num_tags // 2 * band_rows):
            minhash.fill_tags(np.where(np.arange(num_permutations) == k, 999, minima_K), band_rows, others_T)
            bands_of_minimum.append(np.flatnonzero(tags_T != others_T).tolist())
        assert all(first < num_tags // 2 <= spare for first, spare in bands_of_minimum)
        assert len(set(map(tuple, bands_of_minimum))) == len(bands_of_minimum) or num_tags // 2 < band_rows


def test_bands_of_one_document_have_tags_of_their_own() -> None:
    _, tags_BT, *_ = sign(["one"] * 2, 64, 1)
    assert len(set(tags_BT[0].tolist())) == 128


def test_threads_sign_slices_of_one_buffer_as_one_would() -> None:
    texts = [ENGLISH * (number % 7) + f"{number} é e\u0301 {CHINESE}" * (number % 3) for number in range(400)]
    joined = join_texts(texts)

    def part(first: int, end: int) -> tuple[np.ndarray, ...]:
        options = {"num_bands": 25, "band_rows": 5, "sketch_bins": 512}
        return minhash.sign(joined.take(slice(first, end)), **options)

    whole = part(0, 400)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda first: part(first, first + 33), range(0, 400, 33)))
    words_B = whole[3]
    for column, expected in enumerate(whole):
        assert (np.concatenate([each[column] for each in parts])[words_B] == expected[words_B]).all()


@pytest.mark.parametrize(
    "texts",
    [
        ["C++ tutorial", "C# tutorial", "C tutorial", "C tutorial #", "C# tutorial #"],
        ["1 < 2", "1 > 2", "1 <= 2", "1 2", "-1 < 2", "1 < -2"],
        ["hello 😀", "hello 😡", "😀 hello", "hello"],
        ["价格：100元", "价格：￥100元", "价格 100元"],
        ["100 €", "100 $", "£ 100", "$ 100"],
        ["naïve?", "naïve!", "¿naïve?"],
        ["a → b", "a ← b", "a ↔ b", "a ≤ b", "a ≥ b", "a ≠ b", "a ∈ b", "a ∋ b", "a b"],
        [
            "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e007f team",
            "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e007f team",
        ],
    ],
)
def test_texts_of_few_words_differ_by_their_symbols(texts: list[str]) -> None:
    symbols_B = sign(texts)[2]
    assert len(set(symbols_B.tolist())) == len(texts)
    assert (symbols_B % 2 == 1).all()


def test_every_symbol_of_unicode_is_told_from_the_others() -> None:
    symbols = [chr(code) for code in range(0xA1, 0x3000) if unicodedata.category(chr(code))[0] in "SP"]
    symbols = [one for one in symbols if unicodedata.is_normalized("NFC", one) and not word_kinds()[ord(one)]]
    assert len(symbols) > 2000
    assert len(set(sign([f"a {one} b" for one in symbols])[2].tolist())) == len(symbols)


def test_white_space_case_and_variation_selectors_make_no_difference_to_symbols() -> None:
    texts = ["Grüße — aus KÖLN! ☎", "grüße\u00a0—\u2003aus\n\nKöln!☎\ufe0f", "  GRÜßE — aus köln ! ☎\U000e0100 "]
    sketches_BQ, _, symbols_B, _ = sign(texts)
    assert len({sketch.tobytes() for sketch in sketches_BQ}) == len(set(symbols_B.tolist())) == 1


def test_words_after_the_last_symbol_make_no_difference_to_symbols() -> None:
    symbols_B = sign(["C++ tutorial", "C++ tutorial for beginners", "C++", "tutorial C++"])[2]
    assert symbols_B[0] == symbols_B[1] == symbols_B[2] != symbols_B[3]


def test_texts_of_many_words_have_no_symbols() -> None:
    words = [f"word{number}" for number in range(16)]
    symbols_B = sign([" ".join(words[:number]) + "!" for number in range(1, 17)])[2]
    assert (symbols_B[:15] > 0).all()
    assert (symbols_B[:15] % 2).tolist() == [1] * 10 + [0] * 5
    assert symbols_B[15] == 0


def test_white_space_is_that_of_python() -> None:
    for code in range(0x3100):
        assert minhash.is_white_space(code) == chr(code).isspace(), hex(code)
