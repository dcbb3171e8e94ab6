"""Fit: a head from good and bad documents, and what it is worth on documents that it did not see.

Logistic regression with an L2 penalty on shares of n-grams, from scikit-learn. The penalty is the one with the least
loss in cross-validation by folds of hashed texts, so that copies are in one fold. The out-of-fold scores calibrate the
head (Platt, 1999) and are what is reported: the area under the curve as a whole, within quarters of length, for long
texts are easily told from short ones, and within sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from curation.quality.heads import BUCKETS, FORMAT, HeadFile
from curatord.errors import UsageError
from kernels.ngrams import count_features

MIN_DOCUMENTS = 50  # of either kind
MIN_IN_GROUP = 5  # of either kind, below which an area is chance
FOLDS = 5
SCALE = 100.0  # of the shares, so that weights are of the order of 1
PENALTIES = (0.1, 1.0, 10.0)  # scikit-learn's C


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A document, whether it is good, and where it comes from."""

    text: str
    is_good: bool
    source: str


def fit_head(documents: Sequence[Labelled], name: str) -> HeadFile:
    """A calibrated head with its report. Raises `UsageError` for too few documents, with the numbers."""
    good_D = np.array([document.is_good for document in documents], np.bool_)
    num_good, num_bad = int(good_D.sum()), int((~good_D).sum())
    if min(num_good, num_bad) < MIN_DOCUMENTS:
        raise UsageError(
            f"{num_good:,} good and {num_bad:,} bad documents were read; a head needs {MIN_DOCUMENTS} of either"
        )
    shares = _shares([document.text for document in documents])
    folds_D = np.array([xxhash.xxh3_64_intdigest(document.text.encode("utf-8", "replace")) for document in documents])
    folds_D = folds_D.astype(np.uint64) % np.uint64(FOLDS)
    scores_by_penalty = {penalty: _out_of_fold(shares, good_D, folds_D, penalty) for penalty in PENALTIES}
    penalty = min(PENALTIES, key=lambda one: _log_loss(good_D, _platt(scores_by_penalty[one], good_D)[2]))
    scores_D = scores_by_penalty[penalty]
    slope, offset, chances_D = _platt(scores_D, good_D)
    model = _logistic(penalty).fit(shares, good_D)
    weights_H = (model.coef_[0] * SCALE * slope).astype(np.float32)
    return HeadFile(
        format=FORMAT,
        name=name,
        weights=weights_H.tobytes(),
        bias=float(model.intercept_[0]) * slope + offset,
        report={
            "good": num_good,
            "bad": num_bad,
            "penalty": penalty,
            **_report(documents, good_D, scores_D, chances_D),
        },
    )


def area_under_curve(scores_X: NDArray[np.floating], good_X: NDArray[np.bool_]) -> float:
    """The chance that a good document scores above a bad one (Mann-Whitney); NaN without both."""
    num_good = int(good_X.sum())
    if not 0 < num_good < len(good_X):
        return float("nan")
    _, inverse, counts = np.unique(scores_X, return_inverse=True, return_counts=True)
    ranks_X = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    above = float(ranks_X[good_X].sum()) - num_good * (num_good + 1) / 2
    return above / (num_good * (len(good_X) - num_good))


def _shares(texts: Sequence[str]) -> Any:
    """Shares of n-grams, a sparse row a text."""
    from scipy.sparse import csr_matrix

    values, places, bounds = [], [], [0]
    counts_H = np.zeros(BUCKETS)
    for text in texts:
        counts_H[:] = 0.0
        count_features([text], counts_H, counts_H)
        found = np.flatnonzero(counts_H)
        values.append(counts_H[found] * (SCALE / max(float(counts_H.sum()), 1.0)))
        places.append(found)
        bounds.append(bounds[-1] + len(found))
    return csr_matrix((np.concatenate(values), np.concatenate(places), bounds), (len(texts), BUCKETS))


def _logistic(penalty: float) -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise UsageError("scikit-learn fits heads, and is not installed: pip install scikit-learn") from error
    return LogisticRegression(C=penalty, solver="liblinear", max_iter=1000)


def _out_of_fold(
    shares: Any, good_D: NDArray[np.bool_], folds_D: NDArray[np.uint64], penalty: float
) -> NDArray[np.float64]:
    scores_D = np.zeros(len(good_D))
    for fold in range(FOLDS):
        held = folds_D == fold
        if held.any() and 0 < good_D[~held].sum() < (~held).sum():
            scores_D[held] = _logistic(penalty).fit(shares[~held], good_D[~held]).decision_function(shares[held])
    return scores_D


def _platt(scores_D: NDArray[np.float64], good_D: NDArray[np.bool_]) -> tuple[float, float, NDArray[np.float64]]:
    """Slope and offset that make chances of scores, and the chances."""
    model = _logistic(1e6).fit(scores_D[:, None], good_D)
    slope, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
    return slope, offset, 1.0 / (1.0 + np.exp(-(slope * scores_D + offset)))


def _log_loss(good_D: NDArray[np.bool_], chances_D: NDArray[np.float64]) -> float:
    chances_D = np.clip(chances_D, 1e-9, 1 - 1e-9)
    return -float(np.where(good_D, np.log(chances_D), np.log(1 - chances_D)).mean())


def _report(
    documents: Sequence[Labelled],
    good_D: NDArray[np.bool_],
    scores_D: NDArray[np.float64],
    chances_D: NDArray[np.float64],
) -> dict[str, Any]:
    """The areas, and how far chances are from shares."""
    lengths_D = np.array([len(document.text) for document in documents])
    quarters = np.array_split(np.argsort(lengths_D, kind="stable"), 4)
    sources = np.array([document.source for document in documents], object)
    # Equal chances in no order, for documents come good ones first.
    order_D = np.random.default_rng(0).permutation(len(chances_D))
    tenths = np.array_split(order_D[np.argsort(chances_D[order_D], kind="stable")], 10)
    by_source = {
        source: area_under_curve(scores_D[of], good_D[of])
        for source in sorted(set(sources.tolist()))
        if min(int(good_D[of := sources == source].sum()), int((~good_D[of]).sum())) >= MIN_IN_GROUP
    }
    return {
        "auc": area_under_curve(scores_D, good_D),
        "auc_of_length": area_under_curve(lengths_D.astype(np.float64), good_D),
        "auc_by_length": [
            {
                "characters": int(np.median(lengths_D[of])),
                "good": int(good_D[of].sum()),
                "documents": len(of),
                "auc": area_under_curve(scores_D[of], good_D[of]),
            }
            for of in quarters
        ],
        "auc_by_source": by_source,
        "calibration_error": float(
            sum(len(of) * abs(float(chances_D[of].mean()) - float(good_D[of].mean())) for of in tenths) / len(good_D)
        ),
    }
