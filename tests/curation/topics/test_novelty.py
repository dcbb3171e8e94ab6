"""Novelty: unusual documents wait in bounded queues; the share that is unusual is the same for all vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from curation.topics.cluster_features import Features
from curation.topics.novelty import AGREEMENT, MAX_OUTLIERS, MAX_RECENT, NUM_BINS, Novelty, Worth, found_in_tick
from curation.vectors.teacher import unit_vectors
from kernels.novelty import Known, join
from kernels.products import dots, products, row_products
from tests.kept import Kept

DIMENSION = 24
FOUND_DOCUMENTS = 4


def test_nothing_is_novel_before_anything_is_known() -> None:
    assert Novelty().thresholds() == (-2.0, -2.0)


@pytest.mark.parametrize(("centre", "spread"), [(0.5, 0.1), (0.9, 0.02), (-0.2, 0.2)])
def test_a_fifth_is_novel_and_a_twentieth_an_outlier_for_any_similarities(centre: float, spread: float) -> None:
    rng = np.random.default_rng(0)
    novelty = Novelty()
    for _ in range(20):
        novelty.observe(np.clip(rng.normal(centre, spread, 512), -1, 1))

    novel, outlier = novelty.thresholds()

    similarities = np.clip(rng.normal(centre, spread, 100_000), -1, 1)
    bin_share = float((np.abs(similarities - novel) < 2 / NUM_BINS).mean())
    assert abs((similarities < novel).mean() - 0.20) < 0.02 + bin_share
    assert abs((similarities < outlier).mean() - 0.05) < 0.02 + bin_share


def test_the_usual_similarity_fades() -> None:
    novelty = Novelty()
    novelty.observe(np.full(512, 0.9))
    for _ in range(500):
        novelty.observe(np.full(512, 0.1))

    assert novelty.thresholds()[0] < 0.2


class Reference:
    """The loop in plain Python: queues are dicts, and every cluster is asked."""

    def __init__(self) -> None:
        self.queues: tuple[dict[int, NDArray[np.float32]], ...] = ({}, {})
        self.next_number = self.first_of_tick = self.num_left = 0

    def waiting(self) -> list[int]:
        return [*self.queues[1], *self.queues[0]]

    def take(
        self,
        embeddings_BD: NDArray[np.float32],
        nearest: tuple[NDArray[np.int64], NDArray[np.float32]],
        thresholds: tuple[float, float],
        worth: Worth,
        found: Callable[[NDArray[np.float64], int], tuple[int, NDArray[np.float32]]],
    ) -> list[bool]:
        slots_B, similarities_B = nearest
        waits, agreement = [False] * len(embeddings_BD), AGREEMENT * worth.usual_cohesion()
        for b in np.flatnonzero(similarities_B < thresholds[0]).tolist():
            if similarities_B[b] >= thresholds[0]:
                continue
            waiting = self.queues[1] | self.queues[0]
            agreeing = [
                n for n, vector in waiting.items() if products(embeddings_BD[b : b + 1], vector[None]) >= agreement
            ]
            # Newcomers stand behind all others, in the order of the tick.
            agreeing.sort(key=lambda n: (n >= self.first_of_tick, n if n >= self.first_of_tick else 0))
            if len(agreeing) + 1 >= FOUND_DOCUMENTS:
                members_MD = np.array([*(waiting[n] for n in agreeing), embeddings_BD[b]], np.float64)
                nearest = nearest_if_worth(members_MD, worth.known())
                if nearest is not None:
                    for number in agreeing:
                        self.queues[0].pop(number, None)
                        self.queues[1].pop(number, None)
                    slot, centre_D = found(members_MD, nearest)
                    for later in range(b, len(embeddings_BD)):
                        cosine = products(embeddings_BD[later : later + 1], centre_D[None])[0, 0]
                        if later == b or cosine > similarities_B[later]:
                            similarities_B[later], slots_B[later] = cosine, slot
                    continue
            waits[b] = True
            queue = self.queues[bool(similarities_B[b] < thresholds[1])]
            queue[self.next_number] = embeddings_BD[b]
            self.next_number += 1
            if len(queue) > (MAX_OUTLIERS if queue is self.queues[1] else MAX_RECENT):
                del queue[next(iter(queue))]
                self.num_left += 1
        return waits


def nearest_if_worth(members_MD: NDArray[np.float64], known: Known) -> int | None:
    """The nearest cluster if the members are worth one of their own, else None."""
    weight, sum_D, weights_K = float(len(members_MD)), members_MD.sum(axis=0), np.maximum(known.weights_K, 1e-9)
    cross_K = row_products(sum_D, known.sums_KD) / (weights_K * weight)
    own = (float(dots(sum_D, sum_D)) - weight) / (weight * (weight - 1.0))
    if (cross_K - (known.cohesions_K + own) / 2).max() >= -known.merge_gap:
        return None
    nearest = int(cross_K.argmax())
    other = float(weights_K[nearest])
    difference_D = sum_D / weight - known.sums_KD[nearest] / other
    saved = weight * other / (weight + other) * float(dots(difference_D, difference_D))
    return nearest if saved >= known.least_saved else None


class Founder:
    """Clusters that are founded and never learn."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.features = Features(DIMENSION)
        for cluster in range(3):
            self.features.append(cluster, around(rng, cluster, 40), np.full(40, -1))

    def found(self, members_MD: NDArray[np.float64], nearest: int) -> tuple[int, NDArray[np.float32]]:
        self.features.append(len(self.features), members_MD[:-1], np.full(len(members_MD) - 1, -1))
        return len(self.features) - 1, unit_vectors(members_MD.sum(axis=0)[None])[0]

    def worth(self, max_clusters: int) -> Worth:
        return Worth(self.features, max_clusters=max_clusters, merge_gap=0.02)


def around(rng: np.random.Generator, topic: int, count: int) -> NDArray[np.float32]:
    """Documents of a topic."""
    centre_D = np.random.default_rng(topic).normal(size=DIMENSION)
    return unit_vectors(
        centre_D / np.linalg.norm(centre_D) + rng.normal(size=(count, DIMENSION)) * 0.6 / DIMENSION**0.5
    )


@pytest.mark.parametrize("max_clusters", [100, 5])
def test_documents_wait_and_found_clusters_as_the_plain_loop_says(max_clusters: int) -> None:
    rng = np.random.default_rng(max_clusters)
    ours, theirs = Founder(np.random.default_rng(1)), Founder(np.random.default_rng(1))
    novelty, reference = Novelty(), Reference()
    kept = Kept()
    for tick in range(12):
        topics = rng.choice(30 if tick < 6 else 2000, 300)
        embeddings_BD = np.concatenate([around(rng, int(topic), 1) for topic in topics])
        cosines_BK = products(embeddings_BD, ours.features.centres())
        pairs = [(cosines_BK.argmax(axis=1), cosines_BK.max(axis=1)) for _ in range(2)]
        novelty.observe(pairs[0][1])
        reference.first_of_tick = reference.next_number
        expected = reference.take(
            embeddings_BD, pairs[0], novelty.thresholds(), theirs.worth(max_clusters), theirs.found
        )

        waits_B = found_in_tick(embeddings_BD, pairs[1], novelty, ours.worth(max_clusters), FOUND_DOCUMENTS, ours.found)

        assert waits_B.tolist() == expected
        assert pairs[1][0].tolist() == pairs[0][0].tolist()
        assert np.array_equal(pairs[1][1], pairs[0][1])
        assert novelty.numbers == reference.waiting()
        if tick % 3 == 2:  # a restart changes nothing
            kept.commit(novelty)
            novelty = Novelty()
            kept.restore(novelty)
            assert novelty.numbers == reference.waiting()
    assert len(ours.features) == len(theirs.features) > 3
    assert reference.num_left > 0


def test_a_new_embedding_empties_the_queues() -> None:
    novelty = Novelty()
    waiting = novelty.meet(np.ones((2, 4), np.float32))
    join(waiting, 0, 0)
    join(waiting, 1, 1)
    novelty.part(waiting, np.array([True, True]))
    novelty.observe(np.full(10, 0.5))
    assert novelty.numbers == [1, 0]  # outliers first

    novelty.forget()
    assert not novelty.numbers
    assert novelty.thresholds() == (-2.0, -2.0)
