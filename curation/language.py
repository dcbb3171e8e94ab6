"""Which language a document is in: as declared, or by py3langid's model over its beginning.

The model travels with py3langid (142 classes, no download). Its answers are its own: the same language and probability
as `py3langid` gives for the same bytes, only faster.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from curation.batch import join_texts
from curation.kernels.characters import character_properties
from curation.kernels.langid import COLUMNS, FETCH_AHEAD, SEGMENTS, classify_documents, longest_ngram
from curation.kernels.nfc import nfc
from curation.kernels.text_masks import read_only
from ops.memory import lookup_table

# Bytes at the beginning of a document that are looked at. Against the first 30,000 bytes, 1,024 name another language
# for 1.2 % of mixed documents (abbreviations, code, rare languages), 2,048 for 0.8 % at 1.7 times the cost.
PREFIX_BYTES = 1024
UNDETERMINED = "und"
ENGLISH = "en"
_NAMES_OF_ENGLISH = ("en", "eng", "english")


class LanguageConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Language identification, and which languages to keep."""

    enabled: bool = True
    """Whether to identify the language of documents that declare none; without it they count as undetermined."""
    keep: tuple[str, ...] = ()
    """Languages to keep, as ISO 639 codes ("en", "de", "zh"); empty keeps all."""
    min_score: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    """Probability that an identified language must have for its document to be kept; used only if `keep` is set."""

    def __post_init__(self) -> None:
        if self.keep and not self.enabled:
            raise ValueError(
                "`keep` needs `enabled = true`: without it no document without a declared language is kept"
            )
        for code in self.keep:
            if code != normalise_language(code):
                raise ValueError(f"`keep` has {code!r}: write {normalise_language(code)!r}")


class LanguageModel(NamedTuple):
    """py3langid's tables, laid out for the kernel. S states, F n-grams, L languages."""

    next_state_SN: NDArray[np.uint32]  # rows of 256, one entry a byte
    row_S: NDArray[np.uint16]  # row of a state
    feature_S: NDArray[np.int32]  # n-gram that a state announces; -1 for none
    table_FL: NDArray[np.uint16]  # half-precision bits, one row an n-gram
    prior_L: NDArray[np.float32]
    first_L: NDArray[np.int64]  # the first class with the same language
    log_counts: NDArray[np.float32]  # log(1 + n) * 2^112, for n up to the prefix


@cache
def load_model() -> tuple[LanguageModel, tuple[str, ...], int]:
    """The model, its languages, and the longest n-gram in bytes; half a second and 70 MB, once a process."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    source = LanguageIdentifier.from_model_file(MODEL_FILE)
    languages = tuple(source.nb_classes)
    num_features = len(source.nb_ptc)
    stride = -(-len(languages) // COLUMNS) * COLUMNS
    table_FL = lookup_table((num_features, stride), np.float16)
    table_FL[:, : len(languages)] = source.nb_ptc
    prior_L = np.zeros(stride, np.float32)
    prior_L[: len(languages)] = source.nb_pc
    next_state_SN = lookup_table((len(source.tk_nextmove),), np.uint32)
    next_state_SN[:] = source.tk_nextmove
    model = LanguageModel(
        next_state_SN=next_state_SN,
        row_S=np.array(source.tk_row, np.uint16),
        feature_S=np.array(source.tk_output, np.int32),
        table_FL=table_FL.view(np.uint16).reshape(-1),
        prior_L=prior_L,
        first_L=np.array([languages.index(language) for language in languages], np.int64),
        log_counts=(np.log1p(np.arange(4 * PREFIX_BYTES)) * 2.0**112).astype(np.float32),
    )
    num_states = len(model.row_S)
    overlap = longest_ngram(
        model.next_state_SN, model.row_S, np.empty(num_states, np.int32), np.empty(num_states, np.int32)
    )
    return model, languages, int(overlap)


def normalise_language(declared: str) -> str:
    """The bare, lower-cased code of a declared language: "en-US", "eng_Latn" and "English" are "en"."""
    code = declared.strip().lower().replace("_", "-").partition("-")[0]
    return ENGLISH if code in _NAMES_OF_ENGLISH else code


def identify_languages(
    buffer_N: NDArray[np.uint8], starts_B: NDArray[np.int64], ends_B: NDArray[np.int64]
) -> tuple[list[str], NDArray[np.float32]]:
    """Language code and probability of each document, from its first PREFIX_BYTES, cut at a character.

    "und" with 0 for a text in which the model knows nothing. Pure; safe from several threads.
    """
    _, languages, _ = load_model()
    prefix_ends_B = _prefix_ends(buffer_N, starts_B, ends_B)
    classes_B, scores_B, normalise_B = _classify(buffer_N, starts_B, prefix_ends_B)
    changed = np.flatnonzero(normalise_B)
    if len(changed):
        texts = [bytes(buffer_N[starts_B[b] : prefix_ends_B[b]]).decode() for b in changed.tolist()]
        texts = [nfc(text.lower() if text.isupper() else text) for text in texts]
        classes_B[changed], scores_B[changed], _ = _classify(*join_texts(texts), as_is=True)
    return [languages[k] if k >= 0 else UNDETERMINED for k in classes_B.tolist()], scores_B


def _prefix_ends(
    buffer_N: NDArray[np.uint8], starts_B: NDArray[np.int64], ends_B: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Ends of the prefixes, moved back to where a character begins."""
    prefix_ends_B = np.minimum(ends_B, starts_B + PREFIX_BYTES)
    for _ in range(3):
        prefix_ends_B -= (prefix_ends_B < ends_B) & (buffer_N[prefix_ends_B] & 0xC0 == 0x80)
    return prefix_ends_B


def _classify(
    buffer_N: NDArray[np.uint8], starts_B: NDArray[np.int64], ends_B: NDArray[np.int64], as_is: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """Class (-1 for none) and probability of each text, and whether it has to be normalised first."""
    model, _, overlap = load_model()
    num_documents = len(starts_B)
    longest_bytes = int((ends_B - starts_B).max(initial=0))
    classes_B = np.empty(num_documents, np.int64)
    scores_B = np.empty(num_documents, np.float32)
    normalise_B = np.empty(num_documents, np.bool_)
    classify_documents(
        read_only(buffer_N),
        starts_B,
        ends_B,
        model,
        overlap,
        character_properties(),
        as_is,
        np.empty(longest_bytes + SEGMENTS + FETCH_AHEAD, np.int32),
        np.zeros(len(model.table_FL) // len(model.prior_L), np.int32),
        np.empty(len(model.prior_L), np.float32),
        np.empty(longest_bytes, np.float32),
        classes_B,
        scores_B,
        normalise_B,
    )
    return classes_B, scores_B, normalise_B
