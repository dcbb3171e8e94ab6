from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.batch import join_texts
from curation.kernels.c4 import SENTENCE_END
from curation.kernels.quality import measure_documents
from curation.language import LanguageConfig
from curation.quality import Measures, Quality, QualityConfig, Verdicts
from curation.rules import FILTERS_OF_PRESET, RULE_NAMES, RULES
from tests.corpus import read_zst_jsonl
from tests.curation.datatrove_filters import build_filters, keeps
from tests.curation.quality_reference import quality_values

NO_LANGUAGE = LanguageConfig(enabled=False)
# What the rules look at, in many scripts, and what sits on the edges of 64-byte blocks, of limits and of patterns.
FRAGMENTS = [
    *"aZ_1 \t\n\r\v\x1c\x85\x00.!?…{}[]()#-•'\"é中。！」”１K",
   " ", "　", "\u2028", "\u0301", "👍", "\r\n", "\n\n\n", "...", "....", "the ", " of", "and", " have ", "that",
    "javascript", "JavaScript", "lorem ipsum", "Lorem [1]Ipsum", "cookie policy", " use of cookies", "uses cookies",
    "use cookies", "privacy [12]policy", "Terms of Use", "[edit]", "[citation needed]", "[１]", "[[1]]",
    "java[2]script",
    "x" * 63, "é" * 32, "y" * 1001 + " ", "ü" * 600, "z" * 998, "a b " * 6, "one two three four five six ", "- item\n",
]  # fmt: skip


def values_of(texts: list[str]) -> np.ndarray:
    return measure_documents(*join_texts(texts))


def judge(texts: list[str], config: QualityConfig, languages: tuple[str, ...]) -> tuple[Measures, Verdicts]:
    quality = Quality(config, NO_LANGUAGE)
    measures = quality.measure(*join_texts(texts), languages)
    return measures, quality.judge(measures)


def sample(corpora: Path, names: list[str], each: int, longest: int = 30_000) -> list[str]:
    """Texts of several files, the same in every run."""
    texts = []
    for name in names:
        found = [row["text"] for row in read_zst_jsonl(corpora / f"{name}.jsonl.zst")]
        found = [text for text in found if len(text) <= longest]
        texts += random.Random(name).sample(found, min(each, len(found)))
    return texts


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=120).map("".join))
@settings(max_examples=1500, deadline=None)
def test_every_value_is_what_python_strings_say(text: str) -> None:
    assert values_of([text])[0].tolist() == quality_values(text)


@given(st.text(max_size=400))
@settings(max_examples=500, deadline=None)
def test_any_text_has_the_values_that_python_strings_say(text: str) -> None:
    assert values_of([text.encode(errors="replace").decode()])[0].tolist() == quality_values(
        text.encode(errors="replace").decode()
    )


@given(st.lists(st.sampled_from(["a", "b", "cc", "d1", "\n"]), max_size=300).map(" ".join))
@settings(max_examples=500, deadline=None)
def test_repetition_is_what_counting_says(text: str) -> None:
    assert values_of([text])[0].tolist() == quality_values(text)


def test_real_pages_have_the_values_that_python_strings_say(corpora: Path) -> None:
    names = ["web/win32", "web/gesetze-de", "web/arxiv-zh-llm", "web/cncf-glossary", "web/tldr", "crawl/extracted-text",
             "crawl/warc-responses", "crawl/templated-html", "labelled/udhr-languages"]  # fmt: skip
    texts = sample(corpora, names, each=40)
    for text, values_R in zip(texts, values_of(texts), strict=True):
        assert values_R.tolist() == quality_values(text)


@pytest.fixture(scope="module")
def filters() -> dict[str, object]:
    if not os.environ.get("CI"):
        pytest.importorskip("datatrove", reason="datatrove is not installed")
    return build_filters(SENTENCE_END)


def test_verdicts_are_those_of_datatroves_filters(corpora: Path, filters: dict[str, object]) -> None:
    names = ["web/powershell-docs", "web/win32", "web/gesetze-de", "web/arxiv-zh-llm", "web/arxiv-abstracts",
             "web/tldr", "web/cncf-glossary", "crawl/extracted-text", "crawl/warc-responses", "crawl/html-pages",
             "crawl/templated-html"]  # fmt: skip
    texts = sample(corpora, names, each=60, longest=60_000)
    measures, _ = judge(texts, QualityConfig(), ("",) * len(texts))
    for name in filters:
        of_filter_R = np.array([rule.filter == name for rule in RULES])
        kept_B = ~measures.failed_BR[:, of_filter_R].any(axis=1)
        theirs = [keeps(filters, name, text) for text in texts]
        differing = [i for i, kept in enumerate(theirs) if kept is not None and kept != kept_B[i]]
        assert len(differing) <= len(texts) // 1000, (name, [texts[i][:80] for i in differing])


def test_published_thresholds_are_those_of_datatroves_filters(filters: dict[str, object]) -> None:
    threshold = {rule.name: rule.threshold for rule in RULES}
    quality, repetition, fineweb = filters["gopher_quality"], filters["gopher_repetition"], filters["fineweb"]
    assert threshold["gopher_too_few_words"] == quality.min_doc_words  # type: ignore[attr-defined]
    assert threshold["gopher_long_words"] == quality.max_avg_word_length  # type: ignore[attr-defined]
    assert threshold["gopher_too_few_words_with_letters"] == quality.max_non_alpha_words_ratio  # type: ignore[attr-defined]
    for n, limit in repetition.top_n_grams:  # type: ignore[attr-defined]
        assert threshold[f"gopher_top_{n}_gram"] == limit
    for n, limit in repetition.dup_n_grams:  # type: ignore[attr-defined]
        assert threshold[f"gopher_duplicate_{n}_grams"] == limit
    assert threshold["fineweb_too_few_terminal_lines"] == fineweb.line_punct_thr  # type: ignore[attr-defined]
    assert threshold["fineweb_duplicate_line_characters"] == fineweb.char_duplicates_ratio  # type: ignore[attr-defined]


def hostile_texts() -> dict[str, str]:
    return {
        "empty": "",
        "blank": " \n\t\r\n ",
        "nul": "\x00" * 1000,
        "newlines": "\n" * 1_000_000,
        "equal words": "word " * 1_000_000,
        "equal lines": "the same line again and again\n" * 100_000,
        "one line": "lorem ipsum dolor [1] sit amet. " * 600_000,
        "one word": "é" * 2_000_000,
        "open brackets": "[" * 1_000_000,
        "dots": "." * 1_000_000,
        "closing": ".)" * 500_000 + "x",
        "digits in brackets": "[1" * 500_000,
        "spaces": "a" + " " * 1_000_000 + "b",
        "separators": "\u2028" * 300_000,
        "cookies": "use cookies " * 200_000,
    }


def test_hostile_documents_are_measured() -> None:
    texts = hostile_texts()
    values_BR = values_of(list(texts.values()))
    assert np.isfinite(values_BR).all()
    values = {
        name: dict(zip(RULE_NAMES, values_R, strict=True)) for name, values_R in zip(texts, values_BR, strict=True)
    }
    assert values["empty"]["fineweb_empty"] == values["newlines"]["fineweb_empty"] == 0
    assert values["equal words"]["gopher_duplicate_10_grams"] > 0.79
    assert values["equal lines"]["gopher_duplicate_lines"] > 0.99
    assert values["one word"]["gopher_long_words"] == 2_000_000
    assert values["one line"]["c4_lorem_ipsum"] == 1
    assert values["digits in brackets"]["gopher_too_few_words"] == 500_000


def test_measures_do_not_depend_on_the_batch(corpora: Path) -> None:
    texts = sample(corpora, ["web/win32", "web/arxiv-zh-llm", "crawl/extracted-text"], each=30)
    quality = Quality(QualityConfig(preset="fineweb"), LanguageConfig(keep=("en",)))
    whole = quality.measure(*join_texts(texts), ("",) * len(texts))
    verdicts = quality.judge(whole)
    for size in (1, 7):
        for first in range(0, len(texts), size):
            part = texts[first : first + size]
            measures = quality.measure(*join_texts(part), ("",) * len(part))
            span = slice(first, first + len(part))
            assert measures.values_BR.tobytes() == whole.values_BR[span].tobytes()
            assert measures.scores_B.tobytes() == whole.scores_B[span].tobytes()
            assert measures.languages_B == whole.languages_B[span]
            assert measures.language_scores_B.tobytes() == whole.language_scores_B[span].tobytes()
            assert quality.judge(measures).reasons_B == verdicts.reasons_B[span]


def test_an_empty_batch_has_no_measures() -> None:
    measures, verdicts = judge([], QualityConfig(preset="fineweb"), ())
    assert measures.values_BR.shape == (0, len(RULES))
    assert verdicts.would_reject_R.tolist() == [0] * len(RULES)


def unwrap(text: str) -> str:
    """Each paragraph on one line."""
    return "\n\n".join(paragraph.replace("\n", " ") for paragraph in text.strip().split("\n\n"))


GOOD = unwrap("""
The harbour of the old town was built when ships still came with salt and timber from the north. Two walls of granite
protect it, and between them the water is calm even in winter storms.

Visitors who walk along the quay will notice iron rings in the stone, which once held heavy ropes. Most of these rings
have rusted away, but a few were restored by local volunteers during the last decade.

Behind the warehouses begins a narrow street that leads up to the market square. On Saturdays farmers sell apples,
cheese and bread there, and everybody seems to know everybody else. Anyone who wants to be served early should arrive
before eight.
""")


def test_observing_rejects_nothing_and_counts_what_rules_would() -> None:
    measures, verdicts = judge(["too short", GOOD], QualityConfig(), ("en", "en"))
    assert not verdicts.rejected_B.any()
    assert verdicts.reasons_B == ("", "")
    assert verdicts.would_reject_R[RULE_NAMES.index("gopher_too_few_words")] == 1
    assert measures.failed_BR[0, 0]


@pytest.mark.parametrize("preset", ["gopher", "c4", "fineweb"])
def test_presets_keep_good_pages_and_reject_for_the_first_rule_that_fails(preset: str) -> None:
    config = QualityConfig(preset=preset)  # type: ignore[arg-type]
    _, verdicts = judge([GOOD, "stub"], config, ("en", "en"))
    assert verdicts.rejected_B.tolist() == [False, True]
    first = "c4_too_few_sentences" if preset == "c4" else "gopher_too_few_words"
    assert verdicts.reasons_B == ("", first)
    assert verdicts.values_B[1] == (0 if preset == "c4" else 1)
    assert np.isnan(verdicts.values_B[0])


def test_a_threshold_of_the_configuration_replaces_the_published_one() -> None:
    config = QualityConfig(preset="gopher", thresholds={"gopher_too_few_words": 1, "gopher_top_2_gram": 1e9})
    _, verdicts = judge(["Only the words that have letters"], config, ("en",))
    assert verdicts.reasons_B != ("gopher_too_few_words",)
    config = QualityConfig(preset="c4", thresholds={"c4_lines_with_javascript": 0})
    _, verdicts = judge([GOOD + "\nPlease enable JavaScript now."], config, ("en",))
    assert verdicts.reasons_B == ("c4_lines_with_javascript",)
    assert (verdicts.values_B[0], verdicts.thresholds_B[0]) == (1, 0)


def test_english_rules_decide_on_english_documents_only() -> None:
    text = """Der Hafen der alten Stadt entstand, als Schiffe noch Salz und Holz aus dem Norden brachten. Zwei Mauern
aus
Granit schützen ihn, und dazwischen bleibt das Wasser selbst bei Sturm im Winter ruhig. Wer am Kai spaziert, bemerkt
eiserne Ringe im Stein, an denen früher schwere Taue hingen. Die meisten sind verrostet, doch einige wurden erneuert.
Samstags verkaufen Bauern auf dem Markt Äpfel, Käse und Brot, und jeder scheint jeden zu kennen."""
    _, verdicts = judge([text, text], QualityConfig(preset="gopher"), ("de", "en"))
    assert verdicts.reasons_B == ("", "gopher_too_few_stop_words")


def test_scores_rise_from_junk_to_prose() -> None:
    texts = ["# # #\n\n- a\n- a\n- a\n" * 20, GOOD]
    measures, _ = judge(texts, QualityConfig(), ("en", "en"))
    assert 0 <= measures.scores_B[0] < 0.7 < 0.8 < measures.scores_B[1] <= 1


def test_languages_that_are_not_kept_are_rejected_first() -> None:
    quality = Quality(QualityConfig(preset="gopher"), LanguageConfig(keep=("de", "fr"), min_score=0.9))
    texts = ["stub", "Wir haben heute leider keine Zeit für lange Sätze.", "la de"]
    measures = quality.measure(*join_texts(texts), ("EN-us", "de_DE", ""))
    assert measures.languages_B[:2] == ("en", "de")
    assert measures.language_scores_B[:2].tolist() == [1, 1]
    verdicts = quality.judge(measures)
    assert verdicts.reasons_B[0] == "language_not_kept"
    assert verdicts.reasons_B[1] == "gopher_too_few_words"
    assert verdicts.reasons_B[2] in ("language_not_kept", "language_uncertain")


def test_unknown_rules_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="gopher_too_few_words"):
        QualityConfig(thresholds={"gopher_to_few_words": 3})


def test_every_rule_has_a_name_of_its_own_and_a_filter_of_a_preset() -> None:
    assert len(set(RULE_NAMES)) == len(RULES)
    assert {rule.filter for rule in RULES} == {name for names in FILTERS_OF_PRESET.values() for name in names}
    assert all(rule.about in rule.explain(1.0, rule.threshold) for rule in RULES)
