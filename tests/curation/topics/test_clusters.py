"""Online clusters: as good as batch k-means, in any order of topics, with ids that can be followed."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

from curation.topics.cluster_features import MAX_WEIGHT, Features, cohesion, split_gap
from curation.topics.clusters import HALF_MEMORY, Clusters, ClustersConfig
from curation.topics.isodata import isodata, spherical_kmeans
from curation.topics.lineage import LineageEvent, write_events
from curation.topics.novelty import MAX_OUTLIERS, MAX_RECENT, Novelty
from kernels.features import add_members
from kernels.novelty import join
from state.epoch import Epoch
from tests.kept import Kept, changes_of

SMALL = ClustersConfig(min_clusters=4, initial_clusters=12, max_clusters=40)


def unit(rows_BD: np.ndarray) -> np.ndarray:
    return (rows_BD / np.linalg.norm(rows_BD, axis=1, keepdims=True)).astype(np.float32)


def zipf_stream(num_documents: int, num_topics: int, seed: int, noise: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of 64 dimensions around topics whose sizes fall like 1/rank, and their topics."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, num_topics + 1)
    topics = rng.choice(num_topics, num_documents, p=shares / shares.sum())
    centres = unit(rng.normal(size=(num_topics, 64)))
    return unit(centres[topics] + rng.normal(size=(num_documents, 64)) * noise / 8), topics


def ticks(vectors: np.ndarray) -> list[np.ndarray]:
    return [vectors[i : i + 512] for i in range(0, len(vectors), 512)]


def assign_all(clusters: Clusters, vectors: np.ndarray) -> np.ndarray:
    return np.concatenate([clusters.assign(tick) for tick in ticks(vectors)])


@pytest.fixture(scope="module")
def noisy() -> tuple[np.ndarray, np.ndarray]:
    """Topics that overlap, so that no clustering is perfect."""
    return zipf_stream(8000, 30, seed=5, noise=1.0)


@pytest.mark.parametrize("in_turn", [False, True], ids=["random order", "topics in turn"])
def test_agrees_with_the_topics_as_well_as_batch_kmeans_of_equal_k(
    noisy: tuple[np.ndarray, np.ndarray], in_turn: bool
) -> None:
    vectors, topics = noisy
    if in_turn:
        order = np.argsort(np.random.default_rng(0).permutation(30)[topics], kind="stable")
        vectors, topics = vectors[order], topics[order]
    clusters = Clusters(SMALL)
    clusters.seed(vectors[:1000])
    online = adjusted_mutual_info_score(topics, assign_all(clusters, vectors))
    batch = KMeans(len(clusters), n_init=1, random_state=0).fit_predict(vectors)
    assert online >= 0.95 * adjusted_mutual_info_score(topics, batch)


@pytest.mark.parametrize("in_turn", [False, True], ids=["random order", "topics in turn"])
def test_finds_the_topics_of_a_zipf_stream(in_turn: bool) -> None:
    vectors, topics = zipf_stream(12_000, 60, seed=3)
    if in_turn:
        order = np.argsort(np.random.default_rng(1).permutation(60)[topics], kind="stable")
        vectors, topics = vectors[order], topics[order]
    clusters = Clusters(ClustersConfig())
    clusters.seed(vectors[:2048])
    assert normalized_mutual_info_score(topics, assign_all(clusters, vectors)) >= 0.95


def test_a_new_topic_is_seen_by_the_documents_after_its_fifth_in_the_same_tick() -> None:
    vectors, _ = zipf_stream(3000, 10, seed=1)
    clusters = Clusters(SMALL)
    clusters.seed(vectors[:1000])
    assign_all(clusters, vectors[:1024])
    clusters.take_events()
    rng = np.random.default_rng(2)
    topic = unit(rng.normal(size=(1, 64)) + rng.normal(size=(40, 64)) * 0.05)
    assigned = clusters.assign(np.concatenate([vectors[2000:2300], topic]))
    (event,) = [e for e in clusters.take_events() if e.kind == "founded"]
    assert set(assigned[-30:].tolist()) == set(event.children)
    # Those that waited were assigned too, to clusters that existed.
    assert not set(assigned[300:303].tolist()) & set(event.children)


def test_every_change_of_ids_is_in_the_lineage_and_no_id_comes_twice() -> None:
    vectors, _ = zipf_stream(8000, 30, seed=5, noise=1.5)
    clusters = Clusters(SMALL)
    clusters.seed(vectors[:1000])
    alive = set(clusters.centres()[0].tolist())
    ever = set(alive)
    seen: list[LineageEvent] = []
    for number, tick in enumerate(ticks(vectors)):
        assigned = clusters.assign(tick)
        for event in clusters.take_events():
            assert event.tick == number
            seen.append(event)
            assert set(event.parents) <= alive
            new = set(event.children) - alive
            assert not new & ever
            alive = (alive - set(event.parents) if event.kind == "merged" else alive) | set(event.children)
            ever |= new
        ids, _, documents = clusters.centres()
        assert set(ids.tolist()) == alive
        assert set(assigned.tolist()) <= alive
        assert len(alive) <= SMALL.max_clusters
        assert documents.sum() == min(512 * (number + 1), 8000)
    assert {event.kind for event in seen} == {"founded", "split", "merged"}


def test_every_id_there_ever_was_leads_to_the_cluster_it_is_now() -> None:
    vectors, _ = zipf_stream(8000, 30, seed=5, noise=1.5)
    clusters, kept = Clusters(SMALL), Kept()
    clusters.seed(vectors[:1000])
    now = {cluster: cluster for cluster in clusters.centres()[0].tolist()}
    for tick in ticks(vectors):
        clusters.assign(tick)
        events, epoch = clusters.take_events(), Epoch(number=1, identity="{}")
        write_events(events, epoch)
        kept.commit(clusters, epoch=epoch)
        for event in events:
            now.update({child: child for child in event.children if child not in now})
            if event.kind == "merged":
                winner, loser = event.parents
                now = {cluster: winner if it == loser else it for cluster, it in now.items()}
    assert len(set(now.values())) < len(now)
    restored = Clusters(SMALL)
    kept.restore(restored)
    for copy in (clusters, restored):
        assert {cluster: copy.survivor(cluster) for cluster in now} == now
        assert copy.survivor(max(now) + 1) is None


@pytest.mark.parametrize("cut", [0, 1, 5, 11])
@pytest.mark.parametrize("half_life_documents", [0, 3000])
def test_restoring_the_facts_continues_bit_for_bit(
    noisy: tuple[np.ndarray, np.ndarray], cut: int, half_life_documents: int
) -> None:
    vectors = noisy[0][np.argsort(noisy[1] % 7, kind="stable")]
    config = msgspec.structs.replace(SMALL, half_life_documents=half_life_documents)
    original, kept = Clusters(config, seed=3), Kept()
    original.seed(vectors[:1000])
    for tick in ticks(vectors)[:cut]:
        original.assign(tick, np.arange(len(tick)))
        kept.commit(original)
    kept.commit(original)
    restored = Clusters(config, seed=3)
    kept.restore(restored)
    for tick in ticks(vectors)[cut:]:
        expected = original.assign(tick, np.arange(len(tick)))
        assert np.array_equal(restored.assign(tick, np.arange(len(tick))), expected)
        assert changes_of(restored) == changes_of(original)
    assert restored.largest(99) == original.largest(99)


def test_when_facts_are_asked_for_makes_no_difference(noisy: tuple[np.ndarray, np.ndarray]) -> None:
    often, never = Clusters(SMALL), Clusters(SMALL)
    for tick in ticks(noisy[0][:4096]):
        assert np.array_equal(often.assign(tick), never.assign(tick))
        assert changes_of(often)
        assert not changes_of(often)


def test_a_commit_has_a_fact_only_for_clusters_that_learned(noisy: tuple[np.ndarray, np.ndarray]) -> None:
    clusters = Clusters(SMALL)
    clusters.seed(noisy[0][:1000])
    kept = Kept()
    kept.commit(clusters)
    assigned = clusters.assign(noisy[0][:5])
    families = [family for family, _, _ in kept.commit(clusters)]
    assert families.count("clusters") == len(set(assigned.tolist()))


@pytest.mark.parametrize(
    "seeds",
    [
        np.zeros((0, 8)),
        np.eye(8)[:1],
        np.zeros((30, 8)),
        np.full((30, 8), np.nan),
        np.ones((300, 8)),
        np.eye(8)[:3],
        np.eye(8)[[0, 1] * 20],
    ],
    ids=["none", "one", "zeros", "nan", "identical", "three", "two kinds"],
)
def test_odd_seeds_and_odd_documents_are_clustered_all_the_same(seeds: np.ndarray) -> None:
    clusters = Clusters(ClustersConfig())
    clusters.seed(seeds.astype(np.float32))
    rng = np.random.default_rng(0)
    odd = [
        np.zeros((3, 8)),
        np.full((2, 8), np.inf),
        np.ones((200, 8)),
        rng.normal(size=(300, 8)),
        np.eye(8)[:1] * 1e30,
    ]
    for rows in [*odd, *odd, np.zeros((0, 8))]:
        assigned = clusters.assign(rows.astype(np.float32), np.arange(len(rows)))
        assert assigned.shape == (len(rows),)
        assert set(assigned.tolist()) <= set(clusters.centres()[0].tolist())
    assert np.allclose(np.linalg.norm(clusters.centres()[1], axis=1), 1, atol=1e-5)
    assert all(np.isfinite(distance) for _, _, distance in clusters.neighbours(3))


def test_identical_documents_are_one_cluster() -> None:
    clusters = Clusters(ClustersConfig())
    same = np.tile(unit(np.random.default_rng(0).normal(size=(1, 64))), (512, 1))
    clusters.seed(same)
    assert len({*clusters.assign(same).tolist(), *clusters.assign(same).tolist()}) == len(clusters) == 1


def test_more_than_a_tick_is_refused() -> None:
    with pytest.raises(ValueError, match="513 documents are more than a tick of 512"):
        Clusters(ClustersConfig()).assign(np.ones((513, 4), np.float32))


def test_fading_lets_a_topic_that_ended_go() -> None:
    rng = np.random.default_rng(0)
    old, new = (unit(rng.normal(size=(1, 64)) + rng.normal(size=(3000, 64)) * 0.1) for _ in range(2))
    config = ClustersConfig(min_clusters=1, initial_clusters=2, half_life_documents=200)
    clusters = Clusters(config)
    clusters.seed(np.concatenate([old[:200], new[:200]]))
    assert len(clusters) == 2
    assign_all(clusters, new)
    assert len(clusters) == 1


def test_the_most_central_document_is_the_most_similar_that_came() -> None:
    vectors, _ = zipf_stream(1000, 4, seed=4)
    clusters = Clusters(ClustersConfig(min_clusters=1, initial_clusters=4, found_documents=60))
    clusters.seed(vectors[:500])
    ids, centres, _ = clusters.centres()
    assigned = clusters.assign(vectors[500:1000], np.arange(500, 1000))
    for summary in clusters.largest(10):
        if summary.documents:
            members = np.flatnonzero(assigned == summary.cluster)
            similarities = vectors[500:][members] @ centres[ids.tolist().index(summary.cluster)]
            assert summary.central_doc_no == 500 + members[similarities.argmax()]


def test_neighbours_are_the_nearest_centres_each_pair_once() -> None:
    clusters = Clusters(ClustersConfig())
    clusters.seed(zipf_stream(2000, 20, seed=6)[0])
    ids, centres, _ = clusters.centres()
    distances = 1 - centres @ centres.T + 9 * np.eye(len(ids))
    nearest = {tuple(sorted((int(ids[a]), int(ids[distances[a].argmin()])))) for a in range(len(ids))}
    pairs = clusters.neighbours(1)
    assert {(a, b) for a, b, _ in pairs} == nearest
    assert len(pairs) == len(nearest)
    assert Clusters(ClustersConfig()).neighbours(3) == []


def test_splitting_and_merging_keep_the_total_weight_and_sum() -> None:
    rng = np.random.default_rng(0)
    features = Features(32)
    members_MD = rng.normal(size=(100, 32))
    features.append(0, members_MD, np.repeat([0, 1, -1], [30, 50, 20]))
    features.split(0, 1)
    features.append(2, members_MD[:7], np.full(7, -1))
    features.merge(1, 2)
    features.merge(0, 1)
    assert features.column("weight").sum() == pytest.approx(107)
    assert np.allclose(features.column("sum")[0], members_MD.sum(axis=0) + members_MD[:7].sum(axis=0), atol=1e-9)


def two_topics(weight: float) -> tuple[Features, np.ndarray]:
    """One cluster of two halves that knows `weight` members, and its topics (2, D)."""
    topics_2D = unit(np.random.default_rng(0).normal(size=(2, 48)))
    features = Features(48)
    features.append(0, topics_2D[[0, 1] * 10], np.array([0, 1] * 10))
    for name in ("weight", "sum"):
        features.column(name)[0] *= weight / 20
    return features, topics_2D


def test_what_is_stored_of_a_settled_cluster_is_all_that_there_is() -> None:
    features, _ = two_topics(weight=12_345.0)
    exact = features.column("sum").copy(), features.column("half_sums").copy()
    features.settle()
    restored = Features.from_rows(features.rows())

    for name in ("cluster", "documents", "weight", "half_weights", "sum", "half_sums"):
        assert np.array_equal(restored.column(name), features.column(name))
    assert np.allclose(features.column("sum"), exact[0], rtol=1e-7)
    assert np.allclose(features.column("half_sums"), exact[1], rtol=1e-3)
    assert len(features.rows()[0]) < 0.4 * 8 * (7 + 3 * 48)


@pytest.mark.parametrize("weight", [1e3, float(MAX_WEIGHT)])
def test_a_cluster_of_any_age_follows_its_documents(weight: float) -> None:
    features, topics_2D = two_topics(weight)
    for _ in range(3000):
        features.column("weight")[0] += 2.0
        features.column("sum")[0] += 2.0 * topics_2D[0]
        features.settle()

    assert features.column("weight")[0] <= MAX_WEIGHT
    added = min(1.0, 6000.0 / (weight + 6000.0))
    expected_D = unit((topics_2D.mean(axis=0) * (1.0 - added) + topics_2D[0] * added)[None])[0]
    before_D = unit(topics_2D.mean(axis=0)[None])[0]
    moved, wanted = np.linalg.norm(features.centres()[0] - before_D), np.linalg.norm(expected_D - before_D)
    assert moved == pytest.approx(wanted, rel=0.1)


def test_a_half_that_has_faded_away_is_founded_anew() -> None:
    features, topics_2D = two_topics(weight=20.0)
    first_M = np.repeat(topics_2D[:1], 512, axis=0).astype(np.float32)
    columns = [features.column(name) for name in ("weight", "sum", "half_weights", "half_sums")]
    for _ in range(40):
        add_members(first_M, np.zeros(512, np.int64), *columns, HALF_MEMORY)
        features.settle()
    assert features.column("half_weights")[0].min() == 0.0
    add_members(topics_2D[1:].astype(np.float32), np.zeros(1, np.int64), *columns, HALF_MEMORY)

    newest = int(features.column("half_weights")[0].argmin())
    assert np.allclose(features.column("half_sums")[0, newest], topics_2D[1], atol=1e-6)


def test_a_new_version_of_the_embedding_finds_the_same_topics_elsewhere() -> None:
    vectors, topics = zipf_stream(8000, 30, seed=2, noise=0.4)
    rotation_DD = np.linalg.qr(np.random.default_rng(3).normal(size=(64, 64)))[0].astype(np.float32)
    clusters = Clusters(SMALL)
    clusters.seed(vectors[:1000])
    before = assign_all(clusters, vectors[:6000])
    _, _, documents_K = clusters.centres()
    clusters.take_events()

    clusters.renew(vectors[4000:6000], vectors[4000:6000] @ rotation_DD)
    after = assign_all(clusters, vectors[6000:] @ rotation_DD)

    assert clusters.centres()[2].sum() == documents_K.sum() + 2000
    assert normalized_mutual_info_score(topics[6000:], after) > 0.95
    # Ids stay: the documents of a topic are in the cluster that they were in, or in one that it was merged into.
    kept = 0
    for topic in range(30):
        old, new = before[4000:6000][topics[4000:6000] == topic], after[topics[6000:] == topic]
        if len(old) and len(new):
            kept += len(new) * (clusters.survivor(int(np.bincount(old).argmax())) == int(np.bincount(new).argmax()))
    assert kept > 0.95 * len(after)


def test_a_new_version_leaves_no_id_without_a_successor() -> None:
    vectors, topics = zipf_stream(6000, 24, seed=1, noise=0.3)
    clusters = Clusters(SMALL)
    clusters.seed(vectors[:1000])
    labels = assign_all(clusters, vectors)
    ids = clusters.centres()[0].tolist()
    clusters.take_events()
    unseen = topics >= 12  # the second version is not shown these

    rng = np.random.default_rng(0)
    foreign = unit(unit(rng.normal(size=(3, 64)))[rng.integers(0, 3, 600)] + rng.normal(size=(600, 64)) / 30)
    shown = vectors[~unseen][:1400]
    clusters.renew(np.concatenate((shown, shown[:600])), np.concatenate((shown, foreign)))

    events = clusters.take_events()
    merged = {event.parents[1]: event.parents[0] for event in events if event.kind == "merged"}
    founded = {event.children[0]: event.parents[0] for event in events if event.kind == "founded"}
    now = clusters.centres()[0].tolist()
    assert set(now) == (set(ids) - merged.keys()) | founded.keys()
    assert set(founded.values()) <= set(ids)
    assert min(founded) > max(ids), "ids are never used again"
    assert [event.kind for event in events] == ["founded"] * len(founded) + ["merged"] * len(merged)
    assert all(clusters.survivor(int(label)) in now for label in np.unique(labels))
    kept, restored = Kept(), Clusters(SMALL)
    kept.commit(clusters)
    kept.restore(restored)
    more = unit(rng.normal(size=(512, 64)))
    assert np.array_equal(restored.assign(more), clusters.assign(more))


def test_a_cluster_of_noise_is_not_split_and_two_topics_in_one_are() -> None:
    rng = np.random.default_rng(1)
    topics = unit(rng.normal(size=(2, 64)))
    for num_documents in (12, 40, 200, 1000):
        for expected, labels in ((False, np.zeros(num_documents, int)), (True, np.arange(num_documents) % 2)):
            vectors = unit(topics[labels] + rng.normal(size=(num_documents, 64)) * 0.6 / 8)
            halves = spherical_kmeans(vectors, 2, np.random.default_rng(0))
            sums = np.stack([vectors[halves == h].sum(axis=0) for h in (0, 1)]).astype(np.float64)
            weights = np.bincount(halves, minlength=2).astype(np.float64)
            assert (split_gap(weights[None], sums[None])[0] > 0.06) == expected


def test_cohesion_is_the_mean_cosine_of_two_members() -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(9, 5))).astype(np.float64)
    pairs = (vectors @ vectors.T)[np.triu_indices(9, 1)]
    assert cohesion(np.array(9.0), vectors.sum(axis=0)) == pytest.approx(pairs.mean(), abs=1e-6)


def test_kmeans_is_as_tight_as_that_of_scikit_learn(noisy: tuple[np.ndarray, np.ndarray]) -> None:
    vectors = noisy[0][:2000]

    def tightness(labels: np.ndarray) -> float:
        return sum(float(np.linalg.norm(vectors[labels == k].sum(axis=0))) for k in np.unique(labels))

    ours = spherical_kmeans(vectors, 30, np.random.default_rng(0))
    theirs = KMeans(30, n_init=3, random_state=0).fit_predict(vectors)
    assert tightness(ours) > 0.985 * tightness(theirs)


def test_isodata_finds_the_number_of_clear_topics() -> None:
    rng = np.random.default_rng(0)
    topics = np.repeat(np.arange(20), 60)
    vectors = unit(unit(rng.normal(size=(20, 64)))[topics] + rng.normal(size=(1200, 64)) * 0.6 / 8)
    for k in (5, 20, 40):
        labels = isodata(vectors, k, min_clusters=2, max_clusters=64, gaps=(0.06, 0.02), seed=0)
        assert normalized_mutual_info_score(topics, labels) > 0.99


def test_the_share_of_novel_documents_follows_the_quantiles() -> None:
    novelty = Novelty()
    assert novelty.thresholds() == (-2.0, -2.0)
    similarities = np.random.default_rng(0).normal(0.4, 0.1, 10_000)
    novelty.observe(similarities)
    novel, outlier = novelty.thresholds()
    assert np.mean(similarities < novel) == pytest.approx(0.2, abs=0.03)
    assert np.mean(similarities < outlier) == pytest.approx(0.05, abs=0.03)


def test_who_waits_is_bounded_and_the_oldest_leaves() -> None:
    novelty = Novelty()
    for _ in range(10):
        waiting = novelty.meet(np.zeros((200, 4), np.float32))
        for document in range(200):
            join(waiting, len(novelty.numbers) + document, document % 2)
        novelty.part(waiting, np.ones(200, np.bool_))
    waiting = sorted(novelty.numbers)
    assert len(waiting) == MAX_RECENT + MAX_OUTLIERS
    assert [n for n in waiting if n % 2 == 0] == list(range(2000 - 2 * MAX_RECENT, 2000, 2))


def test_configuration_refuses_limits_that_contradict() -> None:
    for bad in (
        {"min_clusters": 60},
        {"max_clusters": 40},
        {"merge_gap": 0.06},
        {"max_clusters": 0},
        {"unknown": 1},
    ):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(bad, ClustersConfig)
