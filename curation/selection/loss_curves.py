"""Learning progress: which clusters' loss still falls, from the losses that a trainer reports.

What a document of a cluster is worth is how much it lowers the loss on its like (Quad's influence; Zhang et al., 2025),
and of that a loss-only trainer shows one thing: the loss of the cluster over the steps. Per cluster a line is fitted to
it by least squares, older steps fading by half every `half_life` steps. The line needs no order, so reports may come
late, from any number of ranks, or not at all: they are further, or fewer, points on it.

- *Importance*: a document was admitted with probability π, so it stands for 1/π that came, and weighs as much. Steps
  also show a cluster that is admitted often more of its like, so that its loss falls faster for no merit of its own:
  progress is the fall *per admitted document*, slope / π (Exp3's division by the π in force at the choice).
- *Reference*: the loss falls for all clusters and jumps with the learning rate. What counts is how much more than the
  others a cluster progresses in the same run, in standard deviations between clusters. So the unit of a run, its model
  and its batch size have no say.
- *Noise*: documents differ by 0.7 nat, progress is 0.01 nat in 100 steps. The variance of every slope is known from the
  residuals; the variance between clusters that it does not explain is estimated by moments (DerSimonian & Laird, 1986).
  A slope counts as its reliability, between / (between + own): a cluster that few documents tell of moves its arm
  little. If noise explains everything, no cluster is rewarded.

It fails where a cluster changes what it contains: after a split or a merge its loss jumps, which looks like progress,
or the opposite, for a half-life.

Shape legend: S segments, K clusters of one run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

# Documents that a slope needs, at least; below, the formula for its variance means nothing.
MIN_DOCUMENTS = 8.0
# A document weighs 1 from this many targets on; a shorter one less, since its mean loss is noisier.
FULL_TARGETS = 256
# No document stands for more than this many: importance is truncated (Ionides, 2008). Of a cluster at a floor of 5 %
# hardly anything could be said otherwise, and what cannot be said is taken for the mean, which the best are near.
MAX_IMPORTANCE = 5.0
CLIP_DEVIATIONS = 3.0
# More than guessing costs with any vocabulary (ln 2^28); what a spike or a sender in error says beyond has no weight.
MAX_LOSS = 20.0
# ADO's credit (Jiang et al., 2025, its s): a cluster of which little is trained on learns from the others, too.
DAMPED = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Losses of one report, by the first segments of documents: S of them."""

    clusters_S: NDArray[np.int32]
    losses_S: NDArray[np.float64]  # mean negative log-likelihood of a target, in nats
    num_targets_S: NDArray[np.int64]
    propensities_S: NDArray[np.float64]  # with which the documents were admitted


class Sums(msgspec.Struct, frozen=True, array_like=True):
    """Of one cluster's documents in one report."""

    weight: float  # of all documents, by what they stand for
    squares: float  # of the weights
    documents: float  # the weight without importance
    loss: float  # weighted
    loss2: float


class Curve(msgspec.Struct, array_like=True):
    """Fact: weighted moments of (step, loss) of one cluster in one run; x counts steps from `step`."""

    step: int = 0
    weight: float = 0.0
    squares: float = 0.0
    documents: float = 0.0
    x: float = 0.0
    xx: float = 0.0
    y: float = 0.0
    xy: float = 0.0
    yy: float = 0.0
    is_fresh: bool = False  # something came since the last tick

    def add(self, step: int, sums: Sums, half_life: int) -> None:
        """Documents of a step, which may be earlier than others that are known."""
        ahead = float(step - self.step)
        if ahead > 0:
            fade = 0.5 ** (ahead / half_life)
            self.xx = fade * (self.xx - 2.0 * ahead * self.x + ahead * ahead * self.weight)
            self.x = fade * (self.x - ahead * self.weight)
            self.xy = fade * (self.xy - ahead * self.y)
            self.weight, self.documents = fade * self.weight, fade * self.documents
            self.y, self.yy = fade * self.y, fade * self.yy
            self.squares *= fade * fade
            self.step, x, fade = step, 0.0, 1.0
        else:
            x, fade = ahead, 0.5 ** (-ahead / half_life)
        self.weight += fade * sums.weight
        self.squares += fade * fade * sums.squares
        self.documents += fade * sums.documents
        self.x += fade * x * sums.weight
        self.xx += fade * x * x * sums.weight
        self.y += fade * sums.loss
        self.xy += fade * x * sums.loss
        self.yy += fade * sums.loss2
        self.is_fresh = True


def sums_by_cluster(losses: Losses) -> dict[int, Sums]:
    """The moments that curves are made of, by cluster in ascending order."""
    clusters_K, cluster_S = np.unique(losses.clusters_S, return_inverse=True)
    own_S = np.minimum(losses.num_targets_S, FULL_TARGETS) / FULL_TARGETS
    weights_S = own_S * np.minimum(1.0 / np.maximum(losses.propensities_S, 1e-9), MAX_IMPORTANCE)
    losses_S = np.minimum(losses.losses_S, MAX_LOSS)
    columns = (weights_S, weights_S**2, own_S, weights_S * losses_S, weights_S * losses_S**2)
    sums_K = zip(*(np.bincount(cluster_S, column, len(clusters_K)).tolist() for column in columns), strict=True)
    return {cluster: Sums(*sums) for cluster, sums in zip(clusters_K.tolist(), sums_K, strict=True)}


def progress_rewards(
    curves: Mapping[int, Curve], oldest_step: int, *, credit: float = 1.0
) -> list[tuple[int, float, float]]:
    """(cluster, reward, number of rewards that it counts as) of every fresh cluster, as far as it can be told.

    Curves that nothing came to since `oldest_step` are not compared with. `credit` is the power of π that progress is
    divided by: 1 takes it for the cluster's own, `DAMPED` for half its own and half that of the others.
    """
    known = {cluster: curve for cluster, curve in curves.items() if curve.step >= oldest_step and curve.weight > 0}
    rows = [
        (curve.weight, curve.squares, curve.documents, curve.x, curve.xx, curve.y, curve.xy, curve.yy)
        for curve in known.values()
    ]
    weight_K, squares_K, documents_K, x_K, xx_K, y_K, xy_K, yy_K = np.array(rows, np.float64).reshape(-1, 8).T
    with np.errstate(all="ignore"):
        spread_K = xx_K - x_K**2 / weight_K
        number_K = weight_K**2 / squares_K
        usable_K = (number_K >= MIN_DOCUMENTS) & (spread_K > 1e-6 * weight_K) & (documents_K > 0)
        falls_K = xy_K - x_K * y_K / weight_K
        slopes_K = falls_K / spread_K
        residuals_K = np.maximum(yy_K - y_K**2 / weight_K - slopes_K * falls_K, 0.0)
    if usable_K.sum() < 2:
        return []
    clusters = [cluster for cluster, usable in zip(known, usable_K.tolist(), strict=True) if usable]
    weight_K, spread_K, slopes_K, number_K = (a[usable_K] for a in (weight_K, spread_K, slopes_K, number_K))
    noise = float(residuals_K[usable_K].sum() / (weight_K * (1.0 - 2.0 / number_K)).sum())
    propensities_K = np.maximum(documents_K[usable_K] / weight_K, 1.0 / MAX_IMPORTANCE) ** credit
    progress_K = -slopes_K / propensities_K
    variances_K = noise * (squares_K[usable_K] / weight_K) / spread_K / propensities_K**2
    variances_K = np.maximum(variances_K, 1e-12 * float(np.square(progress_K).max()) + 1e-200)
    mean, between = variance_between(progress_K, variances_K)
    if not between > 0.0:
        return []
    rewards_K = np.clip((progress_K - mean) / np.sqrt(between), -CLIP_DEVIATIONS, CLIP_DEVIATIONS)
    counts_K = between / (between + variances_K)
    return [
        (cluster, reward, count)
        for cluster, reward, count in zip(clusters, rewards_K.tolist(), counts_K.tolist(), strict=True)
        if known[cluster].is_fresh
    ]


def variance_between(values_K: NDArray[np.float64], variances_K: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and variance of what the values are noisy observations of."""
    precisions_K = 1.0 / variances_K
    total = float(precisions_K.sum())
    mean = float((precisions_K * values_K).sum()) / total
    excess = float((precisions_K * (values_K - mean) ** 2).sum()) - (len(values_K) - 1)
    between = max(excess, 0.0) / (total - float((precisions_K**2).sum()) / total)
    weights_K = 1.0 / (variances_K + between)
    return float((weights_K * values_K).sum() / weights_K.sum()), between
