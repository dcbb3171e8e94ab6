"""The decoder of the benchmark of value: it learns, and curatord's scorer takes it for any other causal model."""

from __future__ import annotations

import numpy as np

from benchmarks.value import decoder
from curation.scoring.influence import Influence

VOCABULARY = 40


def _rows(first: int, number: int, seed: int) -> np.ndarray:
    """Rows that count up within ten tokens, from `first` on."""
    starts = np.random.default_rng(seed).integers(0, 10, number)[:, None]
    return (first + (starts + np.arange(17)) % 10).astype(np.int32)


def test_a_decoder_learns_what_it_is_trained_on_and_nothing_of_what_weighs_nothing() -> None:
    rows = np.concatenate([_rows(0, 200, 0), _rows(20, 200, 1)])[np.random.default_rng(2).permutation(400)]
    weights = np.where(rows < 20, 1.0, 0.0).astype(np.float32)
    model = decoder.train(rows, weights, VOCABULARY, seed=0)
    heeded, ignored = (sum(decoder.bits(model, list(_rows(first, 8, 3)), 17)) / 8 / 16 for first in (0, 20))
    assert heeded < 1.0
    assert ignored > 4.0


def test_influence_of_the_decoder_prefers_documents_of_the_kind_of_the_reference() -> None:
    training = decoder.Training(VOCABULARY, seed=0, rate=1.0, schedule=lambda step: 1.0)
    for step in range(20):
        rows = np.concatenate([_rows(0, 4, step), _rows(20, 4, 1000 + step)])
        training.step(rows, np.ones_like(rows, np.float32))
    alike, others = list(_rows(0, 12, 5)), list(_rows(20, 12, 6))
    influence = Influence(training.model)
    influence.fit([*alike, *others])
    influence.aim(list(_rows(0, 8, 7)))
    scores_B, losses_B = influence.score([*alike, *others])
    assert np.isfinite(losses_B).all()
    assert scores_B[:12].mean() > 3 * abs(scores_B[12:].mean())
