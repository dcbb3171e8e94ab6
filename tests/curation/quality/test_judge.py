from __future__ import annotations

import base64
import binascii
import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.quality.judge import PRESETS, Measures, Quality, QualityConfig, Verdicts
from curation.quality.language import LanguageConfig
from curation.quality.rules import RULE_NAMES, RULES, Rule
from kernels.c4 import SENTENCE_END
from kernels.columns import join_texts
from kernels.quality import Value, measure_documents
from kernels.text_masks import HASH_LAST
from kernels.words import ALONE, BLOCKS_WITHOUT_SPACES, MARK, NO_WORD, PASSED_OVER, word_kinds
from tests.corpus import read_zst_jsonl
from tests.curation.quality.datatrove_filters import build_filters, keeps
from tests.curation.quality.quality_reference import quality_values

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


def values_of(texts: list[str], published: bool = True) -> np.ndarray:
    return measure_documents(join_texts(texts), published=published)


def judge(texts: list[str], config: QualityConfig, languages: tuple[str, ...]) -> tuple[Measures, Verdicts]:
    quality = Quality(config, NO_LANGUAGE)
    measures = quality.measure(join_texts(texts), languages)
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
    for text, values_V in zip(texts, values_of(texts), strict=True):
        assert values_V.tolist() == quality_values(text)


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
    measures, _ = judge(texts, QualityConfig(strict_published=True), ("",) * len(texts))
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
    values_BV = values_of(list(texts.values()))
    assert np.isfinite(values_BV).all()
    values = {name: dict(zip(Value, values_V, strict=True)) for name, values_V in zip(texts, values_BV, strict=True)}
    assert values["empty"][Value.FILLED_LINES] == values["newlines"][Value.FILLED_LINES] == 0
    assert values["equal words"][Value.DUPLICATE_10_GRAMS] > 0.79
    assert values["equal lines"][Value.DUPLICATE_LINES] > 0.99
    assert values["one word"][Value.MEAN_WORD_CHARACTERS] == 2_000_000
    assert values["one line"][Value.C4_LOREM_IPSUM_LINES] == 1
    assert values["digits in brackets"][Value.WORDS] == 500_000


def test_measures_do_not_depend_on_the_batch(corpora: Path) -> None:
    texts = sample(corpora, ["web/win32", "web/arxiv-zh-llm", "crawl/extracted-text"], each=30)
    quality = Quality(QualityConfig(preset="fineweb"), LanguageConfig(keep=("en",)))
    whole = quality.measure(join_texts(texts), ("",) * len(texts))
    verdicts = quality.judge(whole)
    for size in (1, 7):
        for first in range(0, len(texts), size):
            part = texts[first : first + size]
            measures = quality.measure(join_texts(part), ("",) * len(part))
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
cheese and bread there, and all the people seem to know all the others. Anyone who wants to be served early should
arrive before eight.
""")


def test_observing_rejects_nothing_and_counts_what_rules_would() -> None:
    measures, verdicts = judge(["too short", GOOD], QualityConfig(), ("en", "en"))
    assert not verdicts.rejected_B.any()
    assert verdicts.reasons_B == ("", "")
    assert verdicts.would_reject_R[RULE_NAMES.index("gopher_too_few_words")] == 1
    assert measures.failed_BR[0, RULE_NAMES.index("gopher_too_few_words")]


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
    measures = quality.measure(join_texts(texts), ("EN-us", "de_DE", ""))
    assert measures.languages_B[:2] == ("en", "de")
    assert measures.language_scores_B[:2].tolist() == [1, 1]
    verdicts = quality.judge(measures)
    assert verdicts.reasons_B[0] == "language_not_kept"
    assert verdicts.reasons_B[1] == "gopher_too_few_words"
    assert verdicts.reasons_B[2] in ("language_not_kept", "language_uncertain")


def test_unknown_rules_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="gopher_too_few_words"):
        QualityConfig(thresholds={"gopher_to_few_words": 3})


def test_a_rule_keeps_its_name_and_value_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules that change places, and one rule more on what is measured already."""
    ellipses = ("the be to of and that have with word some more plain text here " + "... " * 9) * 6
    texts = [ellipses, GOOD, "# " * 60]
    measures, verdicts = judge(texts, QualityConfig(preset="gopher"), ("en",) * len(texts))
    values = dict(zip(RULE_NAMES, measures.values_BR.T.tolist(), strict=True))

    more = Rule("too_many_ellipses_twice", "fineweb", "ellipses", "above", 0.2, "ellipses a word")
    rules = (more, *RULES[:5], *reversed(RULES[5:7]), *RULES[7:])
    monkeypatch.setattr("curation.quality.judge.RULES", rules)
    moved, same = judge(texts, QualityConfig(preset="gopher"), ("en",) * len(texts))

    assert same.reasons_B == verdicts.reasons_B
    assert same.reasons_B[0] == "gopher_too_many_ellipses"
    values["too_many_ellipses_twice"] = values["gopher_too_many_ellipses"]
    assert {rule.name: values_B for rule, values_B in zip(rules, moved.values_BR.T.tolist(), strict=True)} == values


CHINESE = (
    "老城的港口建于船只还从北方运来盐和木材的时候。两道花岗岩墙保护着它，因此即使在冬天的暴风雨中，里面的水面也很平静。"
    "沿着码头散步的人会注意到石头上的铁环，从前沉重的缆绳就系在上面。大多数铁环已经锈坏，但在过去十年里，当地的志愿者修复了其中一些。"
    "仓库后面有一条狭窄的街道通向集市广场。星期六农民在那里出售苹果、奶酪和面包，每个人似乎都互相认识。想早点买到东西的人应该在八点以前到达。"
)
JAPANESE = (
    "古い町の港は、船がまだ北から塩や木材を運んでいたころに造られました。二つの花崗岩の壁が港を守っているので、冬の嵐の時でも中の水は静かです。"
    "岸壁を歩く人は、石にはめ込まれた鉄の輪に気づきます。昔は重い綱がそこにつながれていました。ほとんどはさびてしまいましたが、いくつかは地元の人が直しました。"
    "倉庫の裏には市場の広場へ続く狭い道があります。土曜日には農家がりんごやチーズやパンを売り、みんなが知り合いのようです。早く買いたい人は八時までに来るべきです。"
)
THAI = (
    "ท่าเรือของเมืองเก่าสร้างขึ้นเมื่อเรือยังบรรทุกเกลือและไม้จากทางเหนือ กำแพงหินแกรนิตสองด้านปกป้องท่าเรือไว้ "
    "น้ำข้างในจึงสงบแม้ในพายุฤดูหนาว "
    "คนที่เดินตามท่าเรือจะสังเกตเห็นห่วงเหล็กในหิน ซึ่งแต่ก่อนใช้ผูกเชือกหนัก "
    "ห่วงส่วนใหญ่เป็นสนิมไปแล้ว แต่บางห่วงได้รับการซ่อมแซมโดยอาสาสมัครในท้องถิ่น "
    "หลังโกดังมีถนนแคบ ๆ ที่นำไปสู่ลานตลาด ในวันเสาร์ชาวนาขายแอปเปิล ชีส และขนมปัง และดูเหมือนทุกคนจะรู้จักกันหมด\n"
)


@pytest.mark.parametrize("preset", ["gopher", "fineweb"])
@pytest.mark.parametrize(("text", "language"), [(CHINESE, "zh"), (JAPANESE, "ja"), (THAI, "th")])
def test_prose_without_spaces_is_kept(text: str, language: str, preset: str) -> None:
    if language == "th":  # ends sentences in no mark: lines count
        text = text.replace(" ", "\n")
    _, verdicts = judge([text], QualityConfig(preset=preset), (language,))  # type: ignore[arg-type]
    assert verdicts.reasons_B == ("",)


def fails(texts: list[str], languages: list[str]) -> dict[str, float]:
    """Share of the documents that each preset rejects."""
    _, verdicts = judge(texts, QualityConfig(), tuple(languages))
    return dict(zip(PRESETS, verdicts.fails_preset_BP.mean(axis=0).tolist(), strict=True))


@pytest.mark.parametrize("name", ["web/cncf-glossary", "web/tldr"])
def test_translations_of_the_same_pages_are_rejected_as_often_as_english(corpora: Path, name: str) -> None:
    pages: dict[str, dict[str, str]] = {}
    for row in read_zst_jsonl(corpora / f"{name}.jsonl.zst"):
        pages.setdefault(row["lang"], {})[row["group"]] = row["text"]
    english = pages.pop("en")
    num_languages = 0
    for language, texts in pages.items():
        groups = sorted(group for group in texts if group in english)[:120]
        translated = fails([texts[group] for group in groups], [language] * len(groups))
        original = fails([english[group] for group in groups], ["en"] * len(groups))
        num_languages += 1
        for preset in PRESETS:
            # One page more or less is no difference.
            assert translated[preset] <= 2 * original[preset] + 1.5 / len(groups), (language, preset)
            if preset == "gopher" or (preset == "c4" and language not in ("th", "lo")):
                assert original[preset] <= 2 * translated[preset] + 1.5 / len(groups), (language, preset)
    assert num_languages >= 15


def test_chinese_abstracts_are_kept_like_english_ones(corpora: Path) -> None:
    texts = sample(corpora, ["web/arxiv-zh-llm"], each=1000)
    assert fails(texts, ["zh"] * len(texts))["gopher"] < 0.05
    _, verdicts = judge(texts, QualityConfig(strict_published=True), ("zh",) * len(texts))
    assert verdicts.would_reject_R[RULE_NAMES.index("gopher_too_few_words")] > 0.98 * len(texts)


def test_the_declaration_of_human_rights_repeats_no_line_in_any_language(corpora: Path) -> None:
    texts = [row["text"] for row in read_zst_jsonl(corpora / "labelled/udhr-languages.jsonl.zst")]
    for published, fewest, most in ((True, 190, 200), (False, 0, 0)):
        _, verdicts = judge(texts, QualityConfig(strict_published=published), ("xx",) * len(texts))
        assert fewest <= verdicts.would_reject_R[RULE_NAMES.index("gopher_duplicate_lines")] <= most


@pytest.mark.parametrize(
    "gap", ["\n    \n", "\n\t\n \n", "\n---\n", "\n* * *\n", "\n|\n", "\n\u3000\n", "\n____\n", "\r\n \r\n"]
)
def test_lines_without_a_word_do_not_repeat(gap: str) -> None:
    text = gap.join(f"Paragraph {number} tells of the harbour and of {number * 7} ships." for number in range(30))
    measures, _ = judge([text + gap], QualityConfig(), ("en",))
    duplicates = [number for number, name in enumerate(RULE_NAMES) if "duplicate_line" in name or "paragraph" in name]
    assert measures.values_BR[0, duplicates].tolist() == [0] * len(duplicates)
    published, _ = judge([text + gap], QualityConfig(strict_published=True), ("en",))
    assert published.failed_BR[0, RULE_NAMES.index("gopher_duplicate_lines")]


def test_lines_of_words_that_repeat_still_count() -> None:
    text = "\n   \n".join(["The same line of words."] * 30)
    measures, _ = judge([text], QualityConfig(), ("en",))
    values = dict(zip(RULE_NAMES, measures.values_BR[0].tolist(), strict=True))
    assert values["gopher_duplicate_lines"] == values["gopher_duplicate_paragraphs"] == pytest.approx(29 / 30)


def test_text_in_capitals_is_judged_like_the_text() -> None:
    quality = Quality(QualityConfig(preset="gopher"), LanguageConfig())
    measures = quality.measure(join_texts([GOOD, GOOD.upper()]), ("", ""))
    assert measures.languages_B == ("en", "en")
    assert quality.judge(measures).reasons_B == ("", "")


def rule_words(text: str) -> list[str]:
    """Words as the rules count them, by the definition: those of `words`, letters without spaces joined by a hash."""
    found: list[str] = []
    kind_before, letter_before = NO_WORD, ""
    kinds = word_kinds()
    for character in text:
        kind = int(kinds[ord(character)])
        if kind in (MARK, PASSED_OVER):
            if kind_before != NO_WORD:
                found[-1] += character
            continue
        goes_on = kind == kind_before and kind != NO_WORD
        if goes_on and kind == ALONE:
            letters = next(letters for first, end, letters in BLOCKS_WITHOUT_SPACES if first <= ord(character) < end)
            product = (ord(letter_before) << 21 | ord(character)) * HASH_LAST
            mixed = (product ^ product >> 64) & (1 << 64) - 1
            goes_on = mixed >> 32 >= int(2**32 / letters)
        if goes_on:
            found[-1] += character
        elif kind != NO_WORD:
            found.append(character)
        kind_before, letter_before = kind, character
    return found


@given(
    st.text(st.sampled_from("aB1_ .\né\u0301\u00adㄅ語中文言ไทยกขあいタヌ\u3099가क\u093cﬁ😀ꦧꦱ။\u200d１"), max_size=400)
)
@settings(max_examples=500, deadline=None)
def test_words_of_the_rules_follow_the_definition(text: str) -> None:
    words = [word for word in rule_words(text) if set(word) - {*"_１\u00ad\u200d\u0301\u3099\u093c"}]
    values_V = values_of([text], published=False)[0]
    assert values_V[Value.WORDS] == len(words)
    assert values_V[Value.MEAN_WORD_CHARACTERS] == pytest.approx(sum(map(len, words)) / len(words) if words else 0)


@given(st.text(st.sampled_from("aB1 .\n-éß"), max_size=400))
@settings(max_examples=300, deadline=None)
def test_languages_with_spaces_have_the_published_values_but_for_lines(text: str) -> None:
    about_lines = ("PARAGRAPH", "LINE")
    of_words = [value for value in Value if not any(part in value.name for part in about_lines)]
    of_words.remove(Value.STOP_WORDS)
    assert values_of([text])[0, of_words].tolist() == values_of([text], published=False)[0, of_words].tolist()


@pytest.mark.parametrize("script", ["han", "thai"])
def test_lengths_of_texts_without_spaces_are_those_of_translations(script: str, corpora: Path) -> None:
    texts = {row["label"]: row["text"] for row in read_zst_jsonl(corpora / "labelled/udhr-languages.jsonl.zst")}
    labels = {"han": ("cmn_hans", "cmn_hant"), "thai": ("tha", "mya")}[script]
    counts = values_of([texts["eng"], *(texts[label] for label in labels)], published=False)[:, Value.WORDS]
    assert (np.abs(counts[1:] / counts[0] - 1) < 0.25).all()


def blobs() -> dict[str, str]:
    rng = random.Random(3)
    lines = lambda text, width: "\n".join(text[i : i + width] for i in range(0, len(text), width))  # noqa: E731
    encoded = {
        f"base64 {size}": base64.b64encode(rng.randbytes(size)).decode() for size in (200, 500, 2000, 9000, 50_000)
    }
    return {
        **encoded,
        **{f"{name} in lines": lines(text, 76) for name, text in encoded.items()},
        "base64 of prose": lines(base64.b64encode(GOOD.encode()).decode(), 64),
        "pem": f"-----BEGIN CERTIFICATE-----\n{lines(encoded['base64 2000'], 64)}\n-----END CERTIFICATE-----\n",
        "data uri": "data:image/png;base64," + encoded["base64 9000"],
        "base32": lines(base64.b32encode(rng.randbytes(2000)).decode(), 64),
        "base85": lines(base64.b85encode(rng.randbytes(2000)).decode(), 76),
        "uuencode": "begin 644 x\n"
        + "".join(binascii.b2a_uu(rng.randbytes(45)).decode() for _ in range(40))
        + "`\nend\n",
        "hex": lines(rng.randbytes(2000).hex(), 64),
        "HEX": lines(rng.randbytes(2000).hex().upper(), 64),
        "hex bytes": lines(rng.randbytes(2000).hex(" "), 48),
        "hashes": "\n".join(rng.randbytes(20).hex() for _ in range(60)),
        "numbers": "\n".join(" ".join(str(rng.randrange(100_000)) for _ in range(10)) for _ in range(60)),
        "bases": lines("".join(rng.choices("ACGT", k=3000)), 60),
        "amino acids": lines("".join(rng.choices("ACDEFGHIKLMNPQRSTVWY", k=3000)), 60),
        "trace": "\n".join(
            f"2023-10-10T13:55:0{i % 10}.{i:03d}Z 0x{rng.getrandbits(48):012x} {i * i}" for i in range(60)
        ),
    }


@pytest.mark.parametrize("preset", ["gopher", "c4", "fineweb"])
def test_what_is_no_language_is_rejected_by_that_name(preset: str) -> None:
    quality = Quality(QualityConfig(preset=preset), LanguageConfig())  # type: ignore[arg-type]
    texts = blobs()
    measures = quality.measure(join_texts(list(texts.values())), ("",) * len(texts))
    reasons = dict(zip(texts, quality.judge(measures).reasons_B, strict=True))
    assert reasons == dict.fromkeys(texts, "no_language")


def test_documents_of_the_corpora_are_of_a_language(corpora: Path) -> None:
    names = ["web/win32", "web/peps", "web/powershell-docs", "web/gesetze-de", "web/arxiv-zh-llm", "web/cncf-glossary",
             "web/tldr", "web/arxiv-abstracts", "labelled/ag_news_test", "labelled/movie-reviews",
             "labelled/udhr-languages", "labelled/dclm-human-quality", "crawl/extracted-text"]  # fmt: skip
    texts = sample(corpora, names, each=150)
    quality = Quality(QualityConfig(), LanguageConfig())
    measures = quality.measure(join_texts(texts), ("",) * len(texts))
    assert quality.judge(measures).would_reject_R[RULE_NAMES.index("no_language")] <= 2
