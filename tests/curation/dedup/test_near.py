"""Near-duplicate removal on texts: what is found, what is restored, and exact truth over real documents."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import numpy as np
import pytest

from curation.dedup.near import Matches, NearDedup, NearDedupConfig
from kernels.columns import join_texts
from kernels.lsh import BUCKET, BUDGET
from kernels.minhash import count_tags
from tests.corpus import read_zst_jsonl
from tests.kernels.test_minhash import shingle_set


def match_texts(near_dedup: NearDedup, texts: list[str], *, first: int = 0) -> Matches:
    signatures_BP, has_words_B = near_dedup.sign(join_texts(texts))
    return near_dedup.match(np.arange(first, first + len(texts)), signatures_BP, has_words_B)


def page(seed: int, num_words: int = 300) -> list[str]:
    return random.Random(seed).choices([f"word{i}" for i in range(3000)], k=num_words)


def similar_pages() -> list[str]:
    """Pages of 20 families, from exact copies to distant relatives."""
    rng = random.Random(11)
    texts = []
    for number in range(600):
        words = page(number % 20)
        share = rng.choice([0.0, 0.002, 0.01, 0.03, 0.1])
        texts.append(" ".join(word if rng.random() > share else f"new{rng.randrange(1000)}" for word in words))
    return texts


def test_an_edited_copy_is_matched_to_the_original_and_a_stranger_is_not() -> None:
    original, stranger = page(1), page(2)
    edited = [*original]
    edited[100] = "edited"
    matches = match_texts(NearDedup(NearDedupConfig()), [" ".join(words) for words in (original, stranger, edited)])
    assert matches.doc_nos_B.tolist() == [-1, -1, 0]
    a, b = shingle_set(" ".join(original)), shingle_set(" ".join(edited))
    assert matches.similarities_B[2] == pytest.approx(len(a & b) / len(a | b), abs=0.06)
    assert matches.similarities_B[:2].tolist() == [0, 0]


def test_copies_have_a_similarity_of_one() -> None:
    matches = match_texts(
        NearDedup(NearDedupConfig()), ["Same text, twice.", "same  TEXT,\ntwice.", "大模型的数据去重"] * 2
    )
    assert matches.doc_nos_B.tolist() == [-1, 0, -1, 0, 0, 2]
    assert matches.similarities_B.tolist() == [0, 1, 0, 1, 1, 1]


@pytest.mark.parametrize(
    "texts",
    [
        ["C++ tutorial for beginners", "C# tutorial for beginners", "C tutorial for beginners"],
        ["if (a < b) { swap(a, b); }", "if (a > b) { swap(a, b); }", "if (a < b) { swap(a, b) }"],
        ["A whole tutorial of C++ in eight words", "A whole tutorial of C# in eight words"],
        ["He said yes.", "He said yes?", "He said: yes!"],
        ["y = -x", "y = x", "y == x"],
    ],
)
def test_texts_of_few_words_that_differ_in_symbols_are_no_duplicates(texts: list[str]) -> None:
    assert match_texts(NearDedup(NearDedupConfig()), texts).doc_nos_B.tolist() == [-1] * len(texts)


def test_a_title_with_one_more_word_is_as_alike_as_its_words() -> None:
    for num_words in range(8, 16):
        words = [f"word{number}" for number in range(num_words + 1)]
        words[2] += ":"
        matches = match_texts(NearDedup(NearDedupConfig()), [" ".join(words[:num_words]), " ".join(words)])
        assert matches.doc_nos_B.tolist() == [-1, 0]


def test_texts_without_words_are_never_near_duplicates() -> None:
    near_dedup = NearDedup(NearDedupConfig())
    assert match_texts(near_dedup, ["", "", "...", "...", "\n \n"]).doc_nos_B.tolist() == [-1] * 5
    assert len(near_dedup) == 0


def test_short_texts_match_only_if_their_words_are_the_same() -> None:
    titles = [f"chapter {number}" for number in range(3000)]
    matches = match_texts(NearDedup(NearDedupConfig()), [*titles, "Chapter  7"])
    assert (matches.doc_nos_B[:-1] == -1).all()
    assert matches.doc_nos_B[-1] == 7


def test_dropped_documents_are_not_matched_against() -> None:
    first = page(3, 400)
    drift = [[*first], [*first], [*first]]
    for step, words in enumerate(drift):
        for place in range(step * 8):
            words[place * 19] = f"changed{place}"
    similarity = [len(shingle_set(" ".join(drift[0])) & shingle_set(" ".join(words))) for words in drift]
    assert similarity[2] < 0.82 * similarity[0]  # J = 0.68
    matches = match_texts(NearDedup(NearDedupConfig(min_similarity=0.8)), [" ".join(words) for words in drift])
    assert matches.doc_nos_B.tolist() == [-1, 0, -1]


@pytest.mark.parametrize("batch", [1, 7, 600])
def test_results_do_not_depend_on_batches(batch: int) -> None:
    texts = similar_pages()
    whole = match_texts(NearDedup(NearDedupConfig()), texts)
    near_dedup = NearDedup(NearDedupConfig())
    parts = [match_texts(near_dedup, texts[i : i + batch], first=i) for i in range(0, len(texts), batch)]
    assert np.concatenate([part.doc_nos_B for part in parts]).tolist() == whole.doc_nos_B.tolist()
    assert np.concatenate([part.similarities_B for part in parts]).tolist() == whole.similarities_B.tolist()
    assert 100 < (whole.doc_nos_B >= 0).sum() < 580


def test_restored_state_decides_like_the_one_that_never_stopped() -> None:
    texts = similar_pages()
    steady, facts = NearDedup(NearDedupConfig()), {}
    signatures_BP, has_words_B = steady.sign(join_texts(texts))
    matches = steady.match(np.arange(300), signatures_BP[:300], has_words_B[:300])
    for doc_no in np.flatnonzero(matches.doc_nos_B < 0).tolist():
        facts[doc_no] = matches.facts_BP[doc_no].tobytes()
    retracted = sorted(facts)[3:30:4]
    applied, bulk = NearDedup(steady.config), NearDedup(steady.config)
    for doc_no, signature in facts.items():
        applied.restore(np.array([doc_no]), np.frombuffer(signature, np.uint8)[None])
    for doc_no in retracted:
        assert steady.drop(doc_no)
        assert applied.drop(doc_no)
        del facts[doc_no]
    bulk.restore(np.array(sorted(facts)), np.array([list(facts[doc_no]) for doc_no in sorted(facts)], np.uint8))
    assert len(steady) == len(applied) == len(bulk) == len(facts)
    later = [
        each.match(np.arange(300, 600), signatures_BP[300:], has_words_B[300:]) for each in (steady, applied, bulk)
    ]
    for other in later[1:]:
        assert other.doc_nos_B.tolist() == later[0].doc_nos_B.tolist()
        assert other.similarities_B.tolist() == later[0].similarities_B.tolist()
    assert (later[0].doc_nos_B >= 300).any()


def test_facts_of_before_which_told_no_bands_are_taken_as_those_of_first_bands() -> None:
    texts = similar_pages()
    steady, restored = NearDedup(NearDedupConfig()), NearDedup(NearDedupConfig())
    signatures_BP, has_words_B = steady.sign(join_texts(texts))
    matches = steady.match(np.arange(300), signatures_BP[:300], has_words_B[:300])
    survivors = np.flatnonzero(matches.doc_nos_B < 0)
    restored.restore(survivors, matches.facts_BP[survivors, :-8])
    later = [each.match(np.arange(300, 600), signatures_BP[300:], has_words_B[300:]) for each in (steady, restored)]
    assert later[0].doc_nos_B.tolist() == later[1].doc_nos_B.tolist()


def test_a_signature_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="368 bytes a document"):
        NearDedup(NearDedupConfig()).restore(np.array([1]), np.zeros((1, 64), np.uint8))


@pytest.mark.parametrize(
    "options",
    [
        {"num_bands": 65},
        {"band_rows": 0},
        {"sketch_bins": 1000},
        {"num_permutations": 256},
        {"min_similarity": 0.0},
        {"bands": 16},
        {"num_bands": 0},
    ],
)
def test_impossible_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, NearDedupConfig)


@pytest.mark.parametrize(
    ("documents", "pairs"), [("web/powershell-docs", "powershell"), ("neardup/licenses", "licenses")]
)
def test_documents_alike_by_exact_truth_are_not_both_kept(corpora: Path, documents: str, pairs: str) -> None:
    ids, texts = [], []
    for document in read_zst_jsonl(corpora / f"{documents}.jsonl.zst"):
        ids.append(document["id"])
        texts.append(document["text"])
    matches = match_texts(NearDedup(NearDedupConfig()), texts)
    kept = {ids[i] for i in np.flatnonzero(matches.doc_nos_B < 0).tolist()}
    place = {doc_id: i for i, doc_id in enumerate(ids)}
    alike = missed = 0
    best_earlier: dict[str, float] = {}
    for pair in read_zst_jsonl(corpora / f"neardup/allpairs-{pairs}.jsonl.zst"):
        later = max(pair["a"], pair["b"], key=place.__getitem__)
        best_earlier[later] = max(best_earlier.get(later, 0.0), pair["j"])
        if pair["j"] >= 0.8:
            alike += 1
            missed += pair["a"] in kept and pair["b"] in kept
    removed = [doc_id for doc_id in ids if doc_id not in kept]
    wrong = sum(best_earlier.get(doc_id, 0.0) < 0.7 for doc_id in removed)
    assert alike > 500
    assert missed <= 0.01 * alike
    assert wrong <= 0.01 * len(removed)


def template_family(
    shared_words: int, own_words: int, count: int, *, copy_every: int, copy_similarity: float
) -> tuple[list[str], list[int]]:
    """Texts of one template; some are copies of earlier ones but for some of their own words.

    Texts, and of each the number of its original, -1 for those that are new.
    """
    rng = np.random.default_rng(0)

    def new_words(number: int) -> list[str]:
        return [f"w{value}" for value in rng.integers(0, 1 << 40, number).tolist()]

    shared = new_words(shared_words)
    num_changed = round((shared_words + own_words - 4) * (1 - copy_similarity) / (1 + copy_similarity))
    own: list[list[str]] = []
    originals = []
    for number in range(count):
        originals.append(int(rng.integers(number)) if number % copy_every == copy_every - 1 else -1)
        if originals[-1] < 0:
            own.append(new_words(own_words))
        else:
            own.append(own[originals[-1]][:-num_changed] + new_words(num_changed))
    return [" ".join(shared + words) for words in own], originals


@pytest.mark.parametrize(
    ("shared_words", "own_words", "similarity"), [(40, 14, 0.56), (200, 55, 0.641), (200, 50, 0.662), (200, 45, 0.685)]
)
@pytest.mark.parametrize("copy_similarity", [0.85, 0.8])
def test_of_a_family_of_one_template_only_true_copies_are_dropped_with_bounded_work(
    shared_words: int, own_words: int, similarity: float, copy_similarity: float
) -> None:
    texts, originals = template_family(shared_words, own_words, 5000, copy_every=10, copy_similarity=copy_similarity)
    a, b = shingle_set(texts[0]), shingle_set(texts[1])
    assert len(a & b) / len(a | b) == pytest.approx(similarity, abs=0.003)
    config = NearDedupConfig()
    near_dedup = NearDedup(config)
    parts = [match_texts(near_dedup, texts[i : i + 1000], first=i) for i in range(0, len(texts), 1000)]
    dropped_B = np.concatenate([part.doc_nos_B for part in parts]) >= 0
    is_copy_B = np.array(originals) >= 0
    assert dropped_B[is_copy_B].mean() >= 0.985  # 99 % of them, but for chance
    assert dropped_B[~is_copy_B].mean() <= 0.001
    num_tags = count_tags(config.num_bands, config.band_rows)
    assert max(part.work_B.max() for part in parts) < 2 * num_tags * BUCKET + BUDGET
    assert parts[-1].work_B.mean() < 1.25 * parts[1].work_B.mean()


@pytest.mark.parametrize("name", ["labelled/ag_news_test", "web/cncf-glossary"])
def test_copies_with_noise_as_of_character_recognition_are_found(corpora: Path, name: str) -> None:
    rng = random.Random(5)
    characters = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJ0123456789.,;:'-"
    texts = [document["text"] for document in read_zst_jsonl(corpora / f"{name}.jsonl.zst")][:1500]
    pairs = []
    for text in texts:
        noisy = [
            character if rng.random() >= 0.01 else rng.choice(["", character, ""]) + rng.choice(characters)
            for character in text
        ]
        pairs += [text, "".join(noisy)]
    matches = match_texts(NearDedup(NearDedupConfig()), pairs)
    alike = missed = 0
    for number in range(0, len(pairs), 2):
        a, b = shingle_set(pairs[number]), shingle_set(pairs[number + 1])
        if a and len(a & b) / len(a | b) >= 0.8:
            alike += 1
            missed += matches.doc_nos_B[number] < 0 and matches.doc_nos_B[number + 1] < 0
    assert alike > 50
    assert missed <= 0.01 * alike
