"""Clusters: what a document is about, as one of at most a hundred groups with stable ids.

DataSculpt (Lu et al., 2024) clusters a stored corpus by a variant of ISODATA. Here documents come once, so ISODATA runs
online: the centres are seeded once, by k-means and rounds of splits and merges; then, tick by tick, each document goes
to the centre with the highest cosine, and only clustering features are kept (curation/topics/isodata.py). A document
that fits nowhere still goes to its nearest centre, but waits, without pulling it, until enough like it have come to
found a cluster (curation/topics/novelty.py). Centres are frozen during a tick, except that a cluster founded in it is
visible to the documents after it. At its end the features learn, clusters split and merge, and there are at most
`max_clusters` again.

Cost: 10 to 15 us a document at 100 clusters of 384 dimensions, the more the more is new.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from curation.topics.cluster_features import Features, best_pairs, highest_pair, split_gap
from curation.topics.isodata import found, isodata
from curation.topics.lineage import Lineage, LineageEvent
from curation.topics.novelty import Novelty, Worth, found_in_tick
from curation.vectors.teacher import unit_vectors
from kernels.features import add_members, keep_most_central
from kernels.products import chosen_products, dots, products
from ops.readings import Gauges
from state.fact_table import FactCell, FactOwner, FactTable, Table
from state.facts import NUMBER, RAW, Facts, FactSource, Family, packed, single

TICK_DOCUMENTS = 512
# Weight that a half keeps for each member after it: halves show the last ~500 members, so that a topic that grew
# inside an old cluster is seen.
HALF_MEMORY = 0.998
# Nearest centres that the index names; two that are equal but for rounding are told apart by exact order.
CANDIDATES = 2
# k-means of fewer seed documents than this a cluster finds clusters of one.
SEED_DOCUMENTS = 8
# Below this faded weight a cluster is merged into its nearest.
MIN_WEIGHT = 1.0


CLUSTERS = Facts(Family("clusters", "a cluster, and what it has learned"), NUMBER, RAW)  # a row of `Features` each


class ClustersConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section [clusters]."""

    min_clusters: Annotated[int, msgspec.Meta(ge=1)] = 16
    """Clusters are not merged below this number; fewer documents make fewer clusters."""
    initial_clusters: Annotated[int, msgspec.Meta(ge=1)] = 50
    """Clusters that k-means looks for in the seed documents."""
    max_clusters: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 100
    """At most this many at the end of a tick. Some metrics have a series a cluster: above 128 they are many."""
    found_documents: Annotated[int, msgspec.Meta(ge=2, le=64)] = 5
    """Documents that fit no cluster but agree with each other found one when they are this many."""
    split_gap: Annotated[float, msgspec.Meta(gt=0.0, le=2.0)] = 0.06
    """A cluster splits when the cosine across its halves is this much below that within them."""
    merge_gap: Annotated[float, msgspec.Meta(ge=0.0, le=2.0)] = 0.02
    """Two clusters merge when the cosine across them is at most this much below that within them."""
    half_life_documents: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Documents after which what a cluster has learned counts half; 0: never, up to 16 million documents a cluster."""

    def __post_init__(self) -> None:
        if not self.min_clusters <= self.initial_clusters <= self.max_clusters:
            raise ValueError(
                f"min_clusters ({self.min_clusters}) <= initial_clusters ({self.initial_clusters}) <= max_clusters "
                f"({self.max_clusters}) must hold: lower the one that is too high"
            )
        if not self.merge_gap < self.split_gap:
            raise ValueError(
                f"merge_gap ({self.merge_gap}) must be below split_gap ({self.split_gap}), or clusters that split "
                "would merge again in the same tick"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSummary:
    """One cluster, for people."""

    cluster: int
    documents: int  # assigned to it, or to what was merged into it
    cohesion: float  # mean cosine of two members
    central_doc_no: int  # the document most similar to the centre when it came; -1 if none came yet


class _State(msgspec.Struct, frozen=True, array_like=True):
    tick: int
    next_id: int


_STATE = single("clusters", packed(_State))


class Clusters(FactOwner):
    """The clusters of one lane. Vectors without direction are taken as the first axis; nothing raises on odd input."""

    def __init__(self, config: ClustersConfig, *, seed: int = 0) -> None:
        self._config = config
        self._seed = seed
        self._features = Features(0)
        self._novelty = Novelty()
        self._tick = 0
        self._next_id = 0
        self._lineage = Lineage()
        self._has_learned = False  # since the last commit
        self._cell = FactCell(_STATE, _State(0, 0))
        self._rows = FactTable(CLUSTERS)

    def __len__(self) -> int:
        return len(self._features)

    @property
    def is_seeded(self) -> bool:
        """Whether there are clusters."""
        return len(self) > 0

    @property
    def dimension(self) -> int:
        """Of the centres; 0 while there are none."""
        return self._features.dimension

    def seed(self, vectors_SD: NDArray[np.float32]) -> None:
        """Found the first clusters on documents that the embedding was not trained on, (S, D).

        They count as weight of the features, not as documents: those come through `assign`. No documents: no effect.
        """
        if not len(vectors_SD):
            return
        vectors_SD = _directed(vectors_SD)
        config = self._config
        labels_S = isodata(
            vectors_SD,
            max(1, min(config.initial_clusters, len(vectors_SD) // SEED_DOCUMENTS)),
            min_clusters=config.min_clusters,
            max_clusters=config.max_clusters,
            gaps=(config.split_gap, config.merge_gap),
            seed=self._seed,
        )
        self._features = Features(vectors_SD.shape[1])
        rng = np.random.default_rng([self._seed, 1])
        for label in range(int(labels_S.max()) + 1):
            self._found(vectors_SD[labels_S == label], rng)
        # Without itself: each document pulled its centre towards it.
        rest_SD = self._features.column("sum")[labels_S] - vectors_SD
        has_rest_S = self._features.column("weight")[labels_S] > 1.5
        similarities_S = dots(unit_vectors(rest_SD), vectors_SD)
        self._novelty.observe(similarities_S[has_rest_S])
        self._features.settle()

    def renew(self, before_SD: NDArray[np.float32], after_SD: NDArray[np.float32]) -> None:
        """The embedding has a new version: find the clusters anew, on S documents that it was not trained on.

        `before_SD` are their vectors by the version before. Of a new and an old cluster that share documents, those
        that share most first, the new one takes the id. What is left of the new ones is founded, what is left of the
        old ones is merged into the cluster that has most of their documents.
        """
        old, before_SD, after_SD = self._features, _directed(before_SD), _directed(after_SD)
        self._novelty.forget()
        self.seed(after_SD)
        new = self._features
        old_ids, ids = old.column("cluster").tolist(), new.column("cluster").tolist()
        shared_KO = np.zeros((len(new), len(old)), np.int64)
        np.add.at(shared_KO, (_nearest_slots(after_SD, new), _nearest_slots(before_SD, old)), 1)
        pairs = best_pairs(shared_KO)
        for slot in [slot for slot in range(len(new)) if slot not in pairs]:
            nearest = old_ids[int(shared_KO[slot].argmax())]
            self._lineage.founded(tick=self._tick, nearest=nearest, new=ids[slot])
        for slot, old_slot in pairs.items():
            ids[slot] = old_ids[old_slot]
            for name in ("documents", "central_doc_no"):
                new.column(name)[slot] = old.column(name)[old_slot]
        lost = sorted(set(range(len(old))).difference(pairs.values()))
        # Where none of the documents shows it, the place does: both versions are like their teacher.
        nearest_L = _nearest_slots(old.centres()[lost], new).tolist()
        for old_slot, nearest in zip(lost, nearest_L, strict=True):
            slot = int(shared_KO[:, old_slot].argmax()) if shared_KO[:, old_slot].any() else nearest
            new.column("documents")[slot] += old.column("documents")[old_slot]
            self._lineage.merged(tick=self._tick, winner=ids[slot], loser=old_ids[old_slot])
        new.rename(ids)

    def assign(
        self, embeddings_BD: NDArray[np.float32], doc_nos_B: NDArray[np.int64] | None = None
    ) -> NDArray[np.int32]:
        """The cluster of each document of one tick, (B,); B <= 512 unit vectors. Then the clusters learn from them.

        The ids are those after the tick. The first call seeds the clusters if nothing did.
        """
        if len(embeddings_BD) > TICK_DOCUMENTS:
            raise ValueError(f"{len(embeddings_BD)} documents are more than a tick of {TICK_DOCUMENTS}")
        if not len(embeddings_BD):
            return np.zeros(0, np.int32)
        embeddings_BD = _directed(embeddings_BD)
        if doc_nos_B is None:
            doc_nos_B = np.full(len(embeddings_BD), -1, np.int64)
        if not self.is_seeded:
            self.seed(embeddings_BD)
        slots_B, similarities_B = self._nearest(embeddings_BD)
        config, features = self._config, self._features
        worth = Worth(features, max_clusters=config.max_clusters, merge_gap=config.merge_gap)
        nearest = slots_B, similarities_B
        waits_B = found_in_tick(
            embeddings_BD, nearest, self._novelty, worth, config.found_documents, self._found_in_tick
        )
        self._learn(embeddings_BD, slots_B, waits_B)
        self._count(slots_B, similarities_B, doc_nos_B)
        clusters = features.column("cluster")
        survivors = {cluster: cluster for cluster in clusters.tolist()}
        clusters_B = clusters[slots_B]
        self._maintain(survivors)
        self._features.settle()
        self._tick += 1
        return np.array([survivors[cluster] for cluster in clusters_B.tolist()], np.int32)

    def take_events(self) -> list[LineageEvent]:
        """Events of the clusters since the last call, in order."""
        return self._lineage.take()

    def survivor(self, cluster: int) -> int | None:
        """The present id of a cluster of any time: its own, or that of its merge; None if it never was."""
        clusters = self._features.column("cluster")
        cluster = self._lineage.successor(cluster)
        place = int(np.searchsorted(clusters, cluster))
        return cluster if place < len(clusters) and clusters[place] == cluster else None

    def measured(self) -> Gauges:
        """The number of clusters, and their documents by cluster, the largest first."""
        clusters, documents = self._features.column("cluster"), self._features.column("documents")
        order = np.argsort(-documents, kind="stable").tolist()
        return {
            "clusters": len(clusters),
            "cluster_documents": {str(clusters[slot]): int(documents[slot]) for slot in order},
        }

    def centres(self) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
        """Ids (K,) ascending, unit centres (K, D), documents assigned (K,)."""
        features = self._features
        return features.column("cluster").astype(np.int32), features.centres(), features.column("documents").copy()

    def neighbours(self, k: int) -> list[tuple[int, int, float]]:
        """Pairs (a, b, cosine distance of the centres), a < b, where one is among the k nearest of the other."""
        centres_KD = self._features.centres()
        distances_KK = np.maximum(1.0 - products(centres_KD, centres_KD).astype(np.float64), 0.0)
        np.fill_diagonal(distances_KK, np.inf)
        ids = self._features.column("cluster").tolist()
        order_KK = np.argsort(distances_KK, axis=1, kind="stable")[:, : min(k, len(ids) - 1)]
        pairs = {(min(a, b), max(a, b)) for a, nearest in enumerate(order_KK.tolist()) for b in nearest}
        return [(ids[a], ids[b], float(distances_KK[a, b])) for a, b in sorted(pairs)]

    def largest(self, n: int) -> list[ClusterSummary]:
        """The n clusters with most documents, and their most central document."""
        cohesions_K = self._features.cohesions()
        clusters, documents_K, central_K = map(self._features.column, ("cluster", "documents", "central_doc_no"))
        return [
            ClusterSummary(
                cluster=int(clusters[slot]),
                documents=int(documents_K[slot]),
                cohesion=float(cohesions_K[slot]),
                central_doc_no=int(central_K[slot]),
            )
            for slot in np.argsort(-documents_K, kind="stable")[:n].tolist()
        ]

    def tables(self) -> tuple[Table, ...]:
        """The clusters, their counters, and the novel documents."""
        return self._cell, self._rows, *self._novelty.tables()

    def before_commit(self) -> None:
        """A row a cluster."""
        if self._has_learned:
            self._cell.value = _State(self._tick, self._next_id)
            self._rows.replace(self._features.rows())
            self._novelty.before_commit()
            self._has_learned = False

    def restored(self, committed: FactSource) -> None:
        """The features again, and what became of clusters that were merged."""
        self._tick, self._next_id = self._cell.value.tick, self._cell.value.next_id
        self._features = Features.from_rows(self._rows)
        self._novelty.restored(committed)
        self._lineage.restore(committed)

    def _nearest(self, embeddings_BD: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Slot of the nearest centre, the first among equals, and the cosine to it.

        FAISS names a few candidates; the cosines that decide are summed in one order on every processor.
        """
        import faiss

        faiss.omp_set_num_threads(1)
        # Its own loops take two thirds of the time that its detour over a matrix product does.
        faiss.cvar.distance_compute_blas_threshold = 1 << 30
        centres_KD = self._features.centres()
        index = faiss.IndexFlatIP(centres_KD.shape[1])
        index.add(centres_KD)
        _, slots_BC = index.search(embeddings_BD, min(CANDIDATES, len(centres_KD)))
        slots_BC.sort(axis=1)
        cosines_BC = chosen_products(embeddings_BD, centres_KD, slots_BC)
        rows_B, best_B = np.arange(len(slots_BC)), cosines_BC.argmax(axis=1)
        return slots_BC[rows_B, best_B], cosines_BC[rows_B, best_B]

    def _found_in_tick(self, members_MD: NDArray[np.float64], nearest: int) -> tuple[int, NDArray[np.float32]]:
        """A cluster beside a slot: its slot and its centre. The last member is added with all others of the tick."""
        parent = int(self._features.column("cluster")[nearest])
        slot = self._found(members_MD[:-1], np.random.default_rng([self._seed, self._next_id]))
        self._lineage.founded(tick=self._tick, nearest=parent, new=self._next_id - 1)
        return slot, unit_vectors(members_MD.sum(axis=0)[None])[0]

    def _learn(
        self, embeddings_BD: NDArray[np.float32], slots_B: NDArray[np.int64], waits_B: NDArray[np.bool_]
    ) -> None:
        """Every document adds to its cluster's feature, but for those that wait."""
        features = self._features
        weights_K, sums_KD = features.column("weight"), features.column("sum")
        if self._config.half_life_documents:
            fade = 0.5 ** (len(embeddings_BD) / self._config.half_life_documents)
            weights_K *= fade
            sums_KD *= fade
        slots_B = np.where(waits_B, -1, slots_B)
        halves = features.column("half_weights"), features.column("half_sums")
        add_members(embeddings_BD, slots_B, weights_K, sums_KD, halves[0], halves[1], HALF_MEMORY)
        features.learned()

    def _count(
        self, slots_B: NDArray[np.int64], similarities_B: NDArray[np.float32], doc_nos_B: NDArray[np.int64]
    ) -> None:
        features = self._features
        documents_K, central_K = features.column("documents"), features.column("central_doc_no")
        keep_most_central(
            slots_B, similarities_B, doc_nos_B, documents_K, central_K, features.column("central_similarity")
        )
        self._novelty.observe(similarities_B)
        self._has_learned = True

    def _maintain(self, survivors: dict[int, int]) -> None:
        """Split what is two, merge what is one, merge the cheapest pairs above `max_clusters`."""
        config, features = self._config, self._features
        gaps_K = split_gap(features.column("half_weights"), features.column("half_sums"))
        for slot in np.argsort(-gaps_K, kind="stable").tolist():
            # Too few clusters: a gap that would not be merged again will do.
            gap = config.merge_gap if len(features) < config.min_clusters else config.split_gap
            if gaps_K[slot] < gap or gaps_K[slot] <= 0.0 or len(features) >= config.max_clusters:
                break
            self._split(slot)
        while len(features) > config.min_clusters:
            excess_KK = features.merge_excess()
            first, second = highest_pair(excess_KK)
            if excess_KK[first, second] < -config.merge_gap:
                break
            self._merge(first, second, survivors)
        while len(features) > 1 and (
            len(features) > config.max_clusters or features.column("weight").min() < MIN_WEIGHT
        ):
            costs_KK = features.merge_costs()
            if len(features) <= config.max_clusters:
                faded = int(features.column("weight").argmin())
                is_other_KK = np.ones_like(costs_KK, np.bool_)
                is_other_KK[faded], is_other_KK[:, faded] = False, False
                costs_KK[is_other_KK] = np.inf
            self._merge(*highest_pair(-costs_KK), survivors)

    def _found(self, members_MD: NDArray[np.floating], rng: np.random.Generator) -> int:
        """A new cluster; its slot."""
        found(self._features, self._next_id, members_MD, rng)
        self._next_id += 1
        self._has_learned = True
        return len(self) - 1

    def _split(self, slot: int) -> None:
        parent = int(self._features.column("cluster")[slot])
        self._features.split(slot, self._next_id)
        self._lineage.split(tick=self._tick, parent=parent, new=self._next_id)
        self._next_id += 1

    def _merge(self, first: int, second: int, survivors: dict[int, int]) -> None:
        """The heavier of two slots takes the other in."""
        weights = self._features.column("weight")
        winner, loser = (first, second) if weights[first] >= weights[second] else (second, first)
        winner_id, loser_id = self._features.column("cluster")[[winner, loser]].tolist()
        self._features.merge(winner, loser)
        for cluster, survivor in survivors.items():
            if survivor == loser_id:
                survivors[cluster] = winner_id
        self._lineage.merged(tick=self._tick, winner=winner_id, loser=loser_id)


def _nearest_slots(vectors_BD: NDArray[np.float32], features: Features) -> NDArray[np.int64]:
    slots_B: NDArray[np.int64] = products(vectors_BD, features.centres()).argmax(axis=1)
    return slots_B


def _directed(vectors_BD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit vectors as they are; anything else made one."""
    squares_B = np.einsum("bd,bd->b", vectors_BD, vectors_BD)
    if vectors_BD.dtype == np.float32 and bool(np.all(np.abs(squares_B - 1.0) < 1e-3)):
        return np.ascontiguousarray(vectors_BD)
    return unit_vectors(vectors_BD)
