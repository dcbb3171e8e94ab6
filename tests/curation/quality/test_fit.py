"""Fitting a head: its report is of documents that it did not see, and length says nothing by itself."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from curation.quality.fit import Labelled, area_under_curve, fit_head
from curatord.errors import UsageError
from tests.corpus import read_zst_jsonl

WORDS = [f"word{i}" for i in range(300)]


def noise(seed: int, words: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def test_the_area_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, good = rng.integers(0, 6, 50).astype(float), rng.random(50) < 0.4
        assert area_under_curve(scores, good) == pytest.approx(metrics.roc_auc_score(good, scores))
    assert np.isnan(area_under_curve(np.ones(3), np.ones(3, np.bool_)))


def test_labels_without_a_reason_are_not_learned() -> None:
    head = fit_head([Labelled(text=noise(i), is_good=i % 2 == 0, source="") for i in range(200)], "noise")
    assert head.report["auc"] == pytest.approx(0.5, abs=0.12)
    assert head.report["calibration_error"] < 0.12


def test_copies_do_not_help_since_they_are_in_one_fold() -> None:
    documents = [Labelled(text=noise(i // 4), is_good=i // 4 % 2 == 0, source="") for i in range(240)]
    assert fit_head(documents, "copies").report["auc"] < 0.7


def test_too_few_documents_are_refused_with_the_numbers() -> None:
    with pytest.raises(UsageError, match="60 good and 7 bad documents were read; a head needs 50 of either"):
        fit_head([Labelled(text=noise(i), is_good=i < 60, source="") for i in range(67)], "few")


def test_it_agrees_with_people_within_quarters_of_length_better_than_the_rules(corpora: Path) -> None:
    """The rules have .69, .76, .82 and .84 there, length as a whole .857."""
    documents = [
        Labelled(text=document["text"], is_good=document["label"] == 1, source=document["source"])
        for document in read_zst_jsonl(corpora / "labelled/dclm-human-quality.jsonl.zst")
    ]
    report = fit_head(documents, "people").report
    assert report["auc"] > 0.9
    assert report["auc_of_length"] == pytest.approx(0.857, abs=0.001)
    for quarter, bar in zip(report["auc_by_length"], (0.69, 0.76, 0.82, 0.84), strict=True):
        assert quarter["auc"] > bar
    assert report["calibration_error"] < 0.08
