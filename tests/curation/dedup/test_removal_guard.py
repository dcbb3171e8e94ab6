"""The guard raises an alarm when a source loses far more than it used to, and not otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from curation.dedup import removal_guard
from curation.dedup.removal_guard import RemovalGuard
from state.epoch import RemovalSurge
from tests.kept import Kept, changes_of


def removals(rate: float, count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(count) < rate


def guard_of_100() -> RemovalGuard:
    return RemovalGuard(window_documents=100, max_excess=0.25)


def test_a_source_that_suddenly_loses_most_documents_is_reported_once_per_window() -> None:
    guard = guard_of_100()
    assert guard.observe(["wiki"] * 1000, removals(0.1, 1000)) == []
    surges = guard.observe(["wiki"] * 200, np.ones(200, np.bool_))
    assert [surge.source for surge in surges] == ["wiki", "wiki"]
    assert surges[0].rate == 1.0
    assert surges[0].usual_rate == pytest.approx(0.1, abs=0.04)


def test_a_source_that_always_loses_much_is_not_reported_and_others_do_not_hide_it() -> None:
    guard = guard_of_100()
    sources = ["mirror", "news"] * 2000
    removed_B = np.where(np.arange(4000) % 2 == 0, removals(0.8, 4000, 1), removals(0.05, 4000, 2))
    assert guard.observe(sources, removed_B) == []
    removed_B[1::2] = removals(0.6, 2000, 3)
    assert {surge.source for surge in guard.observe(sources, removed_B)} == {"news"}


def test_a_lasting_change_becomes_usual() -> None:
    guard = guard_of_100()
    guard.observe(["a"] * 1000, np.zeros(1000, np.bool_))
    surges = guard.observe(["a"] * 5000, removals(0.5, 5000))
    assert 1 <= len(surges) <= 10
    assert guard.observe(["a"] * 2000, removals(0.5, 2000, 4)) == []


def test_the_first_windows_of_a_source_are_never_reported() -> None:
    assert guard_of_100().observe(["new"] * 200, np.arange(200) >= 100) == []


def test_a_window_that_was_made_shorter_in_the_middle_of_one_closes_all_the_same() -> None:
    guard, shorter = guard_of_100(), RemovalGuard(window_documents=50, max_excess=0.25)
    guard.observe(["a"] * 580, np.zeros(580, np.bool_))
    kept = Kept()
    kept.commit(guard)
    kept.restore(shorter)

    assert [surge.rate for surge in shorter.observe(["a"] * 51, np.ones(51, np.bool_))] == [1.0]


@pytest.mark.parametrize("cut", [1, 37, 100, 999])
def test_replayed_changes_give_the_same_surges_and_the_same_later_changes(cut: int) -> None:
    sources = [f"source{i % 3}" for i in range(3000)]
    removed_B = np.concatenate((removals(0.1, 1500), removals(0.7, 1500)))
    steady, kept = guard_of_100(), Kept()
    surges = []
    for first in range(0, 1500, cut):
        end = min(first + cut, 1500)
        surges += steady.observe(sources[first:end], removed_B[first:end])
        kept.commit(steady)
    restored = guard_of_100()
    kept.restore(restored)
    later = steady.observe(sources[1500:], removed_B[1500:])
    assert restored.observe(sources[1500:], removed_B[1500:]) == later != []
    assert changes_of(restored) == changes_of(steady)
    assert surges + later == guard_of_100().observe(sources, removed_B)


def test_the_number_of_sources_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal_guard, "MAX_SOURCES", 5)
    guard = guard_of_100()
    guard.observe([f"source{i}" for i in range(500)], np.zeros(500, np.bool_))
    keys = [key for _, key, _ in changes_of(guard)]
    assert len(keys) == 6
    assert removal_guard.OTHER_SOURCES.encode() in keys


def test_a_surge_names_source_and_rates() -> None:
    surge = RemovalSurge(source="wiki", rate=0.9, usual_rate=0.1)
    assert (surge.source, surge.rate, surge.usual_rate) == ("wiki", 0.9, 0.1)
