"""Weighing gives each document what its loss is multiplied by, and turns away what is beyond a band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from curation.batch import Tick
from curation.selection.reward_sources import ORDER, TARGET
from curation.selection.weighing import Band, Weighing, WeightsConfig
from curation.selection.weighing_facts import WEIGHED, weighed_document
from state.epoch import Epoch
from state.outcomes import LaterReason
from tests.kept import Kept

COUNTING = WeightsConfig(by=("commonness",), memory_mib=1, after_tokens=1)


def tick_of(first: int, num_tokens: Sequence[int], scores_BM: NDArray[np.float32] | None = None) -> Tick:
    size = len(num_tokens)
    return Tick(
        doc_nos_B=np.arange(first, first + size),
        keys_B=np.arange(first, first + size, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15),
        sources=("",) * size,
        languages=("en",) * size,
        num_tokens_B=np.array(num_tokens, np.int64),
        qualities_B=np.full(size, 0.5, np.float32),
        scores_BM=np.zeros((size, 0), np.float32) if scores_BM is None else scores_BM,
        embeddings_BD=np.zeros((size, 0), np.float32),
        clusters_B=np.zeros(size, np.int32),
        propensities_B=np.ones(size, np.float32),
        weights_B=np.ones(size, np.float32),
        policy_version=0,
    )


class Stream:
    """Ticks of forty documents; one in four is one of five pages with a word of its own."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._pages = [self._rng.integers(0, 4000, 200) for _ in range(5)]

    def tokens(self) -> list[NDArray[np.uint32]]:
        made = [self._rng.integers(0, 4000, 200) for _ in range(40)]
        for place in range(0, 40, 4):
            made[place] = self._pages[self._rng.integers(5)].copy()
            made[place][100] = self._rng.integers(0, 4000)
        return [array.astype(np.uint32) for array in made]


def weigh(weighing: Weighing, number: int, tokens: list[NDArray[np.uint32]], epoch: Epoch | None = None) -> object:
    tick = tick_of(40 * number, [len(array) for array in tokens])
    return weighing.weigh(tick, number, lambda doc_nos_B: tokens, epoch or Epoch(number=1, identity="{}"))


def test_a_weight_that_came_along_counts_and_one_that_did_not_is_one() -> None:
    scores_BM = np.array([[0.3, 2.5], [0.1, np.nan], [0.2, 0.0]], np.float32)
    assert Weighing(WeightsConfig(), names=("web", "weight")).given(scores_BM).tolist() == [2.5, 1.0, 0.0]
    assert Weighing(WeightsConfig(), names=("web",)).given(scores_BM[:, :1]).tolist() == [1.0, 1.0, 1.0]


def test_nothing_is_written_where_nothing_weighs() -> None:
    weighing, epoch = Weighing(WeightsConfig()), Epoch(number=1, identity="{}")
    judged = weighing.weigh(tick_of(0, [3, 4]), 0, lambda doc_nos_B: pytest.fail("no tokens are wanted"), epoch)
    assert (judged.weights_B == 1).all()
    assert Kept().commit(weighing, epoch=epoch) == []


def test_what_the_stream_had_before_counts_less_and_the_mean_of_a_token_is_one() -> None:
    weighing, stream, weights = Weighing(COUNTING), Stream(), []
    for number in range(20):
        judged = weigh(weighing, number, stream.tokens())
        weights.append(judged.weights_B)  # type: ignore[attr-defined]
    late = np.concatenate(weights[10:]).reshape(-1, 4)
    assert late[:, 0].max() < late[:, 1:].min()
    assert late.mean() == pytest.approx(1, abs=0.1)  # this stream becomes ever less new
    assert late.max() / late.min() <= 16 * 1.1  # each factor is between 1/4 and 4


def test_before_enough_was_counted_all_weigh_the_same_and_none_is_turned_away() -> None:
    config = WeightsConfig(by=("commonness",), memory_mib=1, after_tokens=50_000, perplexity=Band(max=1.0))
    weighing, stream = Weighing(config), Stream()
    judged = [weigh(weighing, number, stream.tokens()) for number in range(8)]
    assert all((one.weights_B == 1).all() and not one.turned_away for one in judged[:7])  # type: ignore[attr-defined]
    assert judged[7].turned_away[LaterReason.PERPLEXITY_TOO_HIGH].all()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"perplexity": Band(min=100.0)}, LaterReason.PERPLEXITY_TOO_LOW),
        ({"perplexity": Band(max=1e9), "entropy": Band(max=5.0)}, LaterReason.ENTROPY_TOO_HIGH),
        ({"entropy": Band(min=50.0)}, LaterReason.ENTROPY_TOO_LOW),
    ],
)
def test_a_band_turns_away_what_is_beyond_it_and_the_fact_says_so(
    options: dict[str, Band], reason: LaterReason
) -> None:
    weighing, stream, epoch = (
        Weighing(WeightsConfig(memory_mib=1, after_tokens=1, **options)),
        Stream(),
        Epoch(number=1, identity="{}"),
    )
    for number in range(10):
        judged = weigh(weighing, number, stream.tokens(), epoch)
    turned_away_B = judged.turned_away[reason]  # type: ignore[attr-defined]
    copies_B = np.arange(40) % 4 == 0
    assert (turned_away_B == (copies_B if options == {"perplexity": Band(min=100.0)} else True)).all()
    kept = Kept()
    kept.commit(weighing, epoch=epoch)
    fact = WEIGHED.get(kept, 9)
    assert fact is not None
    found = weighed_document(fact, 40 * 9)
    assert found is not None
    assert found.turned_away == reason


def test_a_weight_stays_finite() -> None:
    weighing, stream = Weighing(COUNTING), Stream()
    for number in range(3):
        tick = replace(tick_of(40 * number, [200] * 40), weights_B=np.full(40, 3e38, np.float32))
        judged = weighing.weigh(tick, number, lambda doc_nos_B: stream.tokens(), Epoch(number=1, identity="{}"))
        assert np.isfinite(judged.weights_B).all()


def test_a_band_that_would_keep_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing would be kept"):
        Band(min=5, max=2)


def test_the_target_multiplies_and_several_factors_do_together() -> None:
    scores_BM = np.array([[1.0, 0.0], [3.0, 0.0], [np.nan, np.nan], [99.0, 0.0]], np.float32)
    config = WeightsConfig(by=("target",), most=8.0)
    weighing = Weighing(config, names=(TARGET, ORDER), target_scale=(1.0, 2.0))
    judged = weighing.weigh(tick_of(0, [10] * 4, scores_BM), 0, lambda doc_nos_B: [], Epoch(number=1, identity="{}"))
    products = np.array([1.0, np.e, 1.0, 8.0])
    assert judged.weights_B == pytest.approx(products / products.mean(), rel=1e-6)


def test_a_restart_changes_nothing() -> None:
    whole, again, kept = Weighing(COUNTING), Weighing(COUNTING), Kept()
    streams = Stream(3), Stream(3)
    for number in range(9):
        one = weigh(whole, number, streams[0].tokens())
        epoch = Epoch(number=1, identity="{}")
        other = weigh(again, number, streams[1].tokens(), epoch)
        assert np.array_equal(one.weights_B, other.weights_B)  # type: ignore[attr-defined]
        kept.commit(again, epoch=epoch)
        again = Weighing(COUNTING)
        kept.restore(again)
