"""The mixture: shares against the closed form, repeats and spacing, the ledger, and that it comes back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.bandit_mixture import emit, newborn_excess, total_variation, water_filling, zipf_documents
from curation.selection.buffered import BUFFERED
from curation.selection.mixture import Balanced, Mixture
from curation.selection.mixture_config import MixtureConfig
from state.epoch import Epoch
from state.fact_table import gather_changes, restore_stages
from state.store import Store
from tests.kept import Kept, changes_of

SIZES = (60, 20, 10, 5, 3, 1, 0.7, 0.3)


def push(
    mixture: Mixture,
    first: int,
    clusters: list[int] | np.ndarray,
    *,
    num_tokens: int | np.ndarray = 100,
    sources: list[str] | None = None,
) -> Balanced:
    """Documents numbered from `first`, with keys that follow from their numbers."""
    doc_nos_B = np.arange(first, first + len(clusters))
    return mixture.balance(
        doc_nos_B,
        doc_nos_B.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15),
        np.asarray(clusters, np.int32),
        np.broadcast_to(num_tokens, len(clusters)).astype(np.int64),
        sources or [""] * len(clusters),
    )


@pytest.mark.parametrize(
    ("budget", "max_uses", "takes"),
    [
        (40, 5, (6, 6, 6, 6, 6, 5, 3.5, 1.5)),
        (100, 5, (18.75, 18.75, 18.75, 18.75, 15, 5, 3.5, 1.5)),
        (40, 1, (10, 10, 10, 5, 3, 1, 0.7, 0.3)),
        (1_000, 5, (300, 100, 50, 25, 15, 5, 3.5, 1.5)),
    ],
)
def test_water_filling_gives_the_known_takes(budget: float, max_uses: int, takes: tuple[float, ...]) -> None:
    assert water_filling(SIZES, budget=budget, max_uses=max_uses) == pytest.approx(takes)


@pytest.mark.parametrize("rho", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("max_uses", [1, 5])
def test_on_a_stationary_zipf_stream_shares_are_those_of_water_filling(rho: float, max_uses: int) -> None:
    stream = zipf_documents(seed=0, num_documents=100_000, num_clusters=50)
    emitted = emit(stream, MixtureConfig(size_power=0, rho=rho, max_uses=max_uses, buffer_documents=50))
    arrived = np.bincount(stream.clusters_N, stream.num_tokens_N, 50)
    taken = emitted.tokens_by_cluster(stream, 50)
    wanted = water_filling(arrived, budget=rho * float(arrived.sum()), max_uses=max_uses)
    assert taken.sum() == pytest.approx(rho * arrived.sum(), rel=1e-3)
    assert total_variation(taken, wanted) < 0.01
    assert np.bincount(emitted.doc_nos_X).max() <= max_uses


def test_the_share_that_is_told_of_a_cluster_is_the_one_that_it_gets() -> None:
    mixture = Mixture(MixtureConfig(rho=0.1, weights={"wiki": 3.0, "cluster:1": 2.0}, buffer_documents=100))
    rng = np.random.default_rng(0)
    clusters_N, is_wiki_N = rng.choice(3, 20_000, p=[0.6, 0.3, 0.1]), rng.random(20_000) < 0.5
    emitted: list[int] = []
    for first in range(0, 20_000, 500):
        names = ["wiki" if is_wiki else "web" for is_wiki in is_wiki_N[first : first + 500]]
        emitted += [n for n, _ in push(mixture, first, clusters_N[first : first + 500], sources=names).emitted]
    given = np.array(emitted)
    total = 0.0
    for source in ("wiki", "web"):
        for cluster in range(3):
            told = mixture.share_of(source, cluster)
            assert told is not None
            share, natural = told
            got = np.mean((clusters_N[given] == cluster) & (is_wiki_N[given] == (source == "wiki")))
            assert share == pytest.approx(float(got), rel=0.1)
            assert natural == pytest.approx((0.6, 0.3, 0.1)[cluster] / 2, rel=0.1)
            total += share
    assert total == pytest.approx(1.0)
    assert mixture.share_of("wiki", 7) is None


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_shares_grow_with_a_power_of_the_sizes(power: float) -> None:
    stream = zipf_documents(seed=0, num_documents=100_000, num_clusters=50)
    emitted = emit(stream, MixtureConfig(rho=0.1, size_power=power, buffer_documents=50))
    arrived = np.bincount(stream.clusters_N, stream.num_tokens_N, 50)
    shares = arrived**power
    wanted = 0.1 * arrived.sum() * shares / shares.sum()
    assert np.all(wanted < arrived)  # nothing is used up
    assert total_variation(emitted.tokens_by_cluster(stream, 50), wanted) < 0.02


@pytest.mark.parametrize(("rho", "max_uses"), [(0.3, 1), (0.3, 5), (0.6, 1), (0.6, 5), (1.0, 5)])
def test_a_newborn_cluster_never_takes_more_than_twice_its_fair_share(rho: float, max_uses: int) -> None:
    assert newborn_excess(MixtureConfig(size_power=0, rho=rho, max_uses=max_uses, buffer_documents=50)) <= 2


def test_with_the_defaults_documents_go_straight_on_and_nothing_is_kept() -> None:
    mixture = Mixture(MixtureConfig())
    balanced = push(mixture, 10, [3, 1, 2])
    assert balanced.emitted == [(10, 0), (11, 0), (12, 0)]
    assert balanced.evicted == []
    assert balanced.finished == [10, 11, 12]
    assert mixture.held() == []
    assert changes_of(mixture) == []


def test_documents_held_under_an_earlier_configuration_go_first_when_everything_passes() -> None:
    selecting = Mixture(MixtureConfig(rho=0.25, max_uses=2, gap=1))
    push(selecting, 0, [1, 1, 2, 2, 1, 2, 3])
    passing = Mixture(MixtureConfig())
    kept = Kept()
    kept.commit(selecting)
    kept.restore(passing)
    held = passing.held()
    assert held == selecting.held()
    assert {uses for _, uses in held} == {0, 1}
    balanced = push(passing, 7, [9])
    assert balanced.emitted == [use for use in held if use[1] == 0] + [(7, 0)]
    assert sorted(balanced.finished) == sorted([doc_no for doc_no, _ in held] + [7])
    assert passing.held() == []
    kept.commit(passing)
    assert list(BUFFERED.keys(kept)) == []


def test_service_is_counted_in_tokens() -> None:
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 2, 20_000)
    num_tokens = np.where(clusters == 0, 1_000, 100)
    mixture = Mixture(MixtureConfig(size_power=0, rho=0.1))
    emitted = [doc_no for doc_no, _ in push(mixture, 0, clusters, num_tokens=num_tokens).emitted]
    taken = np.bincount(clusters[emitted], num_tokens[emitted])
    # Both clusters could fill half of the output: 1 % of its tokens is 11 documents of the long one.
    assert taken[0] / taken.sum() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("max_uses", [1, 3])
def test_sources_get_the_shares_of_their_weights(max_uses: int) -> None:
    rng = np.random.default_rng(0)
    names = np.array(["wiki/en", "web", "code", "wiki/de"])
    sources = names[rng.choice(4, 50_000, p=[0.3, 0.4, 0.15, 0.15])]
    clusters = rng.integers(0, 10, 50_000)
    num_tokens = rng.integers(50, 400, 50_000)
    mixture = Mixture(MixtureConfig(rho=0.25, max_uses=max_uses, weights={"wiki/*": 5, "code": 2, "*": 3}))
    emitted = [
        doc_no for doc_no, _ in push(mixture, 0, clusters, num_tokens=num_tokens, sources=sources.tolist()).emitted
    ]
    total = num_tokens[emitted].sum()
    for prefix, share in (("wiki", 0.5), ("code", 0.2), ("web", 0.3)):
        of_source = np.char.startswith(sources[emitted], prefix)
        assert num_tokens[emitted][of_source].sum() / total == pytest.approx(share, abs=0.01)
        by_cluster = np.bincount(clusters[emitted][of_source], num_tokens[emitted][of_source])
        assert by_cluster / by_cluster.sum() == pytest.approx(0.1, abs=0.01)


def test_a_source_that_cannot_fill_its_share_lends_its_turn() -> None:
    sources = ["rare" if i % 50 == 0 else "web" for i in range(20_000)]
    mixture = Mixture(MixtureConfig(rho=0.5, weights={"rare": 9}))
    emitted = [doc_no for doc_no, _ in push(mixture, 0, [0] * 20_000, sources=sources).emitted]
    assert len(emitted) == 10_000
    assert sum(sources[doc_no] == "rare" for doc_no in emitted) >= 399


def test_clusters_get_the_shares_of_their_weights() -> None:
    clusters = np.random.default_rng(0).integers(0, 4, 20_000)
    mixture = Mixture(MixtureConfig(rho=0.3, weights={"cluster:1": 3, "cluster:2": 0.5}))
    emitted = [doc_no for doc_no, _ in push(mixture, 0, clusters).emitted]
    shares = np.bincount(clusters[emitted]) / len(emitted)
    assert shares == pytest.approx(water_like(np.array([1, 3, 0.5, 1]), limit=0.25 / 0.3), abs=0.005)


def water_like(weights: np.ndarray, *, limit: float) -> np.ndarray:
    """Shares in proportion to weights, none above `limit`, by bisection."""
    low, high = 0.0, 100.0
    for _ in range(100):
        level = (low + high) / 2
        low, high = (level, high) if np.minimum(level * weights, limit).sum() < 1 else (low, level)
    return np.minimum(level * weights, limit)


@pytest.mark.parametrize("max_uses", [2, 5])
@pytest.mark.parametrize("gap", [1, 10, 300])
def test_a_document_is_used_at_most_max_uses_times_and_not_again_before_the_gap(max_uses: int, gap: int) -> None:
    rng = np.random.default_rng(1)
    clusters = np.minimum(rng.geometric(0.3, 5_000), 15)
    mixture = Mixture(MixtureConfig(rho=1.0, max_uses=max_uses, gap=gap, buffer_documents=20))
    emitted = push(mixture, 0, clusters, num_tokens=rng.integers(1, 500, 5_000)).emitted
    last: dict[int, int] = {}
    uses: dict[int, int] = {}
    repeats = 0
    for place, (doc_no, use) in enumerate(emitted):
        assert use == uses.get(doc_no, 0) < max_uses
        if doc_no in last:
            assert place - last[doc_no] >= gap
            repeats += 1
        last[doc_no], uses[doc_no] = place, use + 1
    assert repeats > 100


def test_more_than_the_input_goes_out_if_rho_says_so() -> None:
    mixture = Mixture(MixtureConfig(rho=2.0, max_uses=4, gap=20))
    emitted = push(mixture, 0, np.arange(10_000) % 10).emitted
    assert len(emitted) == pytest.approx(20_000, rel=0.01)
    assert np.bincount([doc_no for doc_no, _ in emitted]).max() <= 4


def test_a_debt_that_nothing_held_can_pay_is_forgiven() -> None:
    # One cluster, whose buffer of two forgets documents long before the gap lets them go out again.
    mixture = Mixture(MixtureConfig(rho=1.5, max_uses=3, gap=100, buffer_documents=2))
    starved = push(mixture, 0, [0] * 5_000).emitted
    assert len(starved) < 1.1 * 5_000
    # Then many clusters, which could pay what the first one could not.
    assert len(push(mixture, 5_000, np.arange(6_000) % 500).emitted) == pytest.approx(1.5 * 6_000, rel=0.01)


def test_a_full_buffer_keeps_a_uniform_sample_of_what_came() -> None:
    kept = np.zeros(10, np.int64)
    for seed in range(200):
        mixture = Mixture(MixtureConfig(rho=1e-9, buffer_documents=10), seed=seed)
        # The first document settles the debt for all.
        push(mixture, 0, [0] * 1_001, num_tokens=10**6)
        kept += np.histogram([doc_no for doc_no, _ in mixture.held()], 10, (1, 1_001))[0]
    assert kept.sum() == 2_000
    assert kept == pytest.approx(200, abs=4 * np.sqrt(200))


def test_a_full_buffer_gives_up_the_most_used_document() -> None:
    mixture = Mixture(MixtureConfig(rho=0.5, max_uses=3, buffer_documents=4, gap=1))
    push(mixture, 0, [0] * 4)
    assert [uses for _, uses in mixture.held()] == [1, 1, 0, 0]
    balanced = push(mixture, 4, [0])
    assert balanced.evicted == []
    assert balanced.finished in ([0], [1])


SCHEDULED = {"num_documents": 60_000, "num_clusters": 30, "mean_tokens": 40}


def distances_to_natural(schedule: str, *, buffer_documents: int = 64) -> tuple[list[float], list[float]]:
    """Total variation of the output from the input's shares and from equal filling, in each tenth of the output."""
    stream = zipf_documents(seed=2, **SCHEDULED)
    arrived = np.bincount(stream.clusters_N, stream.num_tokens_N, 30)
    config = MixtureConfig(
        rho=0.3,
        size_power=0,
        schedule=schedule,
        schedule_tokens=int(0.24 * arrived.sum()),
        buffer_documents=buffer_documents,
    )
    doc_nos = emit(stream, config).doc_nos_X
    equal = water_filling(arrived, budget=0.3 * float(arrived.sum()), max_uses=1)
    natural, filled = [], []
    for tenth in np.array_split(doc_nos, 10):
        taken = np.bincount(stream.clusters_N[tenth], stream.num_tokens_N[tenth], 30)
        natural.append(total_variation(taken, arrived))
        filled.append(total_variation(taken, equal))
    return natural, filled


def test_g2s_goes_from_equal_shares_to_those_of_size() -> None:
    natural, filled = distances_to_natural("g2s")
    assert filled[0] < 0.05
    assert all(later < earlier + 0.01 for earlier, later in pairwise(natural))
    assert max(natural[8:]) < 0.03


def test_s2g_goes_from_shares_of_size_to_equal_ones() -> None:
    natural, filled = distances_to_natural("s2g")
    assert natural[0] < 0.08
    assert all(later > earlier - 0.01 for earlier, later in pairwise(natural))
    assert max(filled[8:]) < 0.1


def test_without_a_schedule_shares_stay() -> None:
    natural, filled = distances_to_natural("static")
    assert max(filled) < 0.05
    assert max(natural) - min(natural) < 0.03


def test_forgetting_lets_a_late_cluster_catch_up_no_further_than_the_half_life_remembers() -> None:
    # Cluster 1 trickles in for long and then arrives as often as cluster 0.
    clusters = np.r_[np.where(np.arange(20_000) % 100 == 0, 1, 0), np.arange(20_000) % 2]
    taken = {}
    for half_life in (10_000, 10**9):
        mixture = Mixture(MixtureConfig(size_power=0, rho=0.4, half_life_tokens=half_life))
        emitted = [doc_no for doc_no, _ in push(mixture, 0, clusters).emitted]
        late = [doc_no for doc_no in emitted if doc_no >= 20_000]
        taken[half_life] = np.mean(clusters[late])
    assert taken[10_000] == pytest.approx(0.5, abs=0.05)
    assert taken[10**9] > 0.9


def test_scaling_service_back_changes_nothing() -> None:
    # 64 half-lives pass about every 100 documents.
    stream = zipf_documents(seed=3, num_documents=20_000, num_clusters=10)
    config = MixtureConfig(rho=0.4, half_life_tokens=int(stream.num_tokens_N.mean()))
    taken = emit(stream, config).tokens_by_cluster(stream, 10)
    assert np.isfinite(taken).all()
    assert taken.sum() == pytest.approx(0.4 * stream.num_tokens_N.sum(), rel=0.01)


def test_a_removed_document_never_goes_out() -> None:
    mixture = Mixture(MixtureConfig(rho=0.1, max_uses=2, gap=1))
    push(mixture, 0, [0] * 30)
    uses = dict(mixture.held())
    assert {mixture.remove(doc_no) for doc_no in (0, 5, 20)} == {uses[0], uses[5], uses[20]} == {0, 1}
    assert mixture.remove(5) is mixture.remove(999) is None
    later = [doc_no for first in range(30, 2_000, 100) for doc_no, _ in push(mixture, first, [1] * 100).emitted]
    assert not {0, 5, 20} & set(later)
    assert {1, 2} <= set(later) | {doc_no for doc_no, _ in mixture.held()}


def test_the_winner_of_a_merger_takes_over_what_was_held() -> None:
    mixture = Mixture(MixtureConfig(rho=0.2, buffer_documents=20, weights={"a": 1}))
    sources = ["a", "b"] * 60
    push(mixture, 0, np.arange(120) // 2 % 3, sources=sources)
    held = mixture.held()
    mixture.merged(0, [1, 2, 77])
    assert mixture.held() == held
    # The next document of the cluster brings the buffer back to its bound.
    balanced = push(mixture, 120, [0, 0], sources=["a", "b"])
    assert len(mixture.held()) <= 40
    assert len(balanced.evicted) >= len(held) + 2 - 40 - len(balanced.emitted)


def test_a_merger_neither_starves_the_winner_nor_lets_it_monopolise() -> None:
    clusters = np.random.default_rng(0).integers(0, 10, 20_000)
    mixture = Mixture(MixtureConfig(size_power=0, rho=0.3))
    push(mixture, 0, clusters)
    mixture.merged(0, [1])
    clusters = np.where(clusters == 1, 0, clusters)
    emitted = [doc_no - 20_000 for doc_no, _ in push(mixture, 20_000, clusters).emitted if doc_no >= 20_000]
    assert np.bincount(clusters[emitted])[0] / len(emitted) == pytest.approx(1 / 9, abs=0.01)


def test_children_of_a_split_start_level_with_their_parent() -> None:
    clusters = np.random.default_rng(0).integers(0, 10, 20_000)
    mixture = Mixture(MixtureConfig(size_power=0, rho=0.3))
    push(mixture, 0, clusters)
    held = mixture.held()
    mixture.split(0, [0, 10])
    mixture.split(1, [11, 12])
    assert mixture.held() == held
    rng = np.random.default_rng(1)
    clusters = np.where((clusters == 0) & (rng.random(20_000) < 0.5), 10, clusters)
    clusters = np.where(clusters == 1, rng.integers(11, 13, 20_000), clusters)
    emitted = [doc_no - 20_000 for doc_no, _ in push(mixture, 20_000, clusters).emitted if doc_no >= 20_000]
    shares = np.bincount(clusters[emitted], minlength=13) / len(emitted)
    wanted = water_filling(np.bincount(clusters, minlength=13), budget=6_000, max_uses=1) / 6_000
    assert shares == pytest.approx(wanted, abs=0.012)


def test_options_that_cannot_do_what_they_say_are_refused() -> None:
    with pytest.raises(ValueError, match="lower rho or raise max_uses"):
        MixtureConfig(rho=1.5)
    with pytest.raises(ValueError, match="lower rho or raise max_uses"):
        MixtureConfig(weights={"wiki": 2})
    with pytest.raises(ValueError, match="lower rho or raise max_uses"):
        MixtureConfig(schedule="g2s", weights={"wiki": 2})
    with pytest.raises(ValueError, match="above 0"):
        MixtureConfig(rho=0.5, weights={"wiki": 0})
    with pytest.raises(ValueError, match="cluster number"):
        MixtureConfig(rho=0.5, weights={"cluster:wiki": 1})


documents = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 300), st.sampled_from(["a", "b", "c"])), min_size=1, max_size=120
)
configs = st.builds(
    lambda rho, more, schedule, buffer_documents, gap, half_life, weighted: MixtureConfig(
        rho=rho,
        max_uses=int(np.ceil(rho)) + more,
        schedule=schedule,
        schedule_tokens=5_000,
        buffer_documents=buffer_documents,
        gap=gap,
        half_life_tokens=half_life,
        weights={"a": 2, "cluster:3": 0.5} if weighted else {},
    ),
    st.sampled_from([0.1, 0.5, 0.9, 1.3, 3.0]),
    st.integers(0, 3),
    st.sampled_from(["static", "g2s", "s2g"]),
    st.integers(1, 6),
    st.integers(1, 20),
    st.sampled_from([50, 3_000, 10**8]),
    st.booleans(),
)


def feed(mixture: Mixture, stream: list[tuple[int, int, str]], start: int, stop: int) -> Iterator[Balanced]:
    """One call for [start, stop), with lineage and a removal at fixed documents of the stream."""
    marks = [mark for mark in (20, 45, 70) if start < mark < stop]
    for low, high in zip([start, *marks], [*marks, stop], strict=True):
        if low == 20:
            mixture.split(2, [2, 7])
        elif low == 45:
            mixture.merged(1, [0, 3])
        elif low == 70:
            mixture.remove(mixture.held()[0][0] if mixture.held() else 0)
            mixture.split(4, [5, 8])
        if low < high:
            clusters, num_tokens, sources = zip(*stream[low:high], strict=True)
            yield push(mixture, low, list(clusters), num_tokens=np.array(num_tokens), sources=list(sources))


def joined(parts: list[Balanced]) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    return (
        [use for part in parts for use in part.emitted],
        [doc_no for part in parts for doc_no in part.evicted],
        [doc_no for part in parts for doc_no in part.finished],
    )


@settings(max_examples=150, deadline=None)
@given(documents, configs, st.lists(st.integers(0, 120), max_size=6))
def test_calls_may_be_cut_anywhere_and_commits_restored_without_a_trace(
    stream: list[tuple[int, int, str]], config: MixtureConfig, cuts: list[int]
) -> None:
    whole = Mixture(config, seed=3)
    expected = joined(list(feed(whole, stream, 0, len(stream))))
    last_facts = Kept()
    last_facts.commit(whole)
    mixture, kept, parts, start = Mixture(config, seed=3), Kept(), list[Balanced](), 0
    for stop in [*sorted(cut for cut in set(cuts) if cut < len(stream)), len(stream)]:
        parts += feed(mixture, stream, start, stop)
        kept.commit(mixture)
        assert kept.commit(mixture) == []
        mixture, start = Mixture(config, seed=3), stop
        kept.restore(mixture)
        assert kept.commit(mixture) == []
    assert joined(parts) == expected
    assert mixture.held() == whole.held()
    assert dict(kept.items("mixture")) == dict(last_facts.items("mixture"))


@settings(max_examples=100, deadline=None)
@given(documents, configs)
def test_every_document_is_held_finished_or_evicted_and_bounds_hold(
    stream: list[tuple[int, int, str]], config: MixtureConfig
) -> None:
    mixture = Mixture(config)
    clusters, num_tokens, sources = zip(*stream, strict=True)
    balanced = push(mixture, 0, list(clusters), num_tokens=np.array(num_tokens), sources=list(sources))
    held = dict(mixture.held())
    assert sorted([*held, *balanced.evicted, *balanced.finished]) == list(range(len(stream)))
    uses = np.bincount([doc_no for doc_no, _ in balanced.emitted], minlength=len(stream))
    assert uses.max() <= config.max_uses
    assert all(uses[doc_no] == 0 for doc_no in balanced.evicted)
    assert all(uses[doc_no] > 0 for doc_no in balanced.finished)
    assert all(uses[doc_no] == count for doc_no, count in held.items())
    assert len(held) <= config.buffer_documents * len(set(zip(clusters, sources, strict=True)))
    assert sum(num_tokens[doc_no] for doc_no, _ in balanced.emitted) <= config.rho * sum(num_tokens) + max(num_tokens)


def test_a_process_that_has_all_commits_takes_over_where_they_end() -> None:
    config = MixtureConfig(rho=0.5, max_uses=3, buffer_documents=5, gap=3, weights={"a": 2})
    rng = np.random.default_rng(0)
    stream = [
        (int(c), int(n), "ab"[c % 2]) for c, n in zip(rng.integers(0, 6, 100), rng.integers(1, 90, 100), strict=True)
    ]
    owner, standby, whole, kept = Mixture(config), Mixture(config), Mixture(config), Kept()
    for start in range(0, 60, 10):
        list(feed(owner, stream, start, start + 10))
        kept.commit(owner)
    kept.restore(standby)
    list(feed(whole, stream, 0, 60))
    assert joined(list(feed(standby, stream, 60, 100))) == joined(list(feed(whole, stream, 60, 100)))


def test_options_may_change_under_existing_state() -> None:
    before = MixtureConfig(rho=0.4, max_uses=4, gap=2, weights={"wiki*": 3, "cluster:1": 2})
    after = MixtureConfig(rho=0.7, max_uses=2, gap=5, buffer_documents=3, weights={"web": 2}, schedule="g2s")
    old, new = Mixture(before), Mixture(after)
    sources = ["wiki/a", "web", "x"] * 100
    push(old, 0, np.arange(300) % 4, sources=sources)
    kept = Kept()
    kept.commit(old)
    kept.restore(new)
    held = dict(new.held())
    assert held == dict(old.held())
    balanced = push(new, 300, np.arange(300) % 4, sources=sources)
    assert all(use < 2 for _, use in balanced.emitted)
    assert len(new.held()) <= 3 * 8
    everyone = sorted([*dict(new.held()), *balanced.evicted, *balanced.finished])
    assert everyone == sorted([*held, *range(300, 600)])


def test_a_config_section_decodes_strictly() -> None:
    assert msgspec.convert({"rho": 0.5, "weights": {"wiki": 2.0}}, MixtureConfig).rho == 0.5
    for section in (
        {"rho": 0},
        {"max_uses": 0},
        {"schedule": "fast"},
        {"weights": {"a": -1}},
        {"row": 1},
        {"gap": 0.5},
    ):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(section, MixtureConfig)


@pytest.mark.parametrize("over", ["sources", "clusters"])
def test_shares_that_change_are_realised_at_once(over: str) -> None:
    config = MixtureConfig(rho=0.2, rule="ado", over=over, weights={"a": 1.0, "b": 1.0, "c": 1.0})
    mixture, rng, number = Mixture(config), np.random.default_rng(0), 6000
    for wanted in ((0.6, 0.3, 0.1), (0.1, 0.2, 0.7)):
        names = [f"cluster:{n}" for n in range(3)] if over == "clusters" else ["a", "b", "c"]
        emitted = np.zeros(3)
        kinds_N, tokens_N = rng.integers(0, 3, number), rng.integers(50, 400, number)
        of_document = {}
        for first in range(0, number, 500):
            part = slice(first, first + 500)
            doc_nos = np.arange(first, first + 500) + (10**6 if wanted[2] > 0.5 else 0)
            of_document |= {
                int(d): (int(k), int(t)) for d, k, t in zip(doc_nos, kinds_N[part], tokens_N[part], strict=True)
            }
            if first:
                mixture.weigh(dict(zip(names, wanted, strict=True)))
            balanced = mixture.balance(
                doc_nos,
                rng.integers(0, 2**63, 500).astype(np.uint64),
                kinds_N[part].astype(np.int32),
                tokens_N[part],
                ["abc"[kind] for kind in kinds_N[part]] if over == "sources" else ["x"] * 500,
            )
            if first >= 1000:  # buffers hold documents of all by then
                for doc_no, _ in balanced.emitted:
                    kind, tokens = of_document.get(doc_no, (-1, 0))
                    emitted[kind] += tokens if kind >= 0 else 0
        np.testing.assert_allclose(emitted / emitted.sum(), wanted, atol=0.005)


def test_natural_shares_are_those_that_arrived_times_their_weights() -> None:
    mixture = Mixture(MixtureConfig(rho=0.5, rule="ado", weights={"a": 3.0, "b": 1.0}))
    mixture.balance(
        np.arange(4), np.arange(4, dtype=np.uint64), np.zeros(4, np.int32), np.array([100, 100, 300, 600]),
        ["a", "b", "b", "other"],
    )  # fmt: skip
    expected = {"*": 600 / 1300, "a": 300 / 1300, "b": 400 / 1300}
    assert mixture.natural_shares() == pytest.approx(expected, rel=1e-4)  # what arrived fades
    assert mixture.domain_of("other", 5) == "*"


def _shares(mixture: Mixture, number: int = 4000) -> dict[str, float]:
    """Of the emitted tokens of three sources that arrive alike, the first tenth left out."""
    rng, emitted = np.random.default_rng(0), np.zeros(3)
    kinds_N = rng.integers(0, 3, number)
    for first in range(0, number, 200):
        part = slice(first, first + 200)
        mixture.begin_tick()
        balanced = mixture.balance(
            np.arange(number)[part],
            rng.integers(0, 2**63, 200).astype(np.uint64),
            np.zeros(200, np.int32),
            np.full(200, 100),
            ["abc"[kind] for kind in kinds_N[part]],
        )
        for doc_no, _ in balanced.emitted if first >= number // 10 else ():
            emitted[kinds_N[doc_no % number]] += 100
    return dict(zip("abc", (emitted / emitted.sum()).tolist(), strict=True))


def test_weights_change_at_a_number_of_emitted_tokens() -> None:
    weights = {"a": 1.0, "b": 1.0, "c": 1.0}
    early = Mixture(MixtureConfig(rho=0.2, weights=weights, later={"1_000_000_000": {"a": 8.0}}))
    late = Mixture(MixtureConfig(rho=0.2, weights=weights, later={"0": {"a": 2.0}, "1_000": {"a": 8.0}}))
    assert _shares(early)["a"] == pytest.approx(1 / 3, abs=0.01)
    assert _shares(late)["a"] == pytest.approx(0.8, abs=0.01)


def test_weights_of_a_message_hold_until_the_next_also_after_a_restart(tmp_path: Path) -> None:
    config = MixtureConfig(rho=0.2, weights={"a": 1.0, "b": 1.0, "c": 1.0})
    mixture, store = Mixture(config), Store(tmp_path)
    assert mixture.replace_weights({"b": 8.0, "no such source": 3.0})
    epoch = Epoch(number=1, identity="")
    gather_changes((mixture,), epoch)
    store.apply(epoch.changes())
    restarted = Mixture(config)
    restore_stages((restarted,), store)
    store.close()
    for each in (mixture, restarted):
        assert _shares(each)["b"] == pytest.approx(0.8, abs=0.01)
    mixture.replace_weights({})
    assert _shares(mixture)["b"] == pytest.approx(1 / 3, abs=0.01)
    assert not Mixture(MixtureConfig()).replace_weights({"b": 8.0})
