"""Bandit: which documents are worth admitting, learned per cluster from the rewards of a few (Quad, online).

Quad (Zhang et al., ICLR 2025) pulls clusters as the arms of a bandit and rewards them by the influence of a few
of their documents. On a stream arms are not pulled, documents arrive, and there are two decisions a document:

- *admit*: is its cluster's index above the running cut? The index is Quad's, the posterior mean and a bonus for what
  is not known of the cluster: UCB's (Auer et al., 2002) over discounted counts (Garivier & Moulines, 2011). This is a
  thresholding bandit, not best-arm search. Clusters are admitted from the best downwards until their share of the
  arriving tokens is `keep_ratio`; those at the cut are admitted in part, those below it with the floor probability,
  which shrinks with the rewards that say so. Clusters with equal indices are treated alike, so that a bandit that
  knows nothing admits `keep_ratio` of each.
- *probe*: which few documents get a reward now? Those of the clusters whose side of the cut is least certain:
  argmax of `bonus_c - |mean_c - cut|`. Each probe within a tick shrinks the bonus, so one cluster does not take all.

Where rewards say nothing of sources against each other, every stratum (language and source) keeps a share of its
tokens (curation/selection/strata.py).

Beliefs change only in `tick` and by lineage. In between, all is answered from the same policy, which
is a pure function of the facts: a restored bandit goes on to the last bit.

Shape legend: B documents of a tick, C arms in ascending order of cluster id, K sources of rewards, L levels of equal
index, P pairs of neighbours, X any clusters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from curation.selection.arms import ARMS, FORGOTTEN, SHARED, Shared, absorb, arm_type, combined, read_arms
from curation.selection.strata import Strata
from ops.readings import Gauges
from state.chance import draw, draw_unit
from state.fact_table import FactCell, FactOwner, FactTable, Table
from state.facts import FactSource

DISCOUNT_DOCUMENTS = 200  # the discount is stated per this many documents
CERTAIN_REWARDS = 5.0  # after which half the floor is left


class BanditConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section [bandit]."""

    enabled: bool = False
    """Admit documents by what their cluster is worth; off, every document is admitted."""
    reward: tuple[Annotated[str, msgspec.Meta(min_length=1)], ...] = ()
    """What clusters are rewarded for; several count by their measured reliability. "target": likeness to target.files.
    The name of a head of [quality.heads], and "rules": standardised within language and source. A scorer's name, as its
    messages on the feedback topic have it ("scorer" where they name none). "progress": the losses of trainers; alone
    it admits what is learned fastest, wanted or not: in closed loop it was no better than random thinning, and what was
    wanted was learned less than without a bandit (records 51 and 52)."""
    keep_ratio: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    """Share of the arriving tokens to admit, over the memory of the discount. mixture.rho takes its share of these."""
    source_floor: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """Least share of the tokens of each language of each source that is admitted, at most keep_ratio. Unset: 0.5, and 0
    where "target" or a scorer is among the rewards, which may tell sources apart."""
    floor: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.01
    """Admission probability of a document of a cluster far below the cut, while its worth is unknown; half of it after
    5 rewards, a tenth after 45."""
    probe_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.03
    """Share of the arriving documents that are scored for a reward."""
    exploration: Annotated[float, msgspec.Meta(ge=0)] = 0.25
    """Weight of uncertainty in admission (Quad's alpha), in standard deviations of the reward."""
    discount: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.995
    """What a reward still weighs after 200 further documents; 1 never forgets."""
    neighbour_radius: Annotated[float, msgspec.Meta(ge=0)] = 0.2
    """Cosine distance at which the credit that a cluster shares with its neighbours has faded to nothing."""
    newborn_count: Annotated[float, msgspec.Meta(ge=0)] = 5.0
    """Most rewards that a newborn cluster inherits from its parents."""

    def __post_init__(self) -> None:
        if self.enabled and not self.reward:
            raise ValueError(
                "bandit.enabled has nothing to learn from: name the sources of rewards in bandit.reward, such as "
                '["target"] with [target] files, a head of [quality.heads], a scorer\'s name as its messages on the '
                'feedback topic have it, or ["progress"] for the losses of trainers'
            )
        if len(set(self.reward)) < len(self.reward):
            raise ValueError(f"bandit.reward names a source twice: {', '.join(self.reward)}")
        if self.floor > self.keep_ratio:
            raise ValueError(
                f"bandit.floor = {self.floor} admits more than bandit.keep_ratio = {self.keep_ratio}: "
                "lower the floor or raise the ratio"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The bandit's decision on each document of a tick."""

    admitted_B: NDArray[np.bool_]
    propensities_B: NDArray[np.float32]  # probability with which it was admitted, for importance weights
    probed_B: NDArray[np.bool_]  # a reward is wanted for it, whether it was admitted or not


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmReport:
    """One row of the table of arms."""

    cluster: int
    mean: float  # posterior, in standard deviations from the mean reward; 0 for a cluster without rewards
    count: float  # discounted number of rewards behind it
    propensity: float  # admission probability of its next document
    documents: int  # arrived, ever
    keep_rate: float  # share of those that was admitted; 1 before the first


@dataclass(frozen=True, slots=True, kw_only=True)
class _Policy:
    """The policy that follows from the facts, until they change."""

    means_C: NDArray[np.float64]  # posterior, in standard deviations
    counts_C: NDArray[np.float64]  # rewards behind it
    weights_K: NDArray[np.float64]  # of the sources of rewards
    propensities_C: NDArray[np.float32]
    cut: float
    log_pulls: float  # 2 ln of all rewards, under the root of the bonus


class Bandit(FactOwner):
    """Beliefs about clusters, and the decisions that follow from them.

    A cluster that was never heard of is a newborn at the mean of all rewards. Nothing raises. `source_floor` is the
    least share of each stratum where the configuration says none.
    """

    def __init__(self, config: BanditConfig, *, seed: int = 0, source_floor: float = 0.0) -> None:
        self._config = config
        self._seed = seed
        floor = config.source_floor if config.source_floor is not None else source_floor
        self.strata = Strata(config.discount ** (1.0 / DISCOUNT_DOCUMENTS), least=min(floor, config.keep_ratio))
        self._arms_C: NDArray[Any] = np.zeros(0, arm_type(len(config.reward)))
        self._policy: _Policy | None = None
        self._arms = FactTable(ARMS)
        shared = Shared()
        if config.enabled:
            shared.name_sources(config.reward)
        self._cell = FactCell(SHARED, shared)

    @property
    def _shared(self) -> Shared:
        return self._cell.value

    @property
    def policy_version(self) -> int:
        """Counts the ticks and lineage changes that changed what the bandit believes."""
        return self._shared.policy_version

    def sample(
        self,
        clusters_B: NDArray[np.int32],
        keys_B: NDArray[np.uint64],
        num_tokens_B: NDArray[np.int64],
        strata_B: Sequence[str] = (),
    ) -> Admission:
        """Decide on the documents of one tick: all of them by the same beliefs.

        `keys_B` hash the document ids; with the seed they are the only randomness. `strata_B` may be left out where
        strata keep nothing.
        """
        num_documents = len(clusters_B)
        if not self._config.enabled or num_documents == 0:
            return Admission(
                admitted_B=np.ones(num_documents, np.bool_),
                propensities_B=np.ones(num_documents, np.float32),
                probed_B=np.zeros(num_documents, np.bool_),
            )
        arms_B = self._find(clusters_B)
        policy = self._current_policy()
        self.strata.clock = self._shared.documents
        wanted_B = policy.propensities_C[arms_B]
        propensities_B = self.strata.raised(strata_B, num_tokens_B, wanted_B)
        self._shared.raising += float(((propensities_B - wanted_B) * num_tokens_B).sum())
        admitted_B = draw_unit(keys_B, seed=self._seed, purpose="admit") < propensities_B
        self.strata.count(strata_B, num_tokens_B, admitted_B)
        probed_B = self._choose_probes(policy, arms_B, keys_B)
        self._count_arrivals(arms_B, num_tokens_B, admitted_B)
        return Admission(admitted_B=admitted_B, propensities_B=propensities_B, probed_B=probed_B)

    def learn(self, clusters_B: NDArray[np.int32], rewards_B: NDArray[np.floating], source: str = "") -> None:
        """Rewards of documents, in any unit, as `reward` takes them."""
        for cluster, value in zip(clusters_B.tolist(), rewards_B.tolist(), strict=True):
            self.reward(cluster, value, source=source)

    def reward(self, cluster: int, value: float, count: float = 1.0, source: str = "") -> None:
        """`count` rewards of mean `value` for a cluster; they count from the next tick on. "" is the first source.

        A value that is not finite or a count that is not positive says nothing and is passed over.
        """
        if self._config.enabled and math.isfinite(value) and math.isfinite(count) and count > 0:
            self._shared.pending_clusters.append(cluster)
            self._shared.pending_rewards.append(value)
            self._shared.pending_counts.append(count)
            self._shared.pending_sources.append(self._config.reward.index(source) if source else 0)

    def faded(self, documents: int, *, of: int) -> float:
        """The share of a reward that is left when so many documents were read since, `of` all that ever were."""
        sampled = documents * self._shared.documents / max(of, 1)
        return float(self._config.discount ** (sampled / DISCOUNT_DOCUMENTS))

    def tick(self, neighbours: Iterable[tuple[int, int, float]] = ()) -> None:
        """Close the tick: forget a little, then learn the rewards that came in since the last one.

        `neighbours` are pairs of clusters and their distance, each pair once: a reward of one also counts for the
        other, with a weight that falls linearly from 1 at distance 0 to 0 at the radius.
        """
        shared = self._shared
        if not self._config.enabled or not (shared.tick_documents or shared.pending_clusters):
            return
        fade = self._config.discount ** (shared.tick_documents / DISCOUNT_DOCUMENTS)
        shared.tick_documents = 0
        shared.arrived = shared.arrived * fade + shared.arriving
        shared.admitted = shared.admitted * fade + shared.admitting
        shared.raised = shared.raised * fade + shared.raising
        shared.arriving = shared.admitting = shared.raising = 0.0
        arms_C = self._arms_C
        arms_C["reward_sum"] *= fade
        arms_C["count"] *= fade
        arms_C["arrived"] = arms_C["arrived"] * fade + arms_C["arriving"]
        arms_C["arriving"] = 0.0
        self._arms_C = arms_C[(arms_C["count"] >= FORGOTTEN).any(axis=1) | (arms_C["arrived"] >= FORGOTTEN)]
        if shared.pending_clusters:
            self._absorb(neighbours)
            shared.policy_version += 1
        self._policy = None

    def founded(self, child: int, parents: list[int]) -> None:
        """A newborn cluster starts from what is believed of its parents, held lightly."""
        if not self._config.enabled:
            return
        places = self._find(np.array(parents, np.int64))
        family = self._arms_C[places]
        self._inherit(child, family["reward_sum"].sum(axis=0), family["count"].sum(axis=0), arrived=0.0)
        self._lineage_changed()

    def split(self, parent: int, children: list[int]) -> None:
        """The children start from what is believed of their parent, held lightly, and share its arrivals.

        A parent that is among its children keeps its own beliefs; otherwise it ceases to be.
        """
        if not self._config.enabled or not children:
            return
        place = self._find_one(parent)
        arm = self._arms_C[place].copy()
        arrived = float(arm["arrived"]) / len(children)
        for child in children:
            if child != parent:
                self._inherit(child, arm["reward_sum"], arm["count"], arrived=arrived)
        place = self._find_one(parent)
        if parent in children:
            self._arms_C["arrived"][place] = arrived
        else:
            self._arms_C = np.delete(self._arms_C, place)
        self._lineage_changed()

    def merged(self, winner: int, losers: list[int]) -> None:
        """The winner has seen what the losers saw, pending rewards included; the losers cease to be."""
        if not self._config.enabled:
            return
        self._find(np.array([winner, *losers], np.int64))
        place = self._find_one(winner)
        lost = self._find(np.array([loser for loser in losers if loser != winner], np.int64))
        for field in ("reward_sum", "count", "arrived", "arriving", "documents", "admitted"):
            self._arms_C[field][place] += self._arms_C[field][lost].sum(axis=0)
        self._arms_C = np.delete(self._arms_C, lost)
        self._shared.pending_clusters = [winner if c in losers else c for c in self._shared.pending_clusters]
        self._lineage_changed()

    def arms(self) -> list[ArmReport]:
        """The table of arms, by cluster id; empty while the bandit is off."""
        if not self._config.enabled:
            return []
        policy = self._current_policy()
        return [
            ArmReport(
                cluster=int(arm["cluster"]),
                mean=float(mean),
                count=float(count),
                propensity=float(propensity),
                documents=int(arm["documents"]),
                keep_rate=int(arm["admitted"]) / int(arm["documents"]) if arm["documents"] else 1.0,
            )
            for arm, mean, count, propensity in zip(
                self._arms_C, policy.means_C, policy.counts_C, policy.propensities_C, strict=True
            )
        ]

    def weights(self) -> dict[str, float]:
        """The weight of each source of rewards, of 1 together; 0 for all before there is anything to go by."""
        return dict(zip(self._config.reward, self._current_policy().weights_K.tolist(), strict=True))

    def measured(self, clusters: Iterable[str]) -> Gauges:
        """The arms of these clusters, where they have one, by metric and cluster."""
        arms = {str(arm.cluster): arm for arm in self.arms()}
        shown = [cluster for cluster in clusters if cluster in arms]
        return {
            "bandit_reward_mean": {cluster: arms[cluster].mean for cluster in shown},
            "bandit_admission_ratio": {cluster: arms[cluster].propensity for cluster in shown},
            "bandit_policy_version": self.policy_version,
        }

    def tables(self) -> tuple[Table, ...]:
        """The arms, what they share, and the strata."""
        return self._arms, self._cell, *self.strata.tables()

    def before_commit(self) -> None:
        """A row an arm."""
        if self._config.enabled:
            self._arms.replace({int(arm["cluster"]): arm.tobytes() for arm in self._arms_C})

    def restored(self, committed: FactSource) -> None:
        """The arms again, by cluster. A source of rewards that was not there before begins with nothing."""
        if not self._config.enabled:
            return
        self._arms_C = read_arms(list(self._arms.values()), self._shared.sources, self._config.reward)
        self._shared.name_sources(self._config.reward)
        self._policy = None

    def _find(self, clusters_X: NDArray[np.integer]) -> NDArray[np.intp]:
        """The places of clusters among the arms; those without an arm get one."""
        ids_C = self._arms_C["cluster"]
        places_X = np.searchsorted(ids_C, clusters_X)
        known_X = np.append(ids_C, -1)[places_X] == clusters_X
        known_X &= places_X < len(ids_C)
        if known_X.all():
            return places_X
        newborn = np.unique(clusters_X[~known_X])
        arms = np.zeros(len(newborn), self._arms_C.dtype)
        arms["cluster"] = newborn
        self._arms_C = np.insert(self._arms_C, np.searchsorted(ids_C, newborn), arms)
        self._policy = None
        return np.searchsorted(self._arms_C["cluster"], clusters_X)

    def _find_one(self, cluster: int) -> int:
        return int(self._find(np.array([cluster], np.int64))[0])

    def _inherit(self, child: int, sums_K: NDArray[Any], counts_K: NDArray[Any], *, arrived: float) -> None:
        place = self._find_one(child)
        kept_K = np.minimum(counts_K, self._config.newborn_count)
        self._arms_C["count"][place] = kept_K
        self._arms_C["reward_sum"][place] = sums_K * (kept_K / np.where(counts_K > 0, counts_K, 1.0))
        self._arms_C["arrived"][place] += arrived

    def _lineage_changed(self) -> None:
        self._shared.policy_version += 1
        self._policy = None

    def _absorb(self, neighbours: Iterable[tuple[int, int, float]]) -> None:
        """Add the pending rewards to their arms and, in part, to the arms nearby."""
        shared, num_sources = self._shared, len(self._config.reward)
        rewards, counts = np.array(shared.pending_rewards), np.array(shared.pending_counts)
        sources = np.array(shared.pending_sources)
        moments_K3 = shared.moments()
        for source in np.unique(sources).tolist():
            given = sources == source
            rewards[given] = absorb(moments_K3, source, rewards[given], counts[given])
        shared.set_moments(moments_K3)

        radius = self._config.neighbour_radius
        pairs = [(a, b, 1.0 - distance / radius) for a, b, distance in neighbours if a != b and distance < radius]
        ends_P2 = np.array([pair[:2] for pair in pairs], np.int64).reshape(-1, 2)
        weights_P1 = np.array([pair[2] for pair in pairs]).reshape(-1, 1)
        self._find(ends_P2.ravel())
        arms = self._find(np.array(shared.pending_clusters, np.int64))
        ends_P2 = self._find(ends_P2.ravel()).reshape(-1, 2)
        places = arms * num_sources + sources
        for field, amounts in (("reward_sum", counts * rewards), ("count", counts)):
            own_CK = np.bincount(places, amounts, len(self._arms_C) * num_sources).reshape(-1, num_sources)
            credit_CK = own_CK.copy()
            np.add.at(credit_CK, ends_P2[:, 0], weights_P1 * own_CK[ends_P2[:, 1]])
            np.add.at(credit_CK, ends_P2[:, 1], weights_P1 * own_CK[ends_P2[:, 0]])
            self._arms_C[field] += credit_CK
        shared.pending_clusters, shared.pending_rewards, shared.pending_counts = [], [], []
        shared.pending_sources = []

    def _current_policy(self) -> _Policy:
        """The policy that follows from the facts as they are; it looks at nothing of the open tick."""
        if self._policy is None:
            means_C, counts_C, weights_K = combined(self._arms_C, self._shared.moments())
            log_pulls = 2.0 * math.log(max(float(counts_C.sum()), 2.0))
            bonuses_C = self._config.exploration * np.sqrt(log_pulls / (counts_C + 1.0))
            floors_C = self._config.floor / (1.0 + counts_C / CERTAIN_REWARDS)
            propensities_C, cut = self._draw_cut(means_C + bonuses_C, floors_C)
            self._policy = _Policy(
                means_C=means_C,
                counts_C=counts_C,
                weights_K=weights_K,
                propensities_C=propensities_C,
                cut=cut,
                log_pulls=log_pulls,
            )
        return self._policy

    def _draw_cut(
        self, indices_C: NDArray[np.float64], floors_C: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], float]:
        """Admission probabilities that fill the budget from the best cluster downwards, and the index at the cut."""
        config, shared = self._config, self._shared
        if shared.arrived == 0.0 or len(indices_C) == 0:
            return np.full(len(indices_C), config.keep_ratio, np.float32), 0.0
        # Room for what strata keep beside, and for what was admitted too much or too little of late.
        ratio = 2.0 * config.keep_ratio - (shared.admitted + shared.raised) / shared.arrived
        ratio = min(max(ratio, 0.0), 1.0)
        arrived_C = self._arms_C["arrived"]
        levels_L, level_C = np.unique(-indices_C, return_inverse=True)  # best first; equal indices are on one level
        # The floors are spent on everyone first; above them each takes what is left to it.
        room_L = np.bincount(level_C, arrived_C * (1.0 - floors_C), len(levels_L))
        above_L = np.concatenate(([0.0], np.cumsum(room_L)[:-1]))
        budget = max(float((arrived_C * (ratio - floors_C)).sum()), 0.0)
        filled_L = np.clip((budget - above_L) / np.maximum(room_L, FORGOTTEN), 0.0, 1.0)
        propensities_C = floors_C + (1.0 - floors_C) * filled_L[level_C]
        cut = -float(levels_L[np.flatnonzero(above_L <= budget)[-1]])
        return propensities_C.astype(np.float32), cut

    def _choose_probes(
        self, policy: _Policy, arms_B: NDArray[np.intp], keys_B: NDArray[np.uint64]
    ) -> NDArray[np.bool_]:
        """The tick's share of probes, given one by one to the cluster whose side of the cut is least certain."""
        seen = self._shared.documents
        ratio = self._config.probe_ratio
        num_probes = math.floor((seen + len(arms_B)) * ratio) - math.floor(seen * ratio)
        left_C = np.bincount(arms_B, minlength=len(self._arms_C))
        counts_C = policy.counts_C + 1.0
        gaps_C = np.abs(policy.means_C - policy.cut)
        scale = math.sqrt(policy.log_pulls)
        uncertainty_C = np.where(left_C > 0, scale / np.sqrt(counts_C) - gaps_C, -np.inf)
        quotas_C = np.zeros(len(left_C), np.int64)
        for _ in range(num_probes):
            arm = int(uncertainty_C.argmax())
            quotas_C[arm] += 1
            if quotas_C[arm] == left_C[arm]:
                uncertainty_C[arm] = -np.inf
            else:
                uncertainty_C[arm] = scale / math.sqrt(counts_C[arm] + quotas_C[arm]) - gaps_C[arm]
        # Within a cluster chance decides: the lowest hashes.
        order_B = np.lexsort((draw(keys_B, seed=self._seed, purpose="probe"), arms_B))
        first_C = np.cumsum(left_C) - left_C
        ranks_B = np.arange(len(arms_B)) - first_C[arms_B[order_B]]
        probed_B = np.zeros(len(arms_B), np.bool_)
        probed_B[order_B] = ranks_B < quotas_C[arms_B[order_B]]
        return probed_B

    def _count_arrivals(
        self, arms_B: NDArray[np.intp], num_tokens_B: NDArray[np.int64], admitted_B: NDArray[np.bool_]
    ) -> None:
        """Arrivals wait for the end of the tick before they move the cut."""
        num_arms = len(self._arms_C)
        self._arms_C["arriving"] += np.bincount(arms_B, num_tokens_B, num_arms)
        self._arms_C["documents"] += np.bincount(arms_B, minlength=num_arms)
        self._arms_C["admitted"] += np.bincount(arms_B[admitted_B], minlength=num_arms)
        self._shared.arriving += float(num_tokens_B.sum())
        self._shared.admitting += float(num_tokens_B[admitted_B].sum())
        self._shared.documents += len(arms_B)
        self._shared.tick_documents += len(arms_B)
