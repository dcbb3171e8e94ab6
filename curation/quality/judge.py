"""Quality: what the rules of Gopher, C4 and FineWeb measure in a document, and what they decide.

Measuring and deciding are apart: every document is measured by every rule, and the preset says which rules reject.
The default, "observe", rejects nothing, because at their published thresholds rules made for web pages delete most of
a collection of manuals, laws or lists; the counts of what each rule would have rejected help to choose.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from curation.quality.language import (
    ENGLISH,
    NO_LANGUAGE_CODE,
    UNDETERMINED,
    LanguageConfig,
    identify_languages,
)
from curation.quality.language_codes import normalise_language
from curation.quality.models import HeadConfig, Model
from curation.quality.rules import FILTERS_OF_PRESET, RULE_NAMES, RULES, Preset
from kernels.columns import Texts
from kernels.quality import Value, measure_documents, weigh_values
from state.outcomes import AnyReason, Reason

# No language has words as long on average; sequences of bases have, and the model takes them for Bikol.
LONGEST_MEAN_WORD = 30
# Languages whose sentences end in no mark; what is in no known language may be among them.
WITHOUT_FULL_STOPS = frozenset({"th", "lo", "nod", "shn", "tdd", "khb", UNDETERMINED})
HEAD_NAME = re.compile(r"[a-z][a-z0-9_-]{0,47}")
# Names of rewards that are no head's.
TAKEN_NAMES = frozenset(
    {
        "progress",
        "rules",
        "scorer",
        "target",
        "target_order",
        "weight",
        "seen_passages",
        "contamination",
        "contaminated_by",
    }
)
# Those that reject.
PRESETS: tuple[Preset, ...] = tuple(preset for preset, filters in FILTERS_OF_PRESET.items() if filters)


class QualityConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Document rules on quality."""

    preset: Preset = "observe"
    """Rules that reject: "observe" (none; all are measured), "gopher" (quality and repetition), "c4", or "fineweb"
    (Gopher, C4 without its rule on terminal punctuation, and FineWeb's own: the FineWeb recipe). Recipes go on with a
    head of [quality.heads]: after "gopher" DCLM with a fastText model, whose best tenth is kept, after "fineweb"
    FineWeb-Edu with a score for teaching; "c4" expects none."""
    strict_published: bool = False
    """Read every text as datatrove reads the papers: words as `\\w+` finds them also in scripts without spaces, lines
    without a word counted, and nothing rejected for being of no language. For comparison."""
    thresholds: dict[str, float] = {}
    """Other thresholds than the published, by rule: `gopher_too_few_words = 20`. Units are the rule's."""

    heads: dict[str, HeadConfig] = {}
    """Models that score every document between 0 and 1, or scores that documents bring along ([input.fields] scores),
    by name: `[quality.heads.web]`. A score is shown by `explain` and verdicts, may be a reward (`bandit.reward`), and
    rejects where it is beyond `min` or `max`."""

    def __post_init__(self) -> None:
        for name in self.heads:
            check_head_name(name)
        for name, threshold in self.thresholds.items():
            if name not in RULE_NAMES:
                nearest = difflib.get_close_matches(name, RULE_NAMES, n=1, cutoff=0)[0]
                raise ValueError(f"`thresholds` names no rule {name!r}; the nearest is {nearest!r}")
            if math.isnan(threshold):
                raise ValueError(f"`thresholds.{name}` is not a number: leave it out to use the published threshold")


def check_head_name(name: str) -> None:
    """Raise ValueError if something else has the name, or it is none."""
    if not HEAD_NAME.fullmatch(name) or name in TAKEN_NAMES or name in RULE_NAMES:
        raise ValueError(
            f"{name!r} is no name for a head: up to 48 of a-z, 0-9, - and _, the first a letter, none of "
            f"{', '.join(sorted(TAKEN_NAMES))} or of a rule"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Values of B documents by R rules, in the order of `RULES`, and scores by M models."""

    values_BR: NDArray[np.float32]
    failed_BR: NDArray[np.bool_]  # beyond the threshold, whether or not the rule decides
    applies_BR: NDArray[np.bool_]  # whether the rule is one for the language
    scores_B: NDArray[np.float32]  # 0 (worst) to 1
    languages_B: tuple[str, ...]  # as declared, else as identified; "und" if neither
    language_scores_B: NDArray[np.float32]  # probability; 1 if declared, 0 if undetermined
    model_scores_BM: NDArray[np.float32]  # by models, in their order, then given with documents; NaN where unknown

    def __len__(self) -> int:
        return len(self.scores_B)

    def take(self, rows_B: NDArray[np.int64]) -> Measures:
        """Those of some documents."""
        return Measures(
            values_BR=self.values_BR[rows_B],
            failed_BR=self.failed_BR[rows_B],
            applies_BR=self.applies_BR[rows_B],
            scores_B=self.scores_B[rows_B],
            languages_B=tuple([self.languages_B[row] for row in rows_B.tolist()]),
            language_scores_B=self.language_scores_B[rows_B],
            model_scores_BM=self.model_scores_BM[rows_B],
        )

    def beside(self, given_BG: NDArray[np.float32]) -> Measures:
        """These, and behind the scores of models the numbers that the documents brought along."""
        if not given_BG.shape[1]:
            return self
        return replace(self, model_scores_BM=np.concatenate((self.model_scores_BM, given_BG), axis=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """Decisions on B documents."""

    rejected_B: NDArray[np.bool_]
    reasons_B: tuple[AnyReason | Literal[""], ...]  # "" if kept
    values_B: NDArray[np.float32]  # what was measured; nan if kept
    thresholds_B: NDArray[np.float32]  # what it was held against; nan if kept
    would_reject_R: NDArray[np.int64]  # documents that each rule alone would reject if it decided
    fails_preset_BP: NDArray[np.bool_]  # by preset that rejects, in the order of `PRESETS`


class Quality:
    """The stage: measures and judges batches, remembers nothing. Safe to share between threads.

    A document's results depend on its text and its declared language only, not on the batch it comes in.

    Languages: a declared language wins and is not checked; the others are identified from samples of the text. Rules
    on English words and spelling decide on English documents, and on those of no language ("zxx": base64, logs), which
    they catch; rules on punctuation on those of languages that end sentences in marks. A rule counts in the scores of
    the documents that it decides on.

    Score: every rule gives a margin, its distance from the threshold relative to the threshold, positive on the good
    side and clipped to [-1, 1] (against a threshold of 0: 1 if met, else -1); their mean, moved to [0, 1].
    """

    def __init__(
        self,
        config: QualityConfig,
        language: LanguageConfig,
        models: Sequence[Model] = (),
        given: Sequence[str] = (),
    ) -> None:
        """`given` are names of numbers that documents bring along."""
        self.config = config
        self.language = language
        self.models = tuple(models)
        self.model_names = (*(name for model in models for name in model.names), *given)
        self.measured_names = (*RULE_NAMES, *self.model_names)
        self._kept_languages = language.kept_languages()
        self.thresholds_R = np.array([config.thresholds.get(rule.name, rule.threshold) for rule in RULES], np.float64)
        # Columns of the values on text, with the probability that it is of no language behind them.
        self._columns_R = [len(Value) if rule.value is None else Value[rule.value.upper()] for rule in RULES]
        self._fails_above_R = np.array([rule.fails == "above" for rule in RULES])
        self._is_english_R = np.array([rule.languages == "english" for rule in RULES])
        self._is_punctuated_R = np.array([rule.languages == "punctuated" for rule in RULES])
        self._decides_PR = np.array([self._decides(preset) for preset in PRESETS])
        self._decides_R = self._decides(config.preset)

    def _decides(self, preset: Preset) -> NDArray[np.bool_]:
        """Which rules reject under a preset."""
        filters = {*FILTERS_OF_PRESET[preset]} - ({"language"} if self.config.strict_published else set())
        return np.array([rule.filter in filters for rule in RULES])

    def applies(self, languages_B: tuple[str, ...]) -> NDArray[np.bool_]:
        """Which rules decide on documents of these languages, (B, R): those on English and punctuation not on all."""
        english_B = np.array([language in (ENGLISH, NO_LANGUAGE_CODE) for language in languages_B], np.bool_)
        if self.config.strict_published:
            punctuated_B = english_B
        else:
            punctuated_B = np.array([language not in WITHOUT_FULL_STOPS for language in languages_B], np.bool_)
        applies_BR: NDArray[np.bool_] = np.ones((len(languages_B), len(RULES)), np.bool_)
        applies_BR[np.ix_(~english_B, self._is_english_R)] = False
        applies_BR[np.ix_(~punctuated_B, self._is_punctuated_R)] = False
        return applies_BR

    def measure(self, texts: Texts, declared_languages: tuple[str, ...]) -> Measures:
        """Measure the documents of a batch.

        `declared_languages` has one entry a document, "" where none is known.
        """
        languages, language_scores_B = self._languages(texts, declared_languages)
        is_published = self.config.strict_published
        values_BV = measure_documents(texts, published=is_published)
        no_language_B = np.where([language == NO_LANGUAGE_CODE for language in languages], language_scores_B, 0)
        if not is_published:
            no_language_B[values_BV[:, Value.MEAN_WORD_CHARACTERS] > LONGEST_MEAN_WORD] = 1
        values_BR = np.column_stack((values_BV, no_language_B)).take(self._columns_R, axis=1)
        failed_BR = np.empty(values_BR.shape, np.bool_)
        scores_B = np.empty(len(values_BR), np.float32)
        applies_BR = self.applies(tuple(languages))
        weigh_values(values_BR, self.thresholds_R, self._fails_above_R, applies_BR, failed_BR, scores_B)
        return Measures(
            values_BR=values_BR.astype(np.float32),
            failed_BR=failed_BR,
            applies_BR=applies_BR,
            scores_B=scores_B,
            languages_B=tuple(languages),
            language_scores_B=language_scores_B,
            model_scores_BM=self.score(texts),
        )

    def score(self, texts: Texts) -> NDArray[np.float32]:
        """The scores of the models."""
        if not self.models:
            return np.zeros((len(texts), 0), np.float32)
        return np.concatenate([model.score(texts) for model in self.models], axis=1)

    def judge(self, measures: Measures) -> Verdicts:
        """Decide on measured documents: first by language, then by the first rule of the preset that fails."""
        num_documents = len(measures)
        would_reject_BR = np.logical_and(measures.failed_BR, measures.applies_BR)
        rejecting_BR = np.logical_and(would_reject_BR, self._decides_R)
        rejected_B: NDArray[np.bool_] = np.any(rejecting_BR, axis=1)
        reasons: list[AnyReason | Literal[""]] = [""] * num_documents
        values_B = np.full(num_documents, np.nan, np.float32)
        thresholds_B = np.full(num_documents, np.nan, np.float32)
        rejected = np.flatnonzero(rejected_B)
        rules = rejecting_BR[rejected].argmax(axis=1)
        values_B[rejected] = measures.values_BR[rejected, rules]
        thresholds_B[rejected] = self.thresholds_R[rules]
        for b, rule in zip(rejected.tolist(), rules.tolist(), strict=True):
            reasons[b] = RULES[rule].name
        if self._kept_languages:
            for b, language in enumerate(measures.languages_B):
                score = measures.language_scores_B[b]
                is_kept = language in self._kept_languages
                if is_kept and (score >= self.language.min_score or language == UNDETERMINED):
                    continue
                rejected_B[b] = True
                reasons[b] = Reason.LANGUAGE_UNCERTAIN if is_kept else Reason.LANGUAGE_NOT_KEPT
                values_B[b] = score
                thresholds_B[b] = self.language.min_score
        self._judge_scores(measures, rejected_B, reasons, values_B, thresholds_B)
        return Verdicts(
            rejected_B=rejected_B,
            reasons_B=tuple(reasons),
            values_B=values_B,
            thresholds_B=thresholds_B,
            would_reject_R=would_reject_BR.sum(axis=0, dtype=np.int64),
            fails_preset_BP=would_reject_BR @ self._decides_PR.T,
        )

    def _judge_scores(
        self,
        measures: Measures,
        rejected_B: NDArray[np.bool_],
        reasons: list[AnyReason | Literal[""]],
        values_B: NDArray[np.float32],
        thresholds_B: NDArray[np.float32],
    ) -> None:
        """Reject what is still kept, and has a score beyond the band of a head. No score is no reason."""
        for place, name in enumerate(self.model_names):
            head = self.config.heads.get(name)
            if head is None:
                continue
            scores_B = measures.model_scores_BM[:, place]
            for limit, reason, beyond_B in (
                (head.min, Reason.SCORE_TOO_LOW, scores_B < (head.min or 0.0)),
                (head.max, Reason.SCORE_TOO_HIGH, scores_B > (head.max or 0.0)),
            ):
                rows = np.flatnonzero(beyond_B & ~rejected_B) if limit is not None else ()
                for row in rows:
                    rejected_B[row], reasons[row] = True, reason
                    values_B[row], thresholds_B[row] = scores_B[row], limit

    def _languages(self, texts: Texts, declared_languages: tuple[str, ...]) -> tuple[list[str], NDArray[np.float32]]:
        """Language and its probability for each document."""
        languages = [normalise_language(declared) if declared else "" for declared in declared_languages]
        scores_B = np.ones(len(languages), np.float32)
        unknown = [b for b, language in enumerate(languages) if not language]
        if not unknown:
            return languages, scores_B
        if self.language.enabled:
            found, scores_B[unknown] = identify_languages(texts.take(unknown))
        else:
            found, scores_B[unknown] = [UNDETERMINED] * len(unknown), 0.0
        for b, language in zip(unknown, found, strict=True):
            languages[b] = language
        return languages, scores_B
