"""Signatures against datasketch and against exact sets of shingles."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from datasketch import MinHash

from curation.batch import join_texts
from curation.kernels import minhash
from curation.kernels.words import code_point_table, scratch_arrays, word_hashes
from tests.curation.test_words import expected_words

ENGLISH = "The quick brown fox jumps over the lazy dog, and then the dog sleeps for a while near the old river bank. "
CHINESE = "大语言模型的训练数据需要去重和过滤，以提高模型的质量。"


def shingle_hashes_of(text: str, shingle_words: int) -> list[int]:
    buffer_N, starts_B, ends_B = join_texts([text])
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
def test_signatures_equal_those_of_datasketch(text: str, shingle_words: int, num_permutations: int) -> None:
    signatures_BK, num_shingles_B = minhash.sign(
        *join_texts([text]), num_permutations=num_permutations, shingle_words=shingle_words
    )
    shingles = shingle_hashes_of(text, shingle_words)
    oracle = MinHash(num_perm=num_permutations, scheme="affine32", hashfunc=lambda shingle: shingle)
    oracle.update_batch(shingles)
    assert num_shingles_B.tolist() == [len(shingles)]
    assert signatures_BK[0].tolist() == oracle.hashvalues.tolist()


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


def test_a_text_without_words_has_no_shingle_and_a_signature_of_ones() -> None:
    signatures_BK, num_shingles_B = minhash.sign(*join_texts(["", " … — !\n", "word"]))
    assert num_shingles_B.tolist() == [0, 0, 1]
    assert (signatures_BK[:2] == 0xFFFFFFFF).all()
    assert (signatures_BK[2] != 0xFFFFFFFF).any()


def test_no_documents_give_no_signatures() -> None:
    signatures_BK, num_shingles_B = minhash.sign(*join_texts([]))
    assert signatures_BK.shape == (0, 128)
    assert num_shingles_B.shape == (0,)


def test_composed_and_decomposed_text_have_the_same_signature() -> None:
    texts = ["Crème brûlée à la vanille, naïvement préparée. " * 3, "plain ascii between the two " * 3]
    decomposed = "Cre\u0300me bru\u0302le\u0301e a\u0300 la vanille, nai\u0308vement pre\u0301pare\u0301e. " * 3
    signatures_BK, _ = minhash.sign(*join_texts([texts[0], texts[1], decomposed]))
    assert signatures_BK[0].tolist() == signatures_BK[2].tolist()
    assert signatures_BK[0].tolist() != signatures_BK[1].tolist()


def test_the_share_of_equal_values_estimates_the_similarity_without_bias() -> None:
    rng = random.Random(5)
    vocabulary = [f"word{i}" for i in range(5000)]
    texts, truths = [], []
    for _ in range(400):
        words = rng.choices(vocabulary, k=300)
        edited = [word if rng.random() > 0.03 else rng.choice(vocabulary) for word in words]
        texts += [" ".join(words), " ".join(edited)]
        a, b = shingle_set(texts[-2]), shingle_set(texts[-1])
        truths.append(len(a & b) / len(a | b))
    signatures_BK, _ = minhash.sign(*join_texts(texts))
    for bits in (32, 8, 4):
        chance = 2.0**-bits
        values_BK = signatures_BK if bits == 32 else unpack(minhash.pack(signatures_BK, bits), bits)
        truths_P = np.array(truths)
        estimates_P = ((values_BK[::2] == values_BK[1::2]).mean(axis=1) - chance) / (1 - chance)
        equal_P = truths_P + (1 - truths_P) * chance
        theory = np.sqrt(np.mean(equal_P * (1 - equal_P) / 128)) / (1 - chance)
        assert abs((estimates_P - truths_P).mean()) < 4 * theory / np.sqrt(len(truths))
        assert np.sqrt(np.square(estimates_P - truths_P).mean()) < 1.15 * theory


def unpack(packed_BP: np.ndarray, bits: int) -> np.ndarray:
    """One value a permutation again."""
    if bits == 8:
        return packed_BP
    return np.stack((packed_BP & 15, packed_BP >> 4), axis=2).reshape(len(packed_BP), -1)


@pytest.mark.parametrize("bits", [4, 8])
def test_packed_values_of_single_shingles_agree_by_chance_only(bits: int) -> None:
    signatures_BK, _ = minhash.sign(*join_texts([f"title {number}" for number in range(1500)]), num_permutations=256)
    packed_BP = minhash.pack(signatures_BK, bits)
    assert packed_BP.shape == (1500, 256 * bits // 8)
    values_BK = unpack(packed_BP, bits)
    shares = np.array([(values_BK[i] == values_BK[i + 1 :]).mean(axis=1).max() for i in range(len(values_BK) - 1)])
    assert shares.max() < 0.2
    assert (values_BK[::2] == values_BK[1::2]).mean() == pytest.approx(2.0**-bits, rel=0.05)


def test_threads_sign_slices_of_one_buffer_as_one_would() -> None:
    texts = [ENGLISH * (number % 7) + f"{number} é e\u0301 {CHINESE}" * (number % 3) for number in range(400)]
    buffer_N, starts_B, ends_B = join_texts(texts)
    whole_BK, whole_B = minhash.sign(buffer_N, starts_B, ends_B)
    with ThreadPoolExecutor(4) as pool:
        parts = list(
            pool.map(lambda i: minhash.sign(buffer_N, starts_B[i : i + 33], ends_B[i : i + 33]), range(0, 400, 33))
        )
    assert (np.concatenate([part[0] for part in parts]) == whole_BK).all()
    assert (np.concatenate([part[1] for part in parts]) == whole_B).all()


def test_permutations_come_in_passes_of_64() -> None:
    with pytest.raises(ValueError, match="multiple of 64"):
        minhash.sign(*join_texts(["text"]), num_permutations=100)
