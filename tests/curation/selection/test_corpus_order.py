"""The order of a corpus: the shares of the paper's draws, each document once, and a line that survives a stop."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from curation.selection import corpus_order
from curation.selection.corpus_order import CorpusOrder, rounds
from curation.selection.mixture_config import Schedule
from tests.kept import Kept

SIZES = np.array([6000, 2000, 1000, 500, 300, 100, 70, 30])
CLUSTERS = np.random.default_rng(0).permutation(np.repeat(np.arange(len(SIZES)), SIZES)).astype(np.int32)
KEYS = np.random.default_rng(1).integers(0, 1 << 63, len(CLUSTERS)).astype(np.uint64)
PARTS = 20


def _as_published(seed: int) -> NDArray[np.int64]:
    """The clusters in the order of the paper: each document's drawn uniformly among those with documents left."""
    rng, left, order = np.random.default_rng(seed), SIZES.copy(), []
    while left.any():
        cluster = rng.choice(np.flatnonzero(left))
        left[cluster] -= 1
        order.append(cluster)
    return np.array(order)


def _shares(clusters_N: NDArray[np.integer]) -> NDArray[np.float64]:
    """Shares of the clusters in each of PARTS parts of the order, (PARTS, K)."""
    return np.array([np.bincount(part, minlength=len(SIZES)) / len(part) for part in np.array_split(clusters_N, PARTS)])


def test_shares_are_those_of_the_papers_draws() -> None:
    expected = np.mean([_shares(_as_published(seed)) for seed in range(40)], axis=0)
    found = _shares(CLUSTERS[rounds(CLUSTERS, KEYS)])
    assert (0.5 * np.abs(found - expected).sum(axis=1)).mean() < 0.01
    assert found[-1].tolist() == [1.0, *[0.0] * 7]  # what is left in the end is the largest cluster alone


def test_every_document_has_one_place_and_chance_says_which() -> None:
    order_N = rounds(CLUSTERS, KEYS)
    assert np.array_equal(np.sort(order_N), np.arange(len(KEYS)))
    assert not np.array_equal(order_N, rounds(CLUSTERS, KEYS, seed=1))
    backwards_N = rounds(CLUSTERS[::-1], KEYS[::-1])  # where a document stood in the input says nothing
    assert np.array_equal(KEYS[order_N], KEYS[::-1][backwards_N])
    first_of_round = CLUSTERS[order_N[: 8 * 30 : 8]]
    assert len(np.unique(first_of_round)) > 4  # no cluster leads every round


def test_nothing_waits() -> None:
    assert rounds(np.zeros(0, np.int32), np.zeros(0, np.uint64)).tolist() == []
    order = CorpusOrder("g2s")
    order.decide(order.undecided(), np.zeros(0, np.int32))
    assert order.take().tolist() == []


def _line(schedule: Schedule, num_documents: int = 60) -> CorpusOrder:
    order = CorpusOrder(schedule)
    order.add(np.arange(num_documents), KEYS[:num_documents])
    return order


def _all(order: CorpusOrder) -> list[list[int]]:
    stretches = []
    while len(taken := order.take()):
        stretches.append(taken.tolist())
    return stretches


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_order, "STRETCH", 8)


def test_from_specific_to_general_is_the_reverse() -> None:
    orders = []
    for schedule in ("g2s", "s2g"):
        order = _line(schedule)
        order.decide(order.undecided(), CLUSTERS[:60])
        orders.append([doc_no for stretch in _all(order) for doc_no in stretch])
    assert orders[0] == orders[1][::-1]


@pytest.mark.parametrize("stretches", range(9))
def test_a_line_goes_on_where_it_stood(stretches: int) -> None:
    whole, kept = _line("g2s"), Kept()
    kept.commit(whole)
    whole.decide(whole.undecided(), CLUSTERS[:60])
    for _ in range(stretches):
        whole.take()
    kept.commit(whole)

    other = CorpusOrder("g2s")
    kept.restore(other)
    assert sorted(other.waiting()) == sorted(whole.waiting())
    assert len(other.undecided()) == 0
    assert _all(other) == _all(whole)


def test_documents_that_come_later_stand_behind_and_those_that_are_removed_leave_no_gap() -> None:
    order = _line("g2s")
    order.decide(order.undecided(), CLUSTERS[:60])
    first = order.take().tolist()
    order.add(np.arange(100, 104), KEYS[100:104])
    gone = [doc_no for doc_no in order.waiting() if doc_no < 60][:20]
    for doc_no in [*gone, 101, 999]:
        order.remove(doc_no)
    order.decide(order.undecided(), CLUSTERS[[100, 102, 103]])

    rest = _all(order)
    assert sorted(first + gone + [doc_no for stretch in rest for doc_no in stretch]) == [*range(60), 100, 102, 103]
    assert {100, 102, 103}.isdisjoint(rest[0])


def test_without_a_schedule_any_more_they_go_out_as_they_came() -> None:
    kept = Kept()
    kept.commit(_line("g2s"))
    static = CorpusOrder("static")
    kept.restore(static)
    static.decide(static.undecided(), CLUSTERS[:60])
    assert [doc_no for stretch in _all(static) for doc_no in stretch] == list(range(60))
