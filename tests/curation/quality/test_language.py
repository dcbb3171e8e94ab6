from __future__ import annotations

import random
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from curation.quality import language as language_module
from curation.quality.language import UNDETERMINED, LanguageConfig, identify_languages, load_model
from curation.quality.language_codes import normalise_language
from kernels.characters import OTHER_SCRIPT, character_properties
from kernels.columns import Texts, join_texts
from kernels.langid import CLEAR_SCORE, FIRST_OF_BYTES, SAMPLE_BYTES
from kernels.samples import take_samples
from tests.corpus import read_zst_jsonl


@pytest.fixture(scope="module")
def original() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@pytest.fixture
def whole_samples_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_module, "FIRST_OF_BYTES", 2**40)


def is_of_other_scripts(text: str) -> bool:
    letters = [character for character in text if character.isalpha()]
    return 2 * sum(bool(character_properties()[ord(letter)] & OTHER_SCRIPT) for letter in letters) > len(letters)


def assert_equal_to_the_original(texts: list[str], original: LanguageIdentifier) -> None:
    languages, scores_B = identify_languages(join_texts(texts))
    samples, _ = take_samples(join_texts(texts), SAMPLE_BYTES)
    for sample, language, score in zip(samples, languages, scores_B.tolist(), strict=True):
        expected, probability = original.classify(sample.encode())
        if language == UNDETERMINED:
            assert score == 0
            # Nothing known: all classes are equal.
            assert is_of_other_scripts(sample) or probability <= 1.01 * 2 / len(original.nb_classes)
        else:
            assert language == normalise_language(expected)
            assert score == pytest.approx(probability, abs=1e-3)


CORPORA = (
    "labelled/udhr-languages", "web/gesetze-de", "web/arxiv-zh-llm", "web/win32", "web/cncf-glossary", "web/tldr",
    "hostile/encodings",
)  # fmt: skip


def texts_of(corpora: Path, name: str, most: int) -> list[str]:
    texts = [row["text"] for row in read_zst_jsonl(corpora / f"{name}.jsonl.zst") if row.get("text")]
    return random.Random(name).sample(texts, min(most, len(texts)))


@pytest.mark.usefixtures("whole_samples_only")
@pytest.mark.parametrize("name", CORPORA)
def test_languages_by_whole_samples_are_those_of_py3langid(
    name: str, corpora: Path, original: LanguageIdentifier
) -> None:
    assert_equal_to_the_original(texts_of(corpora, name, 150), original)


@pytest.mark.parametrize("name", CORPORA)
def test_languages_of_short_texts_are_those_of_py3langid(
    name: str, corpora: Path, original: LanguageIdentifier
) -> None:
    texts = [text.encode()[:FIRST_OF_BYTES].decode(errors="ignore") for text in texts_of(corpora, name, 50)]
    assert_equal_to_the_original(texts, original)


def by_both_ways(texts: Texts, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
    languages, scores_B = identify_languages(texts)
    monkeypatch.setattr(language_module, "FIRST_OF_BYTES", 2**40)
    whole_languages, whole_scores_B = identify_languages(texts)
    monkeypatch.undo()
    return languages, whole_languages, scores_B, whole_scores_B


def test_small_samples_decide_as_whole_ones_do(corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = (*CORPORA, "labelled/20newsgroups", "labelled/movie-reviews", "web/peps", "web/arxiv-abstracts")
    texts = join_texts([text for name in names for text in texts_of(corpora, name, 2000)])

    languages, whole_languages, scores_B, whole_scores_B = by_both_ways(texts, monkeypatch)

    same_B = np.array(languages) == whole_languages
    early_B = scores_B != whole_scores_B
    assert len(same_B) > 10_000
    assert same_B.mean() >= 0.999
    assert early_B[texts.num_bytes() > FIRST_OF_BYTES].mean() > 0.6
    assert (scores_B[early_B] >= np.float32(CLEAR_SCORE)).all()
    # A score means the same: it tells the share of whole samples that name another language.
    for threshold in (0.5, 0.9):
        assert ((scores_B >= threshold) != (whole_scores_B >= threshold)).mean() < 0.02


def test_small_samples_are_not_misled_by_heads_in_another_language(
    corpora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    udhr = [row["text"] for row in read_zst_jsonl(corpora / "labelled/udhr-languages.jsonl.zst") if row.get("text")]
    known, scores_B = identify_languages(join_texts(udhr))
    pages = [(text, lang) for text, lang, score in zip(udhr, known, scores_B, strict=True) if score > 0.95]
    rng = random.Random(1)
    texts, expected = [], []
    for _ in range(2000):
        (head, head_language), (body, body_language) = rng.sample(pages, 2)
        if head_language != body_language:
            num_characters = rng.choice((1_000, 3_000, 8_000))
            share = rng.choice((0.1, 0.2, 0.3, 0.4))
            texts.append(head[: int(share * num_characters)] + "\n\n" + body[: int((1 - share) * num_characters)])
            expected.append(body_language)

    languages, whole_languages, _, _ = by_both_ways(join_texts(texts), monkeypatch)

    right = np.mean(np.array(languages) == expected)
    assert right > np.mean(np.array(whole_languages) == expected) - 0.003
    assert right > 0.7


@pytest.mark.usefixtures("whole_samples_only")
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


GERMAN = "Wir verwenden Cookies und vergleichbare Dienste, um Ihnen ein gutes Erlebnis auf unserer Seite zu bieten. "
ENGLISH_TEXT = "The harbour of the old town was built when ships still carried salt and timber from the north. "
RUSSIAN = "Гавань старого города была построена, когда корабли ещё возили соль и лес с севера. "
CHINESE = "老城的港口建于船只还从北方运来盐和木材的时候，两道花岗岩墙保护着它。"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (GERMAN * 11 + ENGLISH_TEXT * 42, "en"),
        (ENGLISH_TEXT * 42 + GERMAN * 11, "en"),
        (ENGLISH_TEXT * 20 + GERMAN * 11 + ENGLISH_TEXT * 22, "en"),
        (GERMAN * 11 + ENGLISH_TEXT * 4000, "en"),
        (ENGLISH_TEXT * 12 + RUSSIAN * 25, "ru"),
        (ENGLISH_TEXT * 12 + CHINESE * 40, "zh"),
        (GERMAN * 40 + CHINESE * 8, "de"),
    ],
)
def test_the_language_of_a_document_is_that_of_most_of_it(text: str, language: str) -> None:
    assert identify_languages(join_texts([text]))[0] == [language]


@pytest.mark.parametrize(
    "text",
    [
        ENGLISH_TEXT,
        GERMAN,
        RUSSIAN,
        "Το λιμάνι της παλιάς πόλης χτίστηκε όταν τα πλοία μετέφεραν ακόμη αλάτι και ξυλεία από τον βορρά. ",
        "Le port de la vieille ville fut construit quand les navires transportaient encore du sel et du bois. ",
    ],
)
def test_text_in_capitals_has_the_language_of_the_text(text: str) -> None:
    plain = identify_languages(join_texts([text]))[0]
    capitals = text.upper()
    mixed = capitals.replace(" ", " ", 1).replace("A", "a", 1)
    long = capitals * 100
    assert identify_languages(join_texts([capitals, mixed, long]))[0] == plain * 3


@pytest.mark.parametrize(
    "script",
    ["CHEROKEE", "YI", "SYRIAC", "CANADIAN", "THAANA", "NKO", "TIFINAGH", "MONGOLIAN", "JAVANESE", "BALINESE", "GOTHIC",
     "COPTIC", "SUNDANESE", "VAI", "OL", "MEETEI", "ADLAM", "LISU", "BAMUM", "CHAM", "TAI", "LEPCHA", "LIMBU", "RUNIC",
     "OGHAM", "EGYPTIAN", "CUNEIFORM", "DESERET", "OSAGE", "TAGALOG", "BUGINESE", "BATAK", "KAYAH", "NEW", "GLAGOLITIC",
     "MANDAIC", "SAMARITAN", "TANGUT", "NUSHU"],
)  # fmt: skip
def test_scripts_that_the_model_lacks_are_undetermined(script: str) -> None:
    letters = [
        chr(code)
        for code in range(0x20000)
        if unicodedata.name(chr(code), "").startswith(script + " ") and chr(code).isalpha()
    ]
    rng = random.Random(script)
    text = " ".join("".join(rng.choices(letters, k=5)) for _ in range(200))
    languages, scores_B = identify_languages(join_texts([text, text + " with two words", text[:40]]))
    assert languages == [UNDETERMINED] * 3
    assert scores_B.tolist() == [0, 0, 0]


@pytest.mark.parametrize("label", ["chr", "iii", "ojb", "tzm_tfng", "tgl_tglg", "khk_mong"])
def test_real_texts_in_scripts_that_the_model_lacks_are_undetermined(corpora: Path, label: str) -> None:
    texts = [
        row["text"] for row in read_zst_jsonl(corpora / "labelled/udhr-languages.jsonl.zst") if row["label"] == label
    ]
    assert identify_languages(join_texts(texts))[0] == [UNDETERMINED]


def test_und_can_be_kept() -> None:
    assert LanguageConfig(keep=("und", "German")).kept_languages() == {"und", "de"}


def test_keep_takes_every_name_of_a_language_and_covers_its_members() -> None:
    assert LanguageConfig(keep=("deu_Latn", "Norwegian")).kept_languages() == {"de", "no", "nb", "nn"}
    assert LanguageConfig(keep=("nb",)).kept_languages() == {"no", "nb"}
    assert LanguageConfig(keep=("cmn",)).kept_languages() == {"zh", "cmn"}
    assert {"ary", "arz", "arb", "ar"} <= LanguageConfig(keep=("ar",)).kept_languages()


def test_contradictions_in_the_configuration_are_refused() -> None:
    with pytest.raises(ValueError, match="enabled"):
        LanguageConfig(enabled=False, keep=("en",))
    with pytest.raises(ValueError, match="'enlish', which names no language; the nearest is 'english'"):
        LanguageConfig(keep=("enlish",))
    with pytest.raises(ValueError, match="names no language"):
        LanguageConfig(keep=("xx",))
