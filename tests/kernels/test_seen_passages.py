"""Filters of passages: nothing that came is missed, little that did not is found, and turns forget."""

from __future__ import annotations

import numpy as np

from kernels.seen_passages import BROUGHT, NOT_TAKEN, TAKEN_AGAIN, capacity_of, judge_documents, take_rows

NO_LIFTED = np.zeros(0, np.uint64), np.zeros(0, np.bool_)


class Filters:
    """Two filters, and what they say of documents of one fingerprint each."""

    def __init__(self, num_words: int) -> None:
        self.filters_2W = np.zeros((2, num_words), np.uint64)
        self.counts_2 = np.zeros(2, np.int64)

    def judge(
        self, hashes: np.ndarray, limit: float = 1.0, lifted: tuple[np.ndarray, np.ndarray] = NO_LIFTED
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        count = len(hashes)
        seen_F, fates_F, shares_B = np.zeros(count, np.bool_), np.zeros(count, np.uint8), np.zeros(count, np.float32)
        judge_documents(
            *(hashes, np.zeros(count, np.uint32), np.arange(count + 1), np.full(count, 50, np.int32), 50),
            *(np.full(count, limit), self.filters_2W, self.counts_2, *lifted, seen_F, fates_F, shares_B),
        )
        return seen_F, fates_F, shares_B


def drawn(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 63, count, dtype=np.uint64) * np.uint64(2)


def test_full_filters_miss_nothing_and_find_one_in_ten_thousand_that_never_came() -> None:
    filters = Filters(1 << 15)
    capacity = capacity_of(1 << 15)
    taken = drawn(1, 2 * capacity - 1)  # one filter full, and the other all but one
    first_seen, _, _ = filters.judge(taken)

    assert filters.counts_2.tolist() == [1, capacity - 1]
    assert first_seen.mean() < 1e-4
    others = drawn(2, 1_000_000)
    before = filters.filters_2W.copy(), filters.counts_2.copy()
    seen, _, _ = filters.judge(others, limit=-1.0)  # none is taken
    assert (filters.filters_2W == before[0]).all()
    assert (filters.counts_2 == before[1]).all()
    assert seen.mean() <= 1e-4
    assert filters.judge(taken, limit=-1.0)[0].all()


def test_what_does_not_come_for_two_turns_is_forgotten_and_what_comes_stays() -> None:
    filters = Filters(64)
    capacity = capacity_of(64)
    lasting, once = drawn(1, 1), drawn(2, 1)
    filters.judge(np.concatenate((lasting, once)))
    for turn in range(6):
        filters.judge(drawn(10 + turn, capacity - 1))
        seen, fates, _ = filters.judge(lasting)
        assert seen.all()
        assert fates[0] in (NOT_TAKEN, TAKEN_AGAIN)
    assert filters.counts_2[0] >= 5
    assert not filters.judge(once)[0].any()


def test_a_document_is_measured_before_it_is_taken_and_by_the_words_of_its_grams() -> None:
    filters = Filters(64)
    hashes = drawn(3, 3)
    firsts = np.array([0, 20, 200], np.uint32)
    outputs = np.zeros(3, np.bool_), np.zeros(3, np.uint8), np.zeros(1, np.float32)
    whole = hashes, firsts, np.array([0, 3]), np.array([240], np.int32), 50, np.array([1.0])
    judge_documents(*whole, filters.filters_2W, filters.counts_2, *NO_LIFTED, *outputs)
    assert outputs[2].tolist() == [0.0]
    assert outputs[1].tolist() == [BROUGHT] * 3

    judge_documents(*whole, filters.filters_2W, filters.counts_2, *NO_LIFTED, *outputs)
    assert outputs[0].all()
    assert outputs[2][0] == np.float32((70 + 40) / 240)


def test_lifted_fingerprints_are_new_once() -> None:
    filters = Filters(1024)
    hashes = drawn(4, 50)
    filters.judge(hashes)
    lifted = np.sort(hashes[:10]), np.ones(10, np.bool_)

    seen, fates, _ = filters.judge(np.concatenate((hashes, hashes)), lifted=lifted)

    assert seen.tolist() == [False] * 10 + [True] * 90
    assert (fates[:10] == BROUGHT).all()
    assert not lifted[1].any()


def test_rows_taken_again_give_the_same_filters() -> None:
    filters = Filters(64)
    rows = []
    for seed in range(40):
        before = filters.counts_2.copy()
        hashes = drawn(seed, 7)
        _, fates, _ = filters.judge(hashes)
        taken = fates != NOT_TAKEN
        rows.append((before, hashes[taken], taken.astype(np.int64)))

    again = Filters(64)
    newest = int(filters.counts_2[0])
    for before, hashes, counts in rows:
        take_rows(hashes, counts, again.filters_2W, newest, before)

    assert newest > 1
    assert (again.filters_2W == filters.filters_2W).all()
    assert (before == filters.counts_2).all()
