from __future__ import annotations

import pytest
from iso639 import Lang

from curation.quality.language import load_model
from curation.quality.language_codes import SHORTEST_NAME, covered_languages, nearest_language, normalise_language


def test_declared_languages_lose_their_regions_and_scripts() -> None:
    declared = (
        "en-US", "eng_Latn", "English", " DE ", "zh_Hans", "tlh", "deu_Latn", "deu", "ger", "German", "deu-Latn",
        "de-AT", "zh-Hant", "zho_Hans", "chi", "de_DE.UTF-8", "iw", "in", "mo",
    )  # fmt: skip
    assert [normalise_language(code) for code in declared] == [
        "en", "en", "en", "de", "zh", "tlh", "de", "de", "de", "de", "de",
        "de", "zh", "zh", "zh", "de", "he", "id", "ro",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Norwegian Bokmål", "nb"), ("norwegian", "no"), ("Brazilian Portuguese", "pt"), ("Chinese (Simplified)", "zh"),
        ("Traditional Chinese", "zh"), ("Scottish_Gaelic", "gd"), ("Greek", "el"), ("Farsi", "fa"), ("Pashto", "ps"),
        ("Swahili", "sw"), ("Malay", "ms"), ("Nepali", "ne"), ("Khmer", "km"), ("Punjabi", "pa"), ("Castilian", "es"),
        ("Nynorsk", "nn"), ("Bokmål", "nb"), ("Cantonese", "yue"), ("Myanmar", "my"), ("Sorani", "ckb"),
        ("Filipino", "fil"), ("Kurmanji", "kmr"), ("Kurdish Sorani", "ckb"),
    ],
)  # fmt: skip
def test_english_names_are_known(name: str, code: str) -> None:
    assert normalise_language(name) == code


@pytest.mark.parametrize(
    "declared", ["", "und", "mul", "unknown", "None", "N/A", "null", "xx", "simple", "-", "C", "en" * 1_000_000]
)
def test_what_names_no_language_is_told(declared: str) -> None:
    assert normalise_language(declared) == ""


def test_every_language_of_the_model_is_known_by_all_its_codes_and_its_name() -> None:
    for code in sorted({*load_model()[1]} - {"zxx"}):
        language = Lang(code)
        forms = [part for part in (language.pt1, language.pt2b, language.pt2t, language.pt3) if part]
        forms += [f"{form}{rest}" for form in forms for rest in ("_Latn", "-Cyrl", "-XX", "_XX")]
        assert {normalise_language(form) for form in forms} == {code}
        assert {normalise_language(form.upper()) for form in forms} == {code}
        assert normalise_language(language.name) == code or len(language.name) < SHORTEST_NAME


def test_macrolanguages_cover_their_members_and_members_their_macrolanguage() -> None:
    assert covered_languages(["no"]) == {"no", "nb", "nn"}
    assert covered_languages(["nn"]) == {"no", "nn"}
    assert covered_languages(["de", "fr"]) == {"de", "fr"}
    assert "yue" in covered_languages(["zh"])
    assert covered_languages(["yue"]) == {"yue", "zh"}
    assert covered_languages(["fil"]) == covered_languages(["tl"]) == {"fil", "tl"}


def test_the_nearest_name_is_found() -> None:
    assert nearest_language("Germn") == "german"
