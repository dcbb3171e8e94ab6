"""Names of languages: what datasets write for a language, as one code, and which codes mean the same languages.

A declared language may be a code of ISO 639-1, 639-2 or 639-3, with a script and a region in the way of BCP 47, POSIX
or FLORES ("de-AT", "de_DE.UTF-8", "deu_Latn"), or an English name. All become the two-letter code where there is one,
else the three-letter code. The registry is that of the package iso639-lang, read at first use (0.2 s).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import NamedTuple

# Codes that say that the language is not known; a text that declares one of these declares nothing.
_SAYS_NOTHING = frozenset(("und", "mis", "mul"))
# Common English names that ISO 639 has in another form only.
_COMMON_NAMES = {
    "bangla": "bn",
    "bokmal": "nb",
    "bokmål": "nb",
    "cantonese": "yue",
    "farsi": "fa",
    "frisian": "fy",
    "greek": "el",
    "gaelic": "gd",
    "khmer": "km",
    "kurmanji": "kmr",
    "mandarin": "cmn",
    "mo": "ro",
    "myanmar": "my",
    "nynorsk": "nn",
    "odia": "or",
    "serbo-croatian": "hbs",
    "sh": "hbs",
    "slovene": "sl",
    "sorani": "ckb",
}
# Two codes for what datasets and models take for one language: Filipino is the written standard of Tagalog.
_SAME = {"fil": "tl", "tl": "fil"}
# Shorter ones are taken for codes, not for the names of languages like Mo or The.
SHORTEST_NAME = 4
# No name in ISO 639 has as many characters. What is looked up is remembered, and anything may be declared.
LONGEST_NAME = 100


class _Registry(NamedTuple):
    codes: dict[str, str]  # any code, in lower case: the code that is used here
    names: dict[str, str]  # English names, in lower case
    members: dict[str, frozenset[str]]  # of a macrolanguage
    macrolanguages: dict[str, str]  # of a member


@cache
def _registry() -> _Registry:
    from iso639 import iter_langs
    from iso639.datafile import load_file

    codes: dict[str, str] = {}
    # Names in full win over those that were shortened, names of reference over others, and languages with a
    # two-letter code over members and dead languages of the same name.
    shortened: dict[str, str] = {}
    others: dict[str, str] = {}
    references: dict[str, str] = {}
    languages = sorted((lang for lang in iter_langs() if lang.pt3), key=lambda lang: bool(lang.pt1))
    for language in languages:
        code = language.pt1 or language.pt3
        codes |= dict.fromkeys(filter(None, (language.pt1, language.pt2b, language.pt2t, language.pt3)), code)
        references[language.name.lower()] = code
        shortened[_bare(language.name)] = code
        for name in language.other_names():
            others[name.lower()] = code
    names = {name: code for name, code in (shortened | others | references).items() if len(name) >= SHORTEST_NAME}
    members: dict[str, frozenset[str]] = {}
    macrolanguages: dict[str, str] = {}
    for language in languages:
        individuals = frozenset(codes[member.pt3] for member in language.individuals() if member.pt3 in codes)
        if individuals:
            code = codes[language.pt3]
            members[code] = individuals
            macrolanguages |= dict.fromkeys(individuals, code)
    for old, withdrawn in load_file("mapping_deprecated")["id"].items():
        if withdrawn["change_to"] in codes:
            codes.setdefault(old, codes[withdrawn["change_to"]])
    return _Registry(codes, names | _COMMON_NAMES, members, macrolanguages)


def _bare(name: str) -> str:
    """The name without what stands in brackets or behind a comma: "Malay (macrolanguage)", "Greek, Modern (1453-)"."""
    return re.split(r"[,(;/]", name.lower(), maxsplit=1)[0].strip()


def normalise_language(declared: str) -> str:
    """The code of a declared language, in lower case; "" for what names no language.

    >>> [normalise_language(name) for name in ("deu_Latn", "ger", "German", "de-AT", "zho_Hans", "nob")]
    ['de', 'de', 'de', 'de', 'zh', 'nb']
    """
    return _look_up(declared) if len(declared) <= LONGEST_NAME else ""


@lru_cache(maxsize=10_000)
def _look_up(declared: str) -> str:
    registry = _registry()
    text = declared.strip().lower()
    first = re.split(r"[-_.@]", text, maxsplit=1)[0]
    bare = _bare(text.replace("_", " "))
    code = (
        registry.codes.get(first)
        or registry.names.get(text.replace("_", " "))
        or registry.names.get(bare)
        or registry.names.get(bare.rpartition(" ")[2])  # Brazilian Portuguese, Traditional Chinese
        or ""
    )
    return "" if code in _SAYS_NOTHING else code


def nearest_language(declared: str) -> str:
    """The code or name that looks most like what names no language."""
    declared = declared[:LONGEST_NAME]
    registry = _registry()
    known = [*registry.codes, *registry.names]
    return difflib.get_close_matches(declared.strip().lower(), known, n=1, cutoff=0)[0]


def covered_languages(codes: Iterable[str]) -> frozenset[str]:
    """The codes, and those that name the same documents: members of a macrolanguage, the macrolanguage of a member.

    >>> sorted(covered_languages(["no"]))
    ['nb', 'nn', 'no']
    >>> sorted(covered_languages(["nb"]))
    ['nb', 'no']
    """
    covered = set(codes)
    for code in tuple(covered):
        registry = _registry()
        covered |= registry.members.get(code, frozenset())
        if code in registry.macrolanguages:
            covered.add(registry.macrolanguages[code])
        if code in _SAME:
            covered.add(_SAME[code])
    return frozenset(covered)
