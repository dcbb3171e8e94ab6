"""Strata: rewards within them, and the least share that each keeps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from curation.selection import strata
from curation.selection.bandit import Bandit, BanditConfig
from curation.selection.strata import Strata, strata_of
from tests.kept import Kept

EN_WEB, DE_LAWS = strata_of(["en", "de"], ["web", "laws"])


def decide(bandit: Bandit, ticks: range) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A stream in which laws, in a cluster of their own, are rewarded far less than the web."""
    for tick in ticks:
        rng = np.random.default_rng(tick)
        laws_B = rng.random(512) < 0.2
        names_B = np.where(laws_B, DE_LAWS, EN_WEB).tolist()
        clusters_B = np.where(laws_B, 9, rng.integers(0, 6, 512)).astype(np.int32)
        num_tokens_B = rng.integers(50, 1_000, 512)
        admission = bandit.sample(clusters_B, rng.integers(0, 2**63, 512).astype(np.uint64), num_tokens_B, names_B)
        bandit.learn(clusters_B, np.where(laws_B, -2.0, clusters_B * 0.1) + rng.normal(0, 0.3, 512))
        bandit.tick()
        yield laws_B, num_tokens_B, admission.admitted_B


def shares(floor: float | None, keep_ratio: float, default: float = 0.0) -> tuple[float, float]:
    """Of the tokens of laws, and of all."""
    config = BanditConfig(enabled=True, reward=("rules",), source_floor=floor, keep_ratio=keep_ratio)
    laws, tokens, admitted = zip(*decide(Bandit(config, source_floor=default), range(60)), strict=True)
    laws_N, tokens_N, admitted_N = np.concatenate(laws), np.concatenate(tokens), np.concatenate(admitted)
    of_laws = tokens_N[laws_N & admitted_N].sum() / tokens_N[laws_N].sum()
    return float(of_laws), float(tokens_N[admitted_N].sum() / tokens_N.sum())


@pytest.mark.parametrize(
    ("floor", "keep_ratio", "default", "least"),
    [(None, 0.7, 0.5, 0.5), (0.3, 0.5, 0.5, 0.3), (None, 0.4, 0.5, 0.4), (0.9, 0.5, 0.0, 0.5)],
)
def test_a_stratum_keeps_its_least_share_and_the_whole_its_ratio(
    floor: float | None, keep_ratio: float, default: float, least: float
) -> None:
    of_laws, of_all = shares(floor, keep_ratio, default)
    assert of_laws == pytest.approx(least, abs=0.01)
    assert of_all == pytest.approx(keep_ratio, abs=0.01)


def test_without_a_least_share_a_stratum_may_be_dropped() -> None:
    of_laws, of_all = shares(0.0, 0.5, 0.5)
    assert of_laws < 0.1
    assert of_all == pytest.approx(0.5, abs=0.01)


def test_values_are_in_standard_deviations_of_their__its_level() -> None:
    rng, kept = np.random.default_rng(0), Strata(1.0, least=0.0)
    values = {EN_WEB: list[float](), DE_LAWS: list[float]()}
    for _ in range(40):
        names_B = rng.choice([EN_WEB, DE_LAWS], 100).tolist()
        values_B = rng.normal(0, 1, 100) * [0.1 if name == EN_WEB else 3.0 for name in names_B]
        values_B += [5.0 if name == EN_WEB else -70.0 for name in names_B]
        values_B[7] = np.nan
        standard_B = kept.standardised(names_B, values_B, "rules")
        assert np.isnan(standard_B[7])
        for name, value in zip(names_B, standard_B.tolist(), strict=True):
            values[name] += [value] if np.isfinite(value) else []
    for standard in values.values():
        assert np.mean(standard) == pytest.approx(0, abs=0.1)
        assert np.std(standard) == pytest.approx(1, abs=0.1)


def test_equal_values_say_nothing() -> None:
    kept = Strata(0.99, least=0.0)
    for _ in range(3):
        assert kept.standardised([EN_WEB] * 4, np.full(4, 0.1), "rules").tolist() == [0.0] * 4
        kept.clock += 4


def test_strata_go_on_after_a_restart_to_the_last_bit() -> None:
    config = BanditConfig(enabled=True, reward=("rules",), source_floor=0.5)
    straight = [admitted.tobytes() for _, _, admitted in decide(Bandit(config), range(12))]
    bandit, kept, again = Bandit(config), Kept(), list[bytes]()
    for tick in range(12):
        again += [admitted.tobytes() for _, _, admitted in decide(bandit, range(tick, tick + 1))]
        bandit.strata.standardised([EN_WEB, DE_LAWS], np.array([1.0, 2.0]), "rules")
        kept.commit(bandit)
        bandit = Bandit(config)
        kept.restore(bandit)
        assert kept.commit(bandit) == []
    assert again == straight
    assert len(kept.families["strata"]) == 2


def test_the_stratum_that_was_silent_for_longest_is_forgotten_for_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strata, "MAX_STRATA", 3)
    kept, facts = Strata(0.999, least=0.5), Kept()
    for name in ("a", "b", "c", "a", "d"):
        kept.count([name], np.array([10]), np.array([True]))
        kept.clock += 1
    facts.commit(kept)
    assert sorted(facts.families["strata"]) == [b"a", b"c", b"d"]
