"""Mixture: what goes out, so that large clusters do not crowd out small ones (ClusterClip, online).

ClusterClip (Shao et al., Findings of ACL 2024) draws clusters uniformly and retires a cluster after `max_uses` passes.
With the whole corpus at hand that is water-filling: every cluster gives min(x, max_uses x its tokens). On a stream
neither sizes nor the end are known, so bounded buffers and a deficit scheduler (`kernels/deficit.py`) come to the same
shares, accounted in tokens. `rho` is output tokens over input tokens: below 1 the mixture selects, above 1 it repeats.

With the defaults (`rho` = 1, one use) every document goes straight on: nothing is buffered and nothing is counted.

Sources with weights form groups. Service is shared among groups by their weights, then within a group among its
clusters: a source gets its share with any clusters, and its clusters are balanced against each other only.
A group that has nothing to give lends its turn to the others and catches up while the half-life remembers.

Decisions depend on the sequence of documents alone, never on how calls cut it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from curation.selection.buffered import BUFFERED, MIXTURE
from curation.selection.mixture_config import CLUSTER_PREFIX, REST, MixtureConfig
from kernels import deficit
from state.chance import draw
from state.fact_table import FactCell, FactOwner, FactTable, Table
from state.facts import RAW, SIGNED, TEXT, Codec, Facts, FactSource, packed, single

SCHEDULES = {"s2g": -1, "static": 0, "g2s": 1}

_CLOCK = single("mixture", RAW)
_GROUPS = Facts(MIXTURE, TEXT, RAW, prefix=b"g")  # by source pattern: service and level
_FLOW_KEY: Codec[tuple[int, str]] = Codec(
    lambda key: SIGNED.encode(key[0]) + TEXT.encode(key[1]), lambda row: (SIGNED.decode(row[:8]), TEXT.decode(row[8:]))
)
_FLOWS = Facts(MIXTURE, _FLOW_KEY, RAW, prefix=b"f")  # by cluster and source pattern: service and arrivals

_WEIGHTS = Facts(MIXTURE, TEXT, packed(float), prefix=b"w")  # of a message, by source pattern or cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Balanced:
    """Outcomes of documents, those of this call and held ones."""

    emitted: list[tuple[int, int]]  # (doc_no, how often it had been emitted before), in the order to go out
    evicted: list[int]  # doc_nos that were held and will never go out: rejected as `not_sampled`
    finished: list[int]  # doc_nos that went out, now or before, and will not again: their tokens may be let go


class Mixture(FactOwner):
    """Buffers by cluster and source, and who is served next. Unknown clusters are newborn: nothing raises."""

    def __init__(self, config: MixtureConfig, *, seed: int = 0) -> None:
        self._config = config
        self._seed = seed
        patterns = {name: weight for name, weight in config.weights.items() if not name.startswith(CLUSTER_PREFIX)}
        rest = patterns.pop(REST, 1.0)
        self._patterns = [*patterns, REST]
        self._group_of = lru_cache(maxsize=4096)(self._match)
        self._groups_G = np.zeros(len(self._patterns), deficit.GROUP)
        self._groups_G["weight"] = [*patterns.values(), rest]
        self._flows: dict[tuple[int, int], int] = {}  # (group, cluster) to place
        self._flows_F: NDArray[np.void] = np.zeros(0, deficit.FLOW)  # beyond len(self._flows) they are spare
        self._held_FW: NDArray[np.void] = np.zeros((0, config.buffer_documents + 1), deficit.HELD)
        self._clock_1 = np.zeros(1, deficit.CLOCK)
        self._least_weight = 1.0  # of a cluster that is new
        self._touched: set[int] = set()  # documents that may have moved in the buffers since the last commit
        self._clock = FactCell(_CLOCK, self._clock_1.tobytes())
        self._groups = FactTable(_GROUPS)
        self._served = FactTable(_FLOWS)
        self._buffered = FactTable(BUFFERED)
        self._named = FactTable(_WEIGHTS)
        self._had_named = False  # in the tick before

    def tables(self) -> tuple[Table, ...]:
        """Clock, service, and the buffers."""
        return self._clock, self._groups, self._served, self._named, self._buffered

    def balance(
        self,
        doc_nos_B: NDArray[np.int64],
        keys_B: NDArray[np.uint64],
        clusters_B: NDArray[np.int32],
        num_tokens_B: NDArray[np.int64],
        sources: Sequence[str],
    ) -> Balanced:
        """Take documents in, in order, and say what goes out for them. `keys_B` hash the document ids."""
        if self._config.gives_each_once():
            return self._pass_through(doc_nos_B)
        config = self._config
        groups = [0] * len(doc_nos_B) if len(self._patterns) == 1 else [self._group_of(source) for source in sources]
        flow_B = np.array([self._place(flow) for flow in zip(groups, clusters_B.tolist(), strict=True)], np.int64)
        most = len(doc_nos_B) + int(self._flows_F["count"].sum())
        emitted_X2 = np.empty((most * config.max_uses, 2), np.int64)
        evicted_X, finished_X = np.empty(most, np.int64), np.empty(most, np.int64)
        num_emitted, num_evicted, num_finished = deficit.balance(
            flow_B,
            doc_nos_B,
            draw(keys_B, seed=self._seed, purpose="reservoir"),
            num_tokens_B,
            self._flows_F[: len(self._flows)],
            self._groups_G,
            self._held_FW,
            self._clock_1,
            config.rho,
            config.max_uses,
            config.buffer_documents,
            config.gap,
            float(config.half_life_tokens),
            *self._schedule(),
            emitted_X2,
            evicted_X,
            finished_X,
        )
        emitted_doc_nos = emitted_X2[:num_emitted, 0].tolist()
        balanced = Balanced(
            emitted=list(zip(emitted_doc_nos, emitted_X2[:num_emitted, 1].tolist(), strict=True)),
            evicted=evicted_X[:num_evicted].tolist(),
            finished=finished_X[:num_finished].tolist(),
        )
        self._touched.update(doc_nos_B.tolist(), emitted_doc_nos, balanced.evicted, balanced.finished)
        return balanced

    def _schedule(self) -> tuple[int, float, float]:
        """The schedule, its tokens, and the power of sizes without one, as the kernel takes them."""
        config = self._config
        # With such a rule losses say the shares of clusters, and no size does.
        size_power = 0.0 if config.rule != "none" and config.over == "clusters" else config.size_power
        return SCHEDULES[config.schedule], float(config.schedule_tokens), size_power

    def domain_of(self, source: str, cluster: int) -> str:
        """The part with losses of its own that a document belongs to, by name."""
        return (
            f"{CLUSTER_PREFIX}{cluster}" if self._config.over == "clusters" else self._patterns[self._group_of(source)]
        )

    def natural_shares(self) -> dict[str, float]:
        """The shares of the arrived tokens by these parts, times their weights; they add up to 1."""
        arrived: dict[str, float] = {}
        weights = self._weights_now()
        for (group, cluster), place in self._flows.items():
            name = f"{CLUSTER_PREFIX}{cluster}" if self._config.over == "clusters" else self._patterns[group]
            amount = float(self._flows_F["arrived"][place]) * weights.get(name, 1.0)
            if amount > 0:
                arrived[name] = arrived.get(name, 0.0) + amount
        total = sum(arrived.values())
        return {name: amount / total for name, amount in sorted(arrived.items())}

    def replace_weights(self, weights: Mapping[str, float]) -> bool:
        """These weights hold from the next tick on, or those of the configuration; False where nothing is balanced.

        Sources that are no pattern of the configuration belong to one, whose weight counts.
        """
        if self._config.gives_each_once():
            return False
        self._named.replace(dict(weights))
        return True

    def _weights_now(self) -> dict[str, float]:
        """The weight of each source pattern and cluster that has one."""
        weights, emitted = {REST: 1.0, **self._config.weights}, float(self._clock_1["emitted_tokens"][0])
        for since, changed in sorted(self._config.later.items(), key=lambda item: int(item[0])):
            weights |= changed if emitted >= int(since) else {}
        return weights | dict(self._named.items())

    def begin_tick(self) -> None:
        """Bring the weights up to date with what was emitted, and with messages."""
        if self._config.later or self._named or self._had_named:
            self._had_named = bool(self._named)
            weights = self._weights_now()
            self._groups_G["weight"] = [weights.get(pattern, 1.0) for pattern in self._patterns]
            for (_, cluster), place in self._flows.items():
                self._flows_F["weight"][place] = weights.get(f"{CLUSTER_PREFIX}{cluster}", 1.0)

    def weigh(self, shares: Mapping[str, float]) -> None:
        """From now on these parts get these shares; one that is not named gets the least of them."""
        least = min(shares.values(), default=1.0)
        if self._config.over == "sources":
            self._groups_G["weight"] = [shares.get(pattern, least) for pattern in self._patterns]
            return
        self._least_weight = least
        for (_, cluster), place in self._flows.items():
            self._flows_F["weight"][place] = shares.get(f"{CLUSTER_PREFIX}{cluster}", least)

    def share_of(self, source: str, cluster: int) -> tuple[float, float] | None:
        """The shares of the output and of the input that a cluster of a source has; None where it has not arrived.

        That of the output holds while every cluster has something to give.
        """
        flows_F, group = self._flows_F[: len(self._flows)], self._group_of(source)
        place = self._flows.get((group, cluster))
        if place is None or not flows_F["arrived"][place] > 0:
            return None
        exponent = deficit.size_exponent(*self._schedule(), float(self._clock_1["emitted_tokens"][0]))
        has_come_F = flows_F["arrived"] > 0
        wanted_F = np.where(has_come_F, flows_F["weight"] * flows_F["arrived"] ** exponent, 0.0)
        groups_G = np.where(self._groups_G["born"] > 0, self._groups_G["weight"], 0.0)
        of_group = wanted_F[flows_F["group"] == group].sum()
        wanted = float(groups_G[group] / groups_G.sum() * wanted_F[place] / of_group)
        return wanted, float(flows_F["arrived"][place] / flows_F["arrived"].sum())

    def remove(self, doc_no: int) -> int | None:
        """Forget a document that was retracted; how often it went out, or None if it was not held."""
        for place, slot in np.argwhere(self._live() & (self._held_FW["doc_no"] == doc_no)).tolist():
            uses = int(self._held_FW["uses"][place, slot])
            self._take(place, slot)
            self._touched.add(doc_no)
            return uses
        return None

    def held(self) -> list[tuple[int, int]]:
        """The documents in the buffers, in the order of arrival: (doc_no, how often it went out)."""
        rows = self._held_FW[self._live()]
        rows = rows[np.argsort(rows["order"])]
        return list(zip(rows["doc_no"].tolist(), rows["uses"].tolist(), strict=True))

    def merged(self, winner: int, losers: list[int]) -> None:
        """The winner takes over the documents of the losers, at the highest service among them.

        Their services are not added: a cluster has one share, with any history. A buffer that is now too full
        gives up documents when the next one joins it.
        """
        for group in range(len(self._patterns)):
            for loser in losers:
                if loser != winner and (group, loser) in self._flows:
                    self._move((group, loser), (group, winner))

    def split(self, parent: int, children: list[int]) -> None:
        """The children start at the service of their parent. Held documents stay with a parent that is among them, else
        they go to the first child.
        """
        for group in range(len(self._patterns)):
            if (group, parent) not in self._flows or not children:
                continue
            old = self._place((group, parent))
            share = self._flows_F["arrived"][old] / len(children)
            self._flows_F["arrived"][old] = share
            for child in children:
                place = self._place((group, child))
                self._flows_F["served"][place] = max(self._flows_F["served"][place], self._flows_F["served"][old])
                self._flows_F["arrived"][place] = share
                self._flows_F["born"][place] = 1
            if parent not in children:
                self._flows_F["arrived"][old] = 0.0
                self._move((group, parent), (group, children[0]))

    def before_commit(self) -> None:
        """The arrays as rows."""
        self._clock.value = self._clock_1.tobytes()
        self._groups.replace(
            {
                pattern: row["served"].tobytes() + row["level"].tobytes()
                for pattern, row in zip(self._patterns, self._groups_G, strict=True)
                if row["born"]
            }
        )
        self._served.replace(
            {
                (cluster, self._patterns[group]): flow["served"].tobytes() + flow["arrived"].tobytes()
                for (group, cluster), flow in zip(self._flows, self._flows_F[: len(self._flows)], strict=True)
                if flow["born"]
            }
        )
        self._update_buffered()

    def restored(self, committed: FactSource) -> None:
        """The arrays again. What belongs to a source pattern that is no longer configured joins the rest."""
        self._clock_1[:] = np.frombuffer(self._clock.value, deficit.CLOCK)
        for pattern, value in self._groups.items():
            if pattern in self._patterns:
                group = self._groups_G[self._patterns.index(pattern) :][:1]
                group["served"], group["level"] = np.frombuffer(value, np.float64)
                group["born"] = 1
        for (cluster, pattern), value in self._served.items():
            if pattern in self._patterns:
                place = self._place((self._patterns.index(pattern), cluster))
                flow = self._flows_F[place:][:1]
                flow["served"], flow["arrived"] = np.frombuffer(value, np.float64)
                flow["born"] = 1
        size = deficit.HELD.itemsize
        for value in self._buffered.values():
            cluster, pattern = _FLOW_KEY.decode(value[size:])
            group_no = self._patterns.index(pattern if pattern in self._patterns else REST)
            self._put(self._place((group_no, cluster)), np.frombuffer(value[:size], deficit.HELD))

    def _pass_through(self, doc_nos_B: NDArray[np.int64]) -> Balanced:
        emitted = list(zip(doc_nos_B.tolist(), repeat(0)))
        if not self._flows:
            return Balanced(emitted=emitted, evicted=[], finished=doc_nos_B.tolist())
        # An earlier configuration held documents: those that never went out go first.
        held = self.held()
        for doc_no, _ in held:
            self.remove(doc_no)
        finished = [doc_no for doc_no, _ in held] + doc_nos_B.tolist()
        return Balanced(emitted=[use for use in held if use[1] == 0] + emitted, evicted=[], finished=finished)

    def _match(self, source: str) -> int:
        """The group of a source: the first pattern that matches."""
        return next(group for group, pattern in enumerate(self._patterns) if fnmatchcase(source, pattern))

    def _place(self, flow: tuple[int, int]) -> int:
        """The row of a flow (group, cluster); a new one gets a row."""
        place = self._flows.get(flow)
        if place is None:
            place = self._flows[flow] = len(self._flows)
            if place == len(self._flows_F):
                self._reserve(flows=max(64, 2 * place), slots=self._held_FW.shape[1])
            self._flows_F[place] = np.zeros((), deficit.FLOW)
            group, cluster = flow
            self._flows_F["group"][place] = group
            self._flows_F["cluster"][place] = cluster
            self._flows_F["weight"][place] = self._config.weights.get(f"{CLUSTER_PREFIX}{cluster}", self._least_weight)
        return place

    def _reserve(self, *, flows: int, slots: int) -> None:
        flows_F = np.zeros(flows, deficit.FLOW)
        held_FW = np.zeros((flows, slots), deficit.HELD)
        num_flows, num_slots = self._held_FW.shape
        flows_F[:num_flows] = self._flows_F
        held_FW[:num_flows, :num_slots] = self._held_FW
        self._flows_F, self._held_FW = flows_F, held_FW

    def _live(self) -> NDArray[np.bool_]:
        """Which slots of the buffers are taken."""
        live_FW: NDArray[np.bool_] = np.arange(self._held_FW.shape[1]) < self._flows_F["count"][:, None]
        return live_FW

    def _put(self, place: int, rows: NDArray[np.void]) -> None:
        """Add documents to a buffer, which keeps one free slot."""
        count = int(self._flows_F["count"][place])
        filled = count + len(rows)
        if filled >= self._held_FW.shape[1]:
            self._reserve(flows=len(self._flows_F), slots=2 * filled)
        self._held_FW[place, count:filled] = rows
        self._set_count(place, filled)

    def _take(self, place: int, slot: int) -> None:
        """Remove a document from a buffer; the last one moves into its slot."""
        last = int(self._flows_F["count"][place]) - 1
        self._held_FW[place, slot] = self._held_FW[place, last]
        self._set_count(place, last)

    def _set_count(self, place: int, count: int) -> None:
        self._flows_F["count"][place] = count
        self._flows_F["ready_at"][place] = deficit.ready_at(
            self._held_FW[place], count, self._config.max_uses, self._config.gap
        )

    def _move(self, old: tuple[int, int], new: tuple[int, int]) -> None:
        """One flow becomes part of another."""
        source, target = self._place(old), self._place(new)
        rows = self._held_FW[source, : self._flows_F["count"][source]].copy()
        self._put(target, rows)
        self._touched.update(rows["doc_no"].tolist())
        self._flows_F["served"][target] = max(self._flows_F["served"][[source, target]])
        self._flows_F["arrived"][target] += self._flows_F["arrived"][source]
        self._flows_F["born"][target] = 1
        self._flows_F = np.delete(self._flows_F, source)
        self._held_FW = np.delete(self._held_FW, source, axis=0)
        del self._flows[old]
        self._flows = {flow: place - (place > source) for flow, place in self._flows.items()}

    def _update_buffered(self) -> None:
        """The rows of the documents that were touched: of those that are held now, and no longer of the others."""
        if not self._touched:
            return
        places, slots = np.nonzero(self._live())
        rows = self._held_FW[places, slots]
        wanted = np.isin(rows["doc_no"], np.fromiter(self._touched, np.int64, len(self._touched)))
        held_at = dict(zip(rows["doc_no"][wanted].tolist(), np.flatnonzero(wanted).tolist(), strict=True))
        flows = list(self._flows)
        for doc_no in self._touched:
            row = held_at.get(doc_no)
            if row is not None:
                group, cluster = flows[places[row]]
                self._buffered[doc_no] = rows[row].tobytes() + _FLOW_KEY.encode((cluster, self._patterns[group]))
            else:
                self._buffered.pop(doc_no, None)
        self._touched.clear()
