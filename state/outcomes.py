"""Names of decisions: the stages that reject documents, and the reasons, as they stand in facts, verdicts and metrics.

Each member carries the words for the screens, so that a name without an explanation cannot exist. The names of the
quality rules are reasons, too; their table (`curation.quality.rules`) explains them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, NewType


class Stage(StrEnum):
    """Stages that reject, in the order in which a document passes them."""

    heading: str  # of a line of the summary
    passed: str  # of a document that the stage let through; "" where nothing is said, or a number instead
    remedy: str  # where it rejects most of a source: the likely cause, and what to set; "" where it is meant to

    def __new__(cls, name: str, heading: str, passed: str, remedy: str) -> Stage:
        """A member with the value `name`."""
        stage = str.__new__(cls, name)
        stage._value_ = name
        stage.heading, stage.passed, stage.remedy = heading, passed, remedy
        return stage

    DOCUMENTS = (
        "documents",
        "unusable",
        "",
        "their texts are empty, or they were retracted before they came",
    )
    URLS = (
        "urls",
        "blocked addresses",
        "",
        "an entry of [urls] block is wider than meant: name what is to stay in [urls] allow",
    )
    EXACT_DEDUP = (
        "exact_dedup",
        "duplicates",
        "passed: neither its text nor its URL was seen before",
        "equal texts, or one address on many pages: [dedup.exact] urls = false looks at texts only",
    )
    QUALITY = (
        "quality",
        "poor quality",
        "",
        "a rule, a language or a head does not fit this source (`curatord inspect dropped` tells which): [quality] "
        'preset = "observe" drops by no rule, [language] keep = [] by no language, a head without min and max nothing',
    )
    DECONTAMINATE = (
        "decontaminate",
        "contaminated",
        "",
        "an evaluation set was made of this source: [decontaminate] drop = false tells of it only",
    )
    NEAR_DEDUP = (
        "near_dedup",
        "near-dups",
        "passed: no earlier document is similar enough",
        "a template around short texts: [dedup.near] min_similarity = 0.9, or strip it before",
    )
    PASSAGES = (
        "passages",
        "seen passages",
        "",
        "its texts quote each other, as laws and licences do: [dedup.passages] exempt_sources, or a higher max_share",
    )
    HOLDOUT = ("holdout", "held out", "", "")
    TOKENIZE = ("tokenize", "no tokens", "", "the tokenizer makes no token of them")


class Reason(StrEnum):
    """Reasons for which a stage rejects a document when it is read, beside the names of the quality rules."""

    stage: Stage
    explanation: str  # of one document

    def __new__(cls, name: str, stage: Stage, explanation: str) -> Reason:
        """A member with the value `name`."""
        reason = str.__new__(cls, name)
        reason._value_ = name
        reason.stage, reason.explanation = stage, explanation
        return reason

    EMPTY = ("empty", Stage.DOCUMENTS, "it has no text")
    RETRACTED = ("retracted", Stage.DOCUMENTS, "its id was retracted before it came")
    BLOCKED_URL = ("blocked_url", Stage.URLS, "its address is in a list of [urls] block, and in none of [urls] allow")
    SAME_TEXT = ("same_text", Stage.EXACT_DEDUP, "an earlier document has the same text")
    SAME_URL = ("same_url", Stage.EXACT_DEDUP, "an earlier document has the same address")
    LANGUAGE_NOT_KEPT = ("language_not_kept", Stage.QUALITY, "its language is none of [language] keep")
    LANGUAGE_UNCERTAIN = (
        "language_uncertain",
        Stage.QUALITY,
        "its language is less certain than [language] min_score",
    )
    SCORE_TOO_LOW = ("score_too_low", Stage.QUALITY, "a head of [quality.heads] scores it below its `min`")
    SCORE_TOO_HIGH = ("score_too_high", Stage.QUALITY, "a head of [quality.heads] scores it above its `max`")
    CONTAMINATED = ("contaminated", Stage.DECONTAMINATE, "it holds a question of [decontaminate] files")
    NEAR_DUPLICATE = ("near_duplicate", Stage.NEAR_DEDUP, "an earlier document is similar enough")
    SEEN_PASSAGES = (
        "seen_passages",
        Stage.PASSAGES,
        "earlier documents have more of its words, in long passages, than [dedup.passages] max_share",
    )
    HELD_OUT = ("held_out", Stage.HOLDOUT, "the hash of its id holds it out of training; its text is in holdout/")
    NO_TOKENS = ("no_tokens", Stage.TOKENIZE, "the tokenizer makes nothing of its text")


class LaterReason(StrEnum):
    """Reasons for which an accepted document is rejected later."""

    explanation: str  # of one document

    def __new__(cls, name: str, explanation: str) -> LaterReason:
        """A member with the value `name`."""
        reason = str.__new__(cls, name)
        reason._value_ = name
        reason.explanation = explanation
        return reason

    NOT_SAMPLED = ("not_sampled", "the bandit did not admit it, or the mixture had no room for it")
    OFF_TARGET = ("off_target", "less like [target] files than the documents that target.keep_ratio has room for")
    PERPLEXITY_TOO_LOW = ("perplexity_too_low", "the stream had its n-grams too often: [weights.perplexity] min")
    PERPLEXITY_TOO_HIGH = ("perplexity_too_high", "the stream had its n-grams too seldom: [weights.perplexity] max")
    ENTROPY_TOO_LOW = ("entropy_too_low", "its tokens are too common ones: [weights.entropy] min")
    ENTROPY_TOO_HIGH = ("entropy_too_high", "its tokens are too rare ones: [weights.entropy] max")
    REPLACED = ("replaced", "by a newer version")
    RETRACTED = ("retracted", "by a retraction")


RuleName = NewType("RuleName", str)
AnyReason = Reason | RuleName
# ("", "") is accepted.
Outcome = tuple[Stage | Literal[""], AnyReason | Literal[""]]

STAGES = {stage.value: stage for stage in Stage}
REASONS = {reason.value: reason for reason in Reason}
LATER_REASONS = {reason.value: reason for reason in LaterReason}


def outcome_key(stage: Stage, reason: AnyReason) -> str:
    """The name of stage and reason together, under which rejections are counted."""
    return f"{stage} {reason}"


def split_key(key: str) -> tuple[Stage, str]:
    """Stage and reason of a key; the reason may be a rule of an earlier version."""
    stage, _, reason = key.partition(" ")
    return STAGES[stage], reason
