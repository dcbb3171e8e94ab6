"""The reasons behind an admission, from the facts: scores, the target's threshold, rewards and share of the cluster."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from curation.decontamination.found import NUMBER_OF_QUESTION
from curation.quality.rules import RULE_NAMES
from curation.selection.arms import SHARED as ARMS_SHARED
from curation.selection.bandit import Bandit, BanditConfig
from curation.selection.loss_shares import LossShares
from curation.selection.mixture_config import MixtureConfig
from curation.selection.reward_sources import ORDER, TARGET
from curation.selection.target_facts import LIKENESS, THRESHOLDS, gumbel, keys_of, worths
from curation.selection.target_facts import SHARED as TARGET_SHARED
from curation.selection.weighing_facts import WEIGHED, WeighedDocument, weighed_document
from curation.ticks import TICK_ORDINALS
from state.document_numbers import WEIGHT
from state.fact_table import restore_stages
from state.facts import FactSource
from state.segments import Verdict, segment_at
from state.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Aimed:
    """The target's decision in the document's tick."""

    key: float
    threshold: float

    @property
    def is_kept(self) -> bool:
        """Whether the target kept it."""
        return self.key >= self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewarded:
    """The arm of the document's cluster, as the state was committed last."""

    mean: float  # in standard deviations of a reward
    count: float  # rewards behind it
    propensity: float  # of its next document
    weights: dict[str, float]  # of the sources of rewards


@dataclass(frozen=True, slots=True, kw_only=True)
class Balanced:
    """The mixture's view of the document's cluster within its source, as the state was committed last."""

    share: float  # of the tokens that go out, while every cluster has something to give
    natural: float  # of those that came


def scores_of(store: FactSource, verdict: Verdict) -> dict[str, float]:
    """Scores of the models, and likeness by vectors, by name."""
    known = {*RULE_NAMES, WEIGHT, NUMBER_OF_QUESTION}
    scores = {name: value for name, value in verdict.rules.items() if name not in known}
    fact = LIKENESS.get(store, verdict.ordinal // TICK_ORDINALS)
    likeness = None if fact is None else fact.of(verdict.doc_no)
    return scores if likeness is None else {TARGET: likeness, **scores}


def aimed(store: Store, verdict: Verdict, scores: dict[str, float]) -> Aimed | None:
    """The key of a document against the threshold of its tick; None where no target decided."""
    thresholds = THRESHOLDS.get(store, verdict.ordinal // TICK_ORDINALS)
    shared = TARGET_SHARED.get(store, None)
    segment = segment_at(store, verdict.doc_no)
    if thresholds is None or shared is None or segment is None or TARGET not in scores:
        return None
    id_keys_1 = segment.keys("id_keys")[verdict.doc_no - segment.first :][:1, 0]
    worths_1 = worths(np.array([[scores[TARGET], scores.get(ORDER, np.nan)]], np.float32))
    keys_1 = keys_of(worths_1, shared.mean, shared.deviation) + gumbel(id_keys_1, shared.seed)
    return Aimed(key=float(keys_1[0]), threshold=thresholds.of(verdict.source))


def weighed(store: Store, verdict: Verdict) -> WeighedDocument | None:
    """The numbers that a document was weighed by in its tick; None where nothing weighs."""
    fact = WEIGHED.get(store, verdict.ordinal // TICK_ORDINALS)
    return None if fact is None else weighed_document(fact, verdict.doc_no)


def weight_lines(verdict: Verdict, found: WeighedDocument | None) -> Iterator[tuple[str, str]]:
    """The weight of a document and what made it, then its perplexity and entropy."""
    given = verdict.rules.get(WEIGHT, np.nan)
    parts = [] if np.isnan(given) else [f"{given:.4g} that it brought along"]
    weight = 1.0 if np.isnan(given) else given
    if found is not None and found.factors:
        weight *= float(np.prod(list(found.factors.values()))) / found.mean
        parts += [f"{factor:.3g} by {name}" for name, factor in found.factors.items()]
        parts.append(f"1 / {found.mean:.3g}, the mean of late")
    if parts:
        yield "weight", f"{weight:.3g}: {' x '.join(parts)}"
    if found is not None and not np.isnan(found.perplexity):
        beyond = "" if found.turned_away is None else f", REJECTED, {found.turned_away}"
        yield "commonness", f"perplexity {found.perplexity:.4g}, entropy {found.entropy:.3g} bits a token{beyond}"


def rewarded(store: FactSource, cluster: int | None) -> Rewarded | None:
    """The arm of a cluster; None without one, or with the bandit off."""
    shared = ARMS_SHARED.get(store, None)
    if cluster is None or shared is None or not shared.sources:
        return None
    bandit = Bandit(BanditConfig(enabled=True, reward=tuple(shared.sources)))
    restore_stages((bandit,), store)
    arm = next((arm for arm in bandit.arms() if arm.cluster == cluster), None)
    if arm is None:
        return None
    return Rewarded(mean=arm.mean, count=arm.count, propensity=arm.propensity, weights=bandit.weights())


def balanced(store: FactSource, options: Mapping[str, str], source: str, cluster: int | None) -> Balanced | None:
    """The share of a cluster; None without one, or where every document goes straight on."""
    section = {name.removeprefix("mixture."): text for name, text in options.items() if name.startswith("mixture.")}
    if cluster is None or not section:
        return None
    tree = tomllib.loads("\n".join(f"{name} = {text}" for name, text in section.items()))
    config = msgspec.convert(tree, MixtureConfig)
    if config.passes_through():
        return None
    from curation.selection.mixture import Mixture  # compiles kernels, which is for states that have one

    mixture, shares = Mixture(config), LossShares(config.rule, config.losses)
    restore_stages((mixture, shares), store)
    mixture.begin_tick()
    if shares.shares:
        mixture.weigh(shares.shares)
    found = mixture.share_of(source, cluster)
    return None if found is None else Balanced(share=found[0], natural=found[1])


def lines(
    scores: dict[str, float],
    target: Aimed | None = None,
    rewards: Rewarded | None = None,
    balance: Balanced | None = None,
) -> Iterator[tuple[str, str]]:
    """Stage and sentence of each."""
    known = [f"{name} {value:.3g}" for name, value in scores.items() if not np.isnan(value)]
    if known:
        yield "scores", ", ".join(known)
    if target is not None:
        kept = "kept" if target.is_kept else "NOT KEPT"
        yield "target", f"{kept}: key {target.key:.3f} against a threshold of {target.threshold:.3f} in its tick"
    if rewards is not None:
        weights = ", ".join(f"{name} {weight:.0%}" for name, weight in rewards.weights.items())
        yield (
            "reward",
            f"its cluster stands at {rewards.mean:+.2f} deviations after {rewards.count:,.0f} rewards ({weights})",
        )
    if balance is not None:
        yield (
            "mixture",
            f"its cluster is to have {balance.share:.2%} of what goes out, and is {balance.natural:.2%} of what came",
        )
