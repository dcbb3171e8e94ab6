"""A process of several must say which it is."""

from __future__ import annotations

import pytest

from curatord.ranks import rank_and_world


def test_without_both_there_is_one_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert rank_and_world(None, None) == (0, 1)
    assert rank_and_world(2, 3) == (2, 3)


@pytest.mark.parametrize(("rank", "world"), [(0, None), (None, 2), (2, 2), (-1, 2)])
def test_half_a_place_and_one_outside_are_refused(rank: int | None, world: int | None) -> None:
    with pytest.raises(ValueError, match="give both, with 0 <= rank < world"):
        rank_and_world(rank, world)


def test_one_of_several_launched_processes_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(ValueError, match="one of 8 processes"):
        rank_and_world(None, None)
