from __future__ import annotations

import numpy as np
import pytest

from curation.selection.loss_shares import LEAST_SHARE, MAX_POINTS, LossShares, floored
from state.epoch import Epoch
from state.fact_table import gather_changes, restore_stages
from state.store import Store
from tests.curation.selection.power_laws import losses_after

PRIOR = {"a": 0.5, "b": 0.3, "c": 0.2}


def _heard(shares: LossShares, losses: dict[str, float], run: str = "run", targets: int = 1000) -> dict[str, float]:
    shares.observe(run, {name: (loss * targets, targets) for name, loss in losses.items()})
    return shares.step(PRIOR)


@pytest.mark.parametrize("seed", range(4))
def test_ado_is_better_than_natural_shares(seed: int) -> None:
    """All twenty draws: `benchmarks/loss_shares.py`."""
    ours, natural = losses_after("ado", seed, steps=200), losses_after(None, seed, steps=200)
    assert ours[0] < natural[0]
    assert ours[1] < natural[1]


def test_without_losses_shares_are_natural() -> None:
    assert LossShares("ado", {}).step(PRIOR) == PRIOR


def test_a_domain_that_no_loss_tells_of_keeps_its_natural_share() -> None:
    shares = LossShares("odm", {})
    for _ in range(5):
        found = _heard(shares, {"a": 3.0, "b": 1.0})
    assert found["c"] == pytest.approx(0.2)
    assert found["a"] > found["b"]
    assert sum(found.values()) == pytest.approx(1)


def test_doremi_gives_more_where_the_loss_is_above_that_of_the_reference() -> None:
    shares = LossShares("doremi", {"a": 2.0, "b": 2.0, "c": 2.0})
    for _ in range(30):
        found = _heard(shares, {"a": 2.0, "b": 3.0, "c": 1.0})
    assert found["b"] > 0.5
    assert found["a"] / found["c"] == pytest.approx(2.5)


def test_velocitune_gives_more_where_the_way_to_the_target_is_long() -> None:
    shares = LossShares("velocitune", {"a": 1.0, "b": 1.0, "c": 1.0})
    _heard(shares, {"a": 3.0, "b": 3.0, "c": 3.0})
    before = shares.shares
    for _ in range(20):
        found = _heard(shares, {"a": 1.0, "b": 3.0, "c": 2.0})
    assert found["b"] > before["b"]
    assert found["a"] < before["a"]


def test_no_share_is_below_the_least_one() -> None:
    shares = LossShares("doremi", {"a": 0.0, "b": 9.0, "c": 9.0})
    for _ in range(200):
        found = _heard(shares, {"a": 5.0, "b": 1.0, "c": 1.0})
    assert min(found.values()) == pytest.approx(LEAST_SHARE)
    assert min(floored(dict.fromkeys(map(str, range(500)), 1.0)).values()) == pytest.approx(1 / 500)


def test_a_second_run_is_heard_when_the_first_was_silent_for_long() -> None:
    shares = LossShares("odm", {})
    alone = _heard(shares, {"a": 1.0, "b": 2.0, "c": 3.0}, "first")
    assert _heard(shares, {"a": 9.0, "b": 1.0, "c": 1.0}, "second") == alone
    for _ in range(600):
        shares.observe("second", {"a": (9000.0, 1000)})
    for _ in range(10):
        found = _heard(shares, {"a": 9.0, "b": 1.0, "c": 1.0}, "second")
    assert found["a"] > found["b"] == found["c"]


def test_clusters_hand_on_their_shares() -> None:
    prior = {"cluster:1": 0.6, "cluster:2": 0.4}
    shares = LossShares("ado", {})
    for step in range(20):
        shares.observe("run", dict.fromkeys(prior, ((5 - 0.1 * step) * 100, 100)))
        before = shares.step(prior)
    shares.split(1, [1, 7])
    assert shares.shares["cluster:1"] == shares.shares["cluster:7"] == before["cluster:1"] / 2
    shares.merged(2, [1, 7])
    assert shares.shares == {"cluster:2": pytest.approx(1.0)}
    assert shares.step({"cluster:2": 0.9, "cluster:9": 0.1})["cluster:9"] == 0.1


def test_a_curve_keeps_its_shape_in_bounded_memory() -> None:
    shares = LossShares("ado", {})
    for step in range(1, 1000):
        _heard(shares, dict.fromkeys(PRIOR, 2 + 30 * (1000 * step) ** -0.3))
    domain = shares.tables()[1]["a"]  # type: ignore[index]
    assert len(domain.losses) <= MAX_POINTS
    assert sum(domain.weights) == 999
    expected = 2 + 30 * np.array(domain.amounts) ** -0.3
    np.testing.assert_allclose(domain.losses[8:], expected[8:], rtol=0.02)


@pytest.mark.parametrize("rule", ["ado", "odm", "doremi", "velocitune"])
def test_a_restart_anywhere_changes_nothing(tmp_path, rule) -> None:
    losses, rng = {"a": 1.0, "b": 1.5, "c": 1.2}, np.random.default_rng(0)
    messages = [{name: float(3 + rng.normal(0, 0.1) - 0.02 * n) for name in PRIOR} for n in range(80)]
    through = LossShares(rule, losses)
    expected = [_heard(through, message) for message in messages]
    store, restarted, found = Store(tmp_path), LossShares(rule, losses), []
    for number, message in enumerate(messages):
        found.append(_heard(restarted, message))
        epoch = Epoch(number=number + 1, identity="")
        gather_changes((restarted,), epoch)
        store.apply(epoch.changes())
        restarted = LossShares(rule, losses)
        restore_stages((restarted,), store)
    store.close()
    assert found == expected
