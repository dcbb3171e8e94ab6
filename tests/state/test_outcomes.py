"""Names of stages and reasons."""

from __future__ import annotations

import pytest

from state.outcomes import LaterReason, Reason, Stage, outcome_key, split_key


def test_names_in_facts_verdicts_and_metrics_stay() -> None:
    assert {reason.value: reason.stage.value for reason in Reason} == {
        "empty": "documents",
        "retracted": "documents",
        "blocked_url": "urls",
        "same_text": "exact_dedup",
        "same_url": "exact_dedup",
        "language_not_kept": "quality",
        "language_uncertain": "quality",
        "score_too_low": "quality",
        "score_too_high": "quality",
        "contaminated": "decontaminate",
        "near_duplicate": "near_dedup",
        "seen_passages": "passages",
        "held_out": "holdout",
        "no_tokens": "tokenize",
    }
    assert [reason.value for reason in LaterReason] == [
        *("not_sampled", "off_target"),
        *("perplexity_too_low", "perplexity_too_high", "entropy_too_low", "entropy_too_high"),
        *("replaced", "retracted"),
    ]


@pytest.mark.parametrize("reason", Reason)
def test_a_key_names_stage_and_reason(reason: Reason) -> None:
    assert split_key(outcome_key(reason.stage, reason)) == (reason.stage, reason)


def test_every_stage_has_a_reason() -> None:
    assert {reason.stage for reason in Reason} == set(Stage)
