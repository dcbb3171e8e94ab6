"""Bandit and mixture on synthetic streams, against baselines and closed forms.

Run as `python -m benchmarks.bandit_mixture`. The tests hold smaller streams to the same claims.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from curation.selection.bandit import Bandit, BanditConfig
from curation.selection.mixture import Mixture
from curation.selection.mixture_config import MixtureConfig

TICK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """A stream of documents whose clusters differ in worth, and change it."""

    clusters_N: NDArray[np.int32]
    qualities_N: NDArray[np.float64]  # of the document: its cluster's worth and noise
    worths_N: NDArray[np.float64]  # of its cluster at the time
    keys_N: NDArray[np.uint64]
    num_clusters: int

    def oracle(self, keep: float) -> float:
        """Mean worth of an oracle's choice, which knows every cluster's worth, tick by tick."""
        ticks = np.split(self.worths_N, range(TICK, len(self.worths_N), TICK))
        return float(np.concatenate([np.sort(tick)[len(tick) - int(keep * len(tick)) :] for tick in ticks]).mean())


def topics(*, seed: int, num_clusters: int = 200, num_documents: int = 200_000, drift_every: int = 25_000) -> Topics:
    """Zipf(0.7) clusters of normal worth (0, 0.5), noise of 1; at each drift 30 % of the clusters draw a new worth."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, num_clusters + 1) ** 0.7
    clusters_N = rng.choice(num_clusters, num_documents, p=shares / shares.sum()).astype(np.int32)
    worths = rng.normal(0, 0.5, num_clusters)
    worths_N = np.empty(num_documents)
    for start in range(0, num_documents, drift_every):
        if start:
            changed = rng.random(num_clusters) < 0.3
            worths[changed] = rng.normal(0, 0.5, changed.sum())
        worths_N[start : start + drift_every] = worths[clusters_N[start : start + drift_every]]
    return Topics(
        clusters_N=clusters_N,
        qualities_N=worths_N + rng.normal(0, 1, num_documents),
        worths_N=worths_N,
        keys_N=rng.integers(0, 2**63, num_documents).astype(np.uint64),
        num_clusters=num_clusters,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    quality: float  # mean worth of what was kept
    share: float
    least_keep_rate: float  # over the clusters
    least_propensity: float
    cpu_us: float  # a document


def keep_with_bandit(
    stream: Topics, config: BanditConfig, *, rewarded: Literal["probed", "admitted"] = "probed"
) -> Kept:
    """Rewards are given to probes, or, as by a trainer or its scorer, to what was admitted."""
    bandit = Bandit(config)
    admitted, propensities, cpu = [], [], 0.0
    for start in range(0, len(stream.clusters_N), TICK):
        tick = slice(start, start + TICK)
        clusters_B = stream.clusters_N[tick]
        num_tokens_B = np.ones(len(clusters_B), np.int64)
        began = time.process_time()
        admission = bandit.sample(clusters_B, stream.keys_N[tick], num_tokens_B)
        rewarded_B = admission.probed_B if rewarded == "probed" else admission.admitted_B
        bandit.learn(clusters_B[rewarded_B], stream.qualities_N[tick][rewarded_B])
        bandit.tick()
        cpu += time.process_time() - began
        admitted.append(admission.admitted_B)
        propensities.append(admission.propensities_B)
    return _kept(stream, np.concatenate(admitted), float(np.concatenate(propensities).min()), cpu)


def keep_with_ucb(stream: Topics, *, keep: float = 0.5, probe: float = 0.03, alpha: float = 1.0) -> Kept:
    """The baseline: UCB1 that never forgets, probes the highest index and keeps the best half by posterior."""
    sums, counts = np.zeros(stream.num_clusters), np.zeros(stream.num_clusters)
    admitted_N = np.zeros(len(stream.clusters_N), np.bool_)
    rng = np.random.default_rng(0)
    began = time.process_time()
    for start in range(0, len(stream.clusters_N), TICK):
        clusters_B = stream.clusters_N[start : start + TICK]
        bonus = alpha * np.sqrt(2 * np.log(max(counts.sum(), 2)) / (counts + 1))
        ties_B = rng.random(len(clusters_B)) * 1e-6
        probes = np.argsort(-((sums / (counts + 1) + bonus)[clusters_B] + ties_B))[: int(probe * len(clusters_B))]
        np.add.at(sums, clusters_B[probes], stream.qualities_N[start + probes])
        np.add.at(counts, clusters_B[probes], 1)
        index_B = (sums / (counts + 1) + 0.25 * bonus)[clusters_B] + ties_B
        admitted_N[start + np.argsort(-index_B)[: int(keep * len(clusters_B))]] = True
    return _kept(stream, admitted_N, 0.0, time.process_time() - began)


def _kept(stream: Topics, admitted_N: NDArray[np.bool_], least_propensity: float, cpu: float) -> Kept:
    arrived = np.bincount(stream.clusters_N, minlength=stream.num_clusters)
    kept = np.bincount(stream.clusters_N[admitted_N], minlength=stream.num_clusters)
    return Kept(
        quality=float(stream.worths_N[admitted_N].mean()),
        share=float(admitted_N.mean()),
        least_keep_rate=float((kept / np.maximum(arrived, 1)).min()),
        least_propensity=least_propensity,
        cpu_us=cpu / len(admitted_N) * 1e6,
    )


def water_filling(sizes: Sequence[float] | NDArray[np.float64], *, budget: float, max_uses: int) -> NDArray[np.float64]:
    """Tokens of each cluster if `budget` tokens are drawn uniformly over clusters that retire after `max_uses` passes.

    take_c = min(x, max_uses * size_c), with x such that the takes add up to the budget.
    """
    limits = max_uses * np.asarray(sizes, np.float64)
    ascending = np.sort(limits)
    # With the k smallest exhausted, the others share what is left.
    left = budget - np.concatenate(([0.0], np.cumsum(ascending)[:-1]))
    levels = left / np.arange(len(limits), 0, -1)
    fits = np.flatnonzero(levels <= ascending)
    level = levels[fits[0]] if len(fits) else np.inf
    return np.minimum(level, limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    clusters_N: NDArray[np.int32]
    num_tokens_N: NDArray[np.int64]
    keys_N: NDArray[np.uint64]
    sources: list[str]


def zipf_documents(*, seed: int, num_documents: int, num_clusters: int, mean_tokens: float = 150.0) -> Documents:
    """Zipf(1) clusters, log-normal lengths."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, num_clusters + 1)
    return Documents(
        clusters_N=rng.choice(num_clusters, num_documents, p=shares / shares.sum()).astype(np.int32),
        num_tokens_N=np.clip(rng.lognormal(np.log(mean_tokens), 0.8, num_documents), 5, 8000).astype(np.int64),
        keys_N=rng.integers(0, 2**63, num_documents).astype(np.uint64),
        sources=[""] * num_documents,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Emitted:
    doc_nos_X: NDArray[np.int64]
    uses_X: NDArray[np.int64]
    cpu_us: float  # a document

    def tokens_by_cluster(self, documents: Documents, num_clusters: int) -> NDArray[np.float64]:
        doc_nos_X = self.doc_nos_X
        return np.bincount(documents.clusters_N[doc_nos_X], documents.num_tokens_N[doc_nos_X], num_clusters)


def emit(documents: Documents, config: MixtureConfig) -> Emitted:
    mixture = Mixture(config)
    pairs: list[tuple[int, int]] = []
    cpu = 0.0
    num_documents = len(documents.clusters_N)
    for start in range(0, num_documents, TICK):
        tick = slice(start, start + TICK)
        doc_nos_B = np.arange(num_documents)[tick]
        began = time.process_time()
        balanced = mixture.balance(
            doc_nos_B,
            documents.keys_N[tick],
            documents.clusters_N[tick],
            documents.num_tokens_N[tick],
            documents.sources[tick],
        )
        cpu += time.process_time() - began
        pairs.extend(balanced.emitted)
    emitted_X2 = np.array(pairs, np.int64).reshape(-1, 2)
    return Emitted(doc_nos_X=emitted_X2[:, 0], uses_X=emitted_X2[:, 1], cpu_us=cpu / num_documents * 1e6)


def total_variation(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Distance of two distributions, given up to scale."""
    return float(np.abs(left / left.sum() - right / right.sum()).sum() / 2)


def newborn_excess(config: MixtureConfig, *, seed: int = 1, num_documents: int = 60_000) -> float:
    """The most that a cluster born in mid-stream takes in any 10,000 emitted tokens, over its fair share."""
    num_clusters, born_at, newborn = 20, num_documents // 2, 20
    stream = zipf_documents(seed=seed, num_documents=num_documents, num_clusters=num_clusters, mean_tokens=40)
    rng = np.random.default_rng(seed)
    clusters_N = stream.clusters_N.copy()
    clusters_N[(np.arange(num_documents) >= born_at) & (rng.random(num_documents) < 0.2)] = newborn
    stream = Documents(
        clusters_N=clusters_N,
        num_tokens_N=np.minimum(stream.num_tokens_N, 200),
        keys_N=stream.keys_N,
        sources=stream.sources,
    )
    emitted = emit(stream, config)
    num_tokens_X = stream.num_tokens_N[emitted.doc_nos_X]
    ends_X = np.cumsum(num_tokens_X)
    taken_X = np.cumsum(np.where(clusters_N[emitted.doc_nos_X] == newborn, num_tokens_X, 0))
    last_X = np.searchsorted(ends_X, ends_X + 10_000)
    whole = last_X < len(ends_X)
    worst = float((taken_X[last_X[whole]] - taken_X[whole]).max())
    sizes = np.bincount(clusters_N[born_at:], stream.num_tokens_N[born_at:], num_clusters + 1)
    fair = water_filling(sizes, budget=config.rho * float(sizes.sum()), max_uses=config.max_uses)
    return worst / (10_000 * fair[newborn] / fair.sum())


def main() -> None:
    # Compile before anything is timed.
    emit(zipf_documents(seed=0, num_documents=100, num_clusters=5), MixtureConfig(rho=0.5))

    print("bandit, 200 clusters, 200,000 documents, 3 % probed, half kept; worth of what was kept, in % of an oracle")
    print(" drift every seed  bandit   UCB1  ratio   kept least kept  us/doc")
    for drift_every in (25_000, 10**9):
        for seed in range(5):
            stream = topics(seed=seed, drift_every=drift_every)
            oracle = stream.oracle(0.5)
            config = BanditConfig(enabled=True, reward=("scorer",))
            ours, baseline = keep_with_bandit(stream, config), keep_with_ucb(stream)
            print(
                f"{drift_every if drift_every < 10**9 else 'never':>12} {seed:>4} {ours.quality / oracle:>7.1%} "
                f"{baseline.quality / oracle:>6.1%} {ours.quality / baseline.quality:>6.2f} {ours.share:>6.1%} "
                f"{ours.least_keep_rate:>10.1%} {ours.cpu_us:>7.2f}"
            )

    print("\nmixture, 100,000 documents, Zipf over 50 clusters, buffers of 50")
    print(" rho uses realised  distance most uses  repeats  newborn  us/doc")
    stream_of_50 = zipf_documents(seed=0, num_documents=100_000, num_clusters=50)
    arrived = np.bincount(stream_of_50.clusters_N, stream_of_50.num_tokens_N, 50)
    for rho in (0.3, 0.6, 1.0):
        for max_uses in (1, 5):
            config = MixtureConfig(rho=rho, max_uses=max_uses, buffer_documents=50, size_power=0)
            emitted = emit(stream_of_50, config)
            taken = emitted.tokens_by_cluster(stream_of_50, 50)
            wanted = water_filling(arrived, budget=rho * float(arrived.sum()), max_uses=max_uses)
            print(
                f"{rho:>4} {max_uses:>4} {taken.sum() / arrived.sum():>8.4f} {total_variation(taken, wanted):>9.5f} "
                f"{np.bincount(emitted.doc_nos_X).max():>9} {(emitted.uses_X > 0).mean():>8.1%} "
                f"{newborn_excess(config):>7.2f}x {emitted.cpu_us:>7.2f}"
            )

    print("\ncost at 128 clusters, ticks of 512, default buffers, us/doc")
    stream_of_128 = zipf_documents(seed=0, num_documents=100_000, num_clusters=128)
    for name, config in (
        ("off", MixtureConfig()),
        ("rho 0.3", MixtureConfig(rho=0.3)),
        ("rho 0.6, 5 uses", MixtureConfig(rho=0.6, max_uses=5)),
        ("rho 1, 5 uses", MixtureConfig(max_uses=5)),
    ):
        print(f"  mixture {name:<16} {emit(stream_of_128, config).cpu_us:.2f}")
    for name, bandit_config in (("off", BanditConfig()), ("on", BanditConfig(enabled=True, reward=("scorer",)))):
        stream = topics(seed=0, num_clusters=128, num_documents=100_000)
        print(f"  bandit {name:<17} {keep_with_bandit(stream, bandit_config).cpu_us:.2f}")


if __name__ == "__main__":
    main()
