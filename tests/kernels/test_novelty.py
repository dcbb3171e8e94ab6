"""Queues are bounded, and a candidate stops the loop where those that agree with it are alike to no cluster."""

from __future__ import annotations

import numpy as np

from kernels.novelty import Known, Waiting, join, wait_until_agreed


def empty(num_columns: int, limits: tuple[int, int] = (2, 3), dimension: int = 4) -> Waiting:
    return Waiting(
        vectors_WD=np.zeros((num_columns, dimension), np.float32),
        waits_W=np.zeros(num_columns, np.bool_),
        queues_W=np.zeros(num_columns, np.uint8),
        oldest_2=np.zeros(2, np.int64),
        counts_2=np.zeros(2, np.int64),
        limits_2=np.array(limits),
    )


def test_the_oldest_of_a_full_queue_leaves_it_and_no_other() -> None:
    waiting = empty(8)
    for column, queue in enumerate([0, 1, 1, 0, 1, 0, 1, 0]):
        join(waiting, column, queue)
    assert np.flatnonzero(waiting.waits_W).tolist() == [2, 4, 5, 6, 7]
    assert waiting.counts_2.tolist() == [2, 3]


def known(*directions: int, least: float = -np.inf) -> Known:
    """Clusters of ten equal vectors along these axes."""
    return Known(
        np.full(len(directions), 10.0), np.eye(4)[list(directions)] * 10.0, np.ones(len(directions)), 0.02, least
    )


def agreement(clusters: Known, slot: int, found_documents: int) -> tuple[tuple[int, int], Waiting]:
    """The loop over three equal documents along the first axis."""
    waiting = empty(3)
    waiting.vectors_WD[:, 0] = 1.0
    agrees_CW, similarities_B = np.ones((3, 3), np.bool_), np.full(3, 0.1, np.float32)
    state = (0, np.arange(3), agrees_CW, similarities_B, np.full(3, slot), (0.5, 0.2), waiting)
    return wait_until_agreed(*state, clusters, found_documents), waiting


def test_the_loop_stops_where_enough_agree() -> None:
    found, waiting = agreement(known(1, 2), 0, found_documents=3)
    assert found == (2, 0)
    assert waiting.waits_W.tolist() == [True, True, False]
    assert waiting.queues_W[:2].tolist() == [1, 1]  # both are below the second threshold
    assert agreement(known(1, 2), 0, found_documents=4)[0] == (3, -1)


def test_those_that_are_alike_to_a_cluster_wait_whichever_it_is() -> None:
    for slot in range(6):
        assert agreement(known(1, 2, 3, 2, 0, 1), slot, found_documents=2)[0] == (3, -1)


def test_those_that_save_less_error_than_is_asked_for_wait() -> None:
    saved = 3 * 10 / 13 * 2  # two means at right angles
    assert agreement(known(1, 2, least=saved - 1e-6), 0, found_documents=3)[0] == (2, 0)
    assert agreement(known(1, 2, least=saved + 1e-6), 0, found_documents=3)[0] == (3, -1)


def test_the_parent_is_the_nearest_cluster_the_first_among_equals() -> None:
    clusters = known(1, 2, 3, 1, 2, 3)
    clusters.sums_KD[[2, 4], 0] = 5.0
    assert agreement(clusters, 5, found_documents=3)[0] == (2, 2)
