"""Target: how much a document is like those that are wanted, from files, by its n-grams.

DSIR (Xie et al., "Data Selection for Language Models via Importance Resampling", NeurIPS 2023): words and pairs of
words in 10,000 hashed buckets, their shares p in the wanted documents and q in those that the stream holds; the log
weight of a document is the mean of log p - log q over its features. Per feature, since the sum over a document would be
one over its length. A bag of n-grams prefers shuffled words to a text as often as not, so the gain of order stands
beside it: the nats by which a word of the wanted documents foretells the next (`kernels.ngrams`).

Pure: both are made of files at a start, and hang on these and a document's text alone.

Shape legend: B documents, H buckets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from curation.selection.reward_sources import ORDER, TARGET
from curation.selection.target_facts import worths
from kernels.columns import Texts, join_texts
from kernels.ngrams import count_features, count_order, likeness_and_order

BUCKETS = 10_000
WORD_BUCKETS, PAIR_SLOTS = 1 << 16, 1 << 19
SMOOTHING = 1.0  # of each bucket
# Below these, a share of n-grams is chance.
MIN_WANTED, MIN_AGAINST = 20, 200


class TargetConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section [target]: documents that are wanted."""

    files: tuple[str, ...] = ()
    """Files with documents that are wanted, in any form that `curate` reads: some hundreds are enough."""
    against: tuple[str, ...] = ()
    """Files with a sample of the stream, a few thousand documents: wanted are n-grams that it has less of."""
    by: Literal["ngrams", "similarity"] = "ngrams"
    """How likeness is measured: "ngrams" by words and pairs of words (DSIR), wherever documents are prepared;
    "similarity" by the vectors of [embedding], which knows a topic by other words, too."""
    keep_ratio: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    """Share of the tokens to keep, the likest first, with Gumbel noise as in DSIR; 1 keeps all, and measures only."""
    source_floor: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    """Least share of the tokens of a source that is kept, however unlike the target it is."""

    def __post_init__(self) -> None:
        if bool(self.files) != bool(self.against):
            raise ValueError(
                "target.files and target.against go together: the documents that are wanted, and a sample of those "
                "that the stream holds (the first few thousand rows of an input will do)"
            )
        if self.by == "similarity" and not self.files:
            raise ValueError('target.by = "similarity" measures likeness to target.files: say which these are')
        if self.keep_ratio < 1 and not self.files:
            raise ValueError("target.keep_ratio keeps the likest of target.files: say which these are")
        if self.keep_ratio < self.source_floor and self.keep_ratio < 1:
            raise ValueError(
                f"target.keep_ratio = {self.keep_ratio} is less than target.source_floor = {self.source_floor} leaves "
                "to every source: lower the floor or raise the ratio"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The model of what is wanted, and where the worths of the stream's own sample lie."""

    digest: str  # of the texts that it was made of
    weights_H: NDArray[np.float32]  # log p - log q of n-grams
    words_W: NDArray[np.float32]  # counts in the wanted documents
    pairs_P: NDArray[np.uint32]
    mean: float
    deviation: float

    @property
    def names(self) -> tuple[str, ...]:
        """Of its two scores."""
        return TARGET, ORDER

    def score(self, texts: Texts) -> NDArray[np.float32]:
        """Likeness, as a mean log weight of n-grams, and order, in nats a pair: [B, 2]; NaN without words."""
        scores_B2: NDArray[np.float32] = likeness_and_order(texts, self.weights_H, self.words_W, self.pairs_P)
        return scores_B2


def log_weights(wanted: Sequence[str], against: Sequence[str]) -> NDArray[np.float32]:
    """log p - log q of each bucket, [H]."""
    logs = []
    for texts in (wanted, against):
        counts_H = np.zeros(BUCKETS)
        count_features(texts, counts_H, counts_H)
        logs.append(np.log((counts_H + SMOOTHING) / (counts_H.sum() + SMOOTHING * BUCKETS)))
    weights_H: NDArray[np.float32] = (logs[0] - logs[1]).astype(np.float32)
    return weights_H


def digest_of(wanted: Sequence[str], against: Sequence[str]) -> str:
    """Of the texts of a target. Raises ValueError for too few of them."""
    if len(wanted) < MIN_WANTED or len(against) < MIN_AGAINST:
        raise ValueError(
            f"{len(wanted):,} documents are wanted and {len(against):,} are the stream's; a target needs {MIN_WANTED} "
            f"and {MIN_AGAINST} to tell them apart"
        )
    return xxhash.xxh3_64_hexdigest(msgspec.msgpack.encode([*wanted, "", *against]))


def fit_target(wanted: Sequence[str], against: Sequence[str]) -> Target:
    """The target of these texts. Raises ValueError for too few of them."""
    digest = digest_of(wanted, against)
    words_W, pairs_P = np.zeros(WORD_BUCKETS), np.zeros(PAIR_SLOTS, np.uint32)
    count_order(wanted, words_W, pairs_P)
    target = Target(
        digest=digest,
        weights_H=log_weights(wanted, against),
        words_W=words_W.astype(np.float32),
        pairs_P=pairs_P,
        mean=0.0,
        deviation=1.0,
    )
    worths_B = worths(target.score(join_texts(against)))
    known_B = worths_B[np.isfinite(worths_B)].astype(np.float64)
    if not len(known_B) or not known_B.std() > 0:
        return target
    return replace(target, mean=float(known_B.mean()), deviation=float(known_B.std()))
