"""The probes hold what splits and what encodings stumble over."""

from __future__ import annotations

import unicodedata

from packing.probes import probes, probes_with

# Blocks of which a step of 61 code points could miss a character.
SCRIPTS = (
    "LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "HEBREW", "ARABIC", "DEVANAGARI", "BENGALI", "TAMIL", "THAI", "MYANMAR",
    "GEORGIAN", "ETHIOPIC", "CHEROKEE", "KHMER", "MONGOLIAN", "HIRAGANA", "KATAKANA", "HANGUL", "CJK UNIFIED", "GOTHIC",
    "EGYPTIAN", "CUNEIFORM", "MATHEMATICAL", "CANADIAN SYLLABICS",
)  # fmt: skip


def test_every_script_and_every_kind_of_character_is_there() -> None:
    names = {unicodedata.name(character, "") for character in set("".join(probes()))}
    kinds = {unicodedata.category(character) for character in set("".join(probes()))}

    assert [script for script in SCRIPTS if not any(name.startswith(script) for name in names)] == []
    assert kinds >= {
        *("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No"),
        *("Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Co", "Cn"),
    }


def test_they_are_few_enough_to_be_encoded_at_every_start() -> None:
    assert sum(map(len, probes())) < 100_000


def test_no_probe_holds_the_one_text_that_is_known_to_differ() -> None:
    assert not any("'ſ" in text for text in probes())


def test_words_of_a_vocabulary_stand_in_several_places() -> None:
    assert "a<think>b <think> <think><think>  <think>\n<think>" in probes_with(["<think>"])
