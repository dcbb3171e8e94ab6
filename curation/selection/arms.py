"""Arms: what is known of the worth of clusters, a row each, by the sources of their rewards.

Several sources of rewards speak of the same clusters in units of their own, and not with the same right. Each is
standardised; then it counts by its *reliability*, the share of what it says of clusters that is no noise. The variance
between clusters is estimated by moments (DerSimonian & Laird, 1986) from the means of clusters, whose own variance is
1 / n in standard deviations of a reward. A source that is noise, or that is silent, counts nothing.

Shape legend: C arms in ascending order of cluster id, K sources of rewards, X any clusters.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from curation.selection.loss_curves import variance_between
from state.facts import RAW, SIGNED, Facts, Family, packed, single

# An arm that weighs less than this, in reward and in arrivals, is forgotten: it has become a newborn again.
FORGOTTEN = 1e-3
CLIP_SIGMAS = 3.0
ARMS = Facts(Family("bandit", "what is known of the worth of a cluster"), key=SIGNED, value=RAW)  # an `arm_type` each


def arm_type(num_sources: int) -> np.dtype[np.void]:
    """The row of an arm."""
    return np.dtype(
        [
            ("cluster", "<i8"),
            ("reward_sum", "<f8", (num_sources,)),  # discounted sums of clipped rewards
            ("count", "<f8", (num_sources,)),  # discounted number of rewards, neighbours' credit included
            ("arrived", "<f8"),  # discounted tokens that arrived in closed ticks
            ("arriving", "<f8"),  # and in the open one
            ("documents", "<i8"),  # documents that arrived, ever
            ("admitted", "<i8"),  # and were admitted
        ]
    )


class Shared(msgspec.Struct, array_like=True):
    """Everything that belongs to no single arm. A number in place of a list is of a time with one source."""

    documents: int = 0  # ever sampled: places the probes
    tick_documents: int = 0  # sampled since the last tick: the time that the discount knows
    arrived: float = 0.0  # discounted tokens; as in an arm, those of the open tick are kept apart
    arriving: float = 0.0
    admitted: float = 0.0
    admitting: float = 0.0
    policy_version: int = 0
    reward_counts: list[float] | float = []  # by source: over all rewards, undiscounted
    reward_means: list[float] | float = []
    reward_m2s: list[float] | float = []
    pending_clusters: list[int] = []
    pending_rewards: list[float] = []
    pending_counts: list[float] = []
    pending_sources: list[int] = []
    sources: list[str] = []  # names of the sources of rewards, in the order of the lists
    raised: float = 0.0  # discounted tokens that strata keep, expected; and those of the open tick
    raising: float = 0.0

    def moments(self) -> NDArray[np.float64]:
        """(K, 3): count, mean and sum of squared deviations of the rewards of each source."""
        return np.array([self.reward_counts, self.reward_means, self.reward_m2s], np.float64).reshape(3, -1).T.copy()

    def set_moments(self, moments_K3: NDArray[np.float64]) -> None:
        """The other way round."""
        self.reward_counts, self.reward_means, self.reward_m2s = moments_K3.T.tolist()

    def name_sources(self, names: tuple[str, ...]) -> None:
        """These are the sources from now on; what others gave is forgotten."""
        before, moments_K3 = self.sources, np.zeros((len(names), 3))
        if tuple(before) == names:
            return
        for place, name in enumerate(names):
            if name in before:
                moments_K3[place] = self.moments()[before.index(name)]
        columns = (self.pending_clusters, self.pending_rewards, self.pending_counts, self.pending_sources)
        pending = [entry for entry in zip(*columns, strict=False) if before[entry[3]] in names]  # one source: no names
        self.pending_clusters, self.pending_rewards, self.pending_counts = (
            [entry[0] for entry in pending],
            [entry[1] for entry in pending],
            [entry[2] for entry in pending],
        )
        self.pending_sources = [names.index(before[entry[3]]) for entry in pending]
        self.sources = list(names)
        self.set_moments(moments_K3)


SHARED = single("bandit", packed(Shared))


def read_arms(rows: list[bytes], before: list[str], now: tuple[str, ...]) -> NDArray[Any]:
    """Arms as they were written with the sources `before`, for those of `now`: a source that is new knows nothing."""
    read_C = np.zeros(len(rows), arm_type(len(now)))
    if not rows:
        return read_C
    num_before = (len(rows[0]) - arm_type(0).itemsize) // (arm_type(1).itemsize - arm_type(0).itemsize)
    written_C = np.frombuffer(b"".join(rows), arm_type(num_before))
    for field in ("cluster", "arrived", "arriving", "documents", "admitted"):
        read_C[field] = written_C[field]
    for place, name in enumerate(now):
        if name in before:
            for field in ("reward_sum", "count"):
                read_C[field][:, place] = written_C[field][:, before.index(name)]
    return read_C


def absorb(
    moments_K3: NDArray[np.float64], source: int, rewards_X: NDArray[np.float64], counts_X: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Bring the moments of a source along, and clip its rewards to three standard deviations of all it ever gave."""
    # Welford (1962), a tick at once (Chan, Golub & LeVeque, 1983).
    count = float(counts_X.sum())
    mean = float((counts_X * rewards_X).sum()) / count
    known, known_mean, m2 = moments_K3[source].tolist()
    gap, total = mean - known_mean, known + count
    m2 += float((counts_X * (rewards_X - mean) ** 2).sum()) + gap**2 * known * count / total
    known_mean += gap * count / total
    moments_K3[source] = total, known_mean, m2
    reach = CLIP_SIGMAS * math.sqrt(m2 / total)
    return np.clip(rewards_X, known_mean - reach, known_mean + reach)


def combined(
    arms_C: NDArray[np.void], moments_K3: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Worth of each cluster in standard deviations of a reward, rewards behind it, and the weights of the sources."""
    counts_CK = arms_C["count"]
    num_sources = counts_CK.shape[1]
    posteriors_CK = np.empty((len(arms_C), num_sources))
    for source in range(num_sources):
        posteriors_CK[:, source] = _posteriors(arms_C, source, moments_K3[source])
    if num_sources == 1:
        return posteriors_CK[:, 0], counts_CK[:, 0], np.ones(1)
    weights_K, spreads_K = np.zeros(num_sources), np.ones(num_sources)
    for source in range(num_sources):
        weights_K[source], spreads_K[source] = _reliability(
            posteriors_CK[:, source], counts_CK[:, source], arms_C["arrived"] + FORGOTTEN
        )
    if not weights_K.any():
        return np.zeros(len(arms_C)), counts_CK.mean(axis=1), weights_K
    weights_K /= weights_K.sum()
    # The spread of clusters is one in all sources; the sum has the mean spread, so that a bonus weighs as with one.
    means_C = (posteriors_CK / spreads_K * weights_K).sum(axis=1) * float(weights_K @ spreads_K)
    return means_C, (counts_CK * weights_K).sum(axis=1), weights_K


def _posteriors(arms_C: NDArray[np.void], source: int, moments_3: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean reward of each cluster in standard deviations of a reward, shrunk by a prior of one reward.

    The prior stands at the mean over the tokens that arrive, each worth what its cluster is: the mean over rewards is
    one over what was admitted, so of the better ones.
    """
    sums_C, counts_C = arms_C["reward_sum"][:, source], arms_C["count"][:, source]
    total, _, m2 = moments_3.tolist()
    known_C = counts_C >= FORGOTTEN
    if not m2 > 0.0 or not known_C.any():
        return np.zeros(len(arms_C))
    weights_C = np.where(known_C, arms_C["arrived"] + FORGOTTEN, 0.0)
    means_C = sums_C / np.where(known_C, counts_C, 1.0)
    prior = float((weights_C * means_C).sum() / weights_C.sum())
    return (sums_C - counts_C * prior) / (counts_C + 1.0) / math.sqrt(m2 / total)


def _reliability(
    posteriors_C: NDArray[np.float64], counts_C: NDArray[np.float64], arrived_C: NDArray[np.float64]
) -> tuple[float, float]:
    """Share of the tokens' worth, as a source has it, that is no noise; and the standard deviation between clusters."""
    known_C = counts_C >= FORGOTTEN
    if known_C.sum() < 2:
        return 0.0, 1.0
    counts_C, weights_C = counts_C[known_C], arrived_C[known_C]
    means_C = posteriors_C[known_C] * (counts_C + 1.0) / counts_C
    _, between = variance_between(means_C, 1.0 / counts_C)
    if not between > 0.0:
        return 0.0, 1.0
    reliability = float((weights_C * between / (between + 1.0 / counts_C)).sum() / arrived_C.sum())
    return reliability, math.sqrt(between)
