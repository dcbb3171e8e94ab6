from __future__ import annotations

import random
from pathlib import Path

import pytest
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from curation.batch import join_texts
from curation.language import (
    PREFIX_BYTES,
    UNDETERMINED,
    LanguageConfig,
    identify_languages,
    load_model,
    normalise_language,
)
from tests.corpus import read_zst_jsonl


@pytest.fixture(scope="module")
def original() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def prefix(text: str) -> bytes:
    return text.encode()[:PREFIX_BYTES].decode(errors="ignore").encode()


def assert_equal_to_the_original(texts: list[str], original: LanguageIdentifier) -> None:
    languages, scores_B = identify_languages(*join_texts(texts))
    for text, language, score in zip(texts, languages, scores_B.tolist(), strict=True):
        expected, probability = original.classify(prefix(text))
        if language == UNDETERMINED:
            assert score == 0
            assert probability <= 1.01 * 2 / len(original.nb_classes)  # nothing known: all classes are equal
        else:
            assert language == expected
            assert score == pytest.approx(probability, abs=1e-3)


@pytest.mark.parametrize("name", ["labelled/udhr-languages", "web/gesetze-de", "web/arxiv-zh-llm", "web/win32",
                                  "web/cncf-glossary", "web/tldr", "hostile/encodings"])  # fmt: skip
def test_languages_are_those_of_py3langid(name: str, corpora: Path, original: LanguageIdentifier) -> None:
    texts = [row["text"] for row in read_zst_jsonl(corpora / f"{name}.jsonl.zst") if row.get("text")]
    texts = random.Random(name).sample(texts, min(150, len(texts)))
    assert_equal_to_the_original(texts, original)


def test_texts_are_normalised_as_py3langid_does(original: LanguageIdentifier) -> None:
    texts = [
        "",
        "1",
        "é",
        "AN UPPER CASE TITLE OF SOME LENGTH",
        "ÜBERALL GROẞE BUCHSTABEN",
        "ΟΛΑ ΚΕΦΑΛΑΙΑ",
        "cafe\u0301 au lait, s'il vous plai\u0302t",
        "\u1112\u1161\u11ab\u1100\u1173\u11af",
        "한국어로 쓴 짧은 글입니다",
        "中文" * 1000,
        "é" * 511 + "中" * 10,
        "a" * 1023 + "é",
        "Grüße aus Köln, " * 30,
    ]
    assert_equal_to_the_original(texts, original)


def test_the_automaton_forgets_what_the_segments_do_not_read_twice() -> None:
    _, _, overlap = load_model()
    assert 1 <= overlap <= 8


def test_declared_languages_lose_their_regions_and_scripts() -> None:
    assert [normalise_language(code) for code in ("en-US", "eng_Latn", "English", " DE ", "zh_Hans", "tlh")] == [
        "en", "en", "en", "de", "zh", "tlh",
    ]  # fmt: skip


def test_contradictions_in_the_configuration_are_refused() -> None:
    with pytest.raises(ValueError, match="enabled"):
        LanguageConfig(enabled=False, keep=("en",))
    with pytest.raises(ValueError, match="write 'en'"):
        LanguageConfig(keep=("en-US",))
