"""Which language a document is in: as declared, or by py3langid's model over samples of it.

The model travels with py3langid (142 classes, no download). Its answers are its own: the same language and probability
as `py3langid` gives for the same bytes, only faster. It sees a small sample first, and a larger one where that leaves a
doubt. Three texts it cannot judge are treated first: capitals are made small, marks are composed, and a text whose
letters are mostly of scripts that the model never saw (Cherokee, Yi, Syriac...) is of no known language ("und",
probability 0).
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from curation.quality.language_codes import covered_languages, nearest_language, normalise_language
from kernels.characters import character_properties
from kernels.columns import Texts, join_texts
from kernels.kept import kept
from kernels.langid import (
    ASK_NFC,
    COLUMNS,
    FIRST_BYTES,
    FIRST_OF_BYTES,
    IN_CAPITALS,
    SAMPLE_BYTES,
    Memory,
    allocate_memory,
    classify_documents,
    classify_halves,
    longest_ngram,
)
from kernels.nfc import nfc
from kernels.samples import take_samples
from kernels.text_masks import read_only
from ops.memory import lookup_table

UNDETERMINED = "und"
ENGLISH = "en"
# Classes of py3langid's whose code is not that of `language_codes`, which need not be read for the others.
_OTHER_CODES = {"kik": "ki"}
NO_LANGUAGE_CODE = "zxx"  # base64, logs, tables of numbers


class LanguageConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Language identification, and which languages to keep."""

    enabled: bool = True
    """Whether to identify the language of documents that declare none; without it they count as undetermined."""
    keep: tuple[str, ...] = ()
    """Languages to keep, as ISO 639 codes or English names ("en", "deu_Latn", "Chinese"); empty keeps all. A
    macrolanguage covers its members, and a member its macrolanguage: "no" keeps "nb" and "nn". Documents of no known
    language are dropped as well, unless "und" is listed."""
    min_score: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    """Probability that an identified language must have for its document to be kept; used only if `keep` is set."""

    def __post_init__(self) -> None:
        if self.keep and not self.enabled:
            raise ValueError(
                "`keep` needs `enabled = true`: without it no document without a declared language is kept"
            )
        for code in self.keep:
            if code != UNDETERMINED and not normalise_language(code):
                raise ValueError(
                    f"`keep` has {code!r}, which names no language; the nearest is {nearest_language(code)!r}"
                )

    def kept_languages(self) -> frozenset[str]:
        """Codes of all languages that `keep` covers; empty if all are kept."""
        undetermined = {UNDETERMINED} & {*self.keep}
        return covered_languages(normalise_language(code) for code in self.keep if code != UNDETERMINED) | undetermined


class LanguageModel(NamedTuple):
    """py3langid's tables, laid out for the kernel. S states, F n-grams, L languages."""

    next_state_SN: NDArray[np.uint32]  # rows of 256, one entry a byte
    row_S: NDArray[np.uint16]  # row of a state
    feature_S: NDArray[np.int32]  # n-gram that a state announces; -1 for none
    table_FL: NDArray[np.uint16]  # half-precision bits, one row an n-gram
    prior_L: NDArray[np.float32]
    first_L: NDArray[np.int64]  # the first class with the same language
    log_counts: NDArray[np.float32]  # log(1 + n) * 2^112, for n up to the bytes of a sample


@cache
def load_model() -> tuple[LanguageModel, tuple[str, ...], int]:
    """The model, its languages, and the longest n-gram in bytes; 70 MB, once a process."""
    weights_FL, weights_L, classes_L = _published_weights(version("py3langid"))
    languages = tuple(_OTHER_CODES.get(language, language) for language in classes_L.tolist())
    stride = -(-len(languages) // COLUMNS) * COLUMNS
    table_FL = lookup_table((len(weights_FL), stride), np.float16)
    table_FL[:, : len(languages)] = weights_FL
    del weights_FL  # 28 MB, of which the automaton takes the place
    prior_L = np.zeros(stride, np.float32)
    prior_L[: len(languages)] = weights_L
    moves_SN, row_S, feature_S = _published_automaton(version("py3langid"))
    model = LanguageModel(
        next_state_SN=moves_SN,
        row_S=row_S.astype(np.uint16),
        feature_S=feature_S.astype(np.int32),
        table_FL=table_FL.view(np.uint16).reshape(-1),
        prior_L=prior_L,
        first_L=np.array([languages.index(language) for language in languages], np.int64),
        log_counts=(np.log1p(np.arange(4 * SAMPLE_BYTES)) * 2.0**112).astype(np.float32),
    )
    num_states = len(model.row_S)
    overlap = longest_ngram(
        model.next_state_SN, model.row_S, np.empty(num_states, np.int32), np.empty(num_states, np.int32)
    )
    return model, languages, int(overlap)


@kept
def _published_weights(of_version: str) -> tuple[NDArray[Any], ...]:
    """The weight of an n-gram for a language, the languages' prior weights, and their codes."""
    model = _unpacked()
    return tuple(map(np.asarray, (model.nb_ptc, model.nb_pc, model.nb_classes)))


@kept
def _published_automaton(of_version: str) -> tuple[NDArray[Any], ...]:
    """The next state by row and byte; the row of a state, and what it announces."""
    model = _unpacked()
    return tuple(map(np.asarray, (model.tk_nextmove, model.tk_row, model.tk_output)))


def _unpacked() -> Any:
    """The model as py3langid reads it, in half a second and three times its memory."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)


def identify_languages(texts: Texts) -> tuple[list[str], NDArray[np.float32]]:
    """Language code and probability of each document, from samples spread over it.

    "und" with 0 for a text in which the model knows nothing. Pure; safe from several threads.
    """
    _, languages, _ = load_model()
    classes_B = np.full(len(texts), -1, np.int64)
    scores_B = np.zeros(len(texts), np.float32)
    long = np.flatnonzero(texts.num_bytes() > FIRST_OF_BYTES)
    if len(long):
        classes_B[long], scores_B[long] = _classify_first(texts.take(long))
    doubtful = np.flatnonzero(classes_B < 0)
    if len(doubtful):
        classes_B[doubtful], scores_B[doubtful] = _classify_whole(texts.take(doubtful))
    return [languages[k] if k >= 0 else UNDETERMINED for k in classes_B.tolist()], scores_B


def _classify_first(texts: Texts) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Class and probability of each text that the small sample decides; -1 and 0 for the others."""
    model, _, overlap = load_model()
    samples, middles_B = take_samples(texts, FIRST_BYTES)
    classes_B, scores_B = np.empty(len(texts), np.int64), np.empty(len(texts), np.float32)
    classify_halves(
        read_only(samples.buffer_N),
        samples.starts_B,
        middles_B,
        samples.ends_B,
        np.minimum(texts.num_bytes(), SAMPLE_BYTES),
        model,
        overlap,
        character_properties(),
        _memory(samples),
        classes_B,
        scores_B,
    )
    return classes_B, scores_B


def _classify_whole(texts: Texts) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Class (-1 for none) and probability of each text by its whole sample."""
    samples, _ = take_samples(texts, SAMPLE_BYTES)
    classes_B, scores_B, treat_B = _classify(samples)
    changed = np.flatnonzero(treat_B & (ASK_NFC | IN_CAPITALS))
    if len(changed):
        treated = [nfc(samples[b].lower() if treat_B[b] & IN_CAPITALS else samples[b]) for b in changed.tolist()]
        classes_B[changed], scores_B[changed], _ = _classify(join_texts(treated), as_is=True)
    return classes_B, scores_B


def _classify(texts: Texts, as_is: bool = False) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.uint8]]:
    """Class (-1 for none) and probability of each text, and what has to be done to it first."""
    model, _, overlap = load_model()
    classes_B, scores_B = np.empty(len(texts), np.int64), np.empty(len(texts), np.float32)
    treat_B = np.empty(len(texts), np.uint8)
    classify_documents(
        read_only(texts.buffer_N),
        texts.starts_B,
        texts.ends_B,
        model,
        overlap,
        character_properties(),
        as_is,
        _memory(texts),
        classes_B,
        scores_B,
        treat_B,
    )
    return classes_B, scores_B, treat_B


def _memory(texts: Texts) -> Memory:
    model, _, _ = load_model()
    num_columns = len(model.prior_L)
    return allocate_memory(int(texts.num_bytes().max(initial=0)), len(model.table_FL) // num_columns, num_columns)
