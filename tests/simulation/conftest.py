"""How many seeds to run, and what is left of each."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

MANY = 1000


@pytest.fixture(autouse=True)
def lanes_are_gone() -> Iterator[None]:
    """A lane that crashed in a simulation keeps its files open until it is collected."""
    yield
    gc.collect()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a seed; fewer where each writes snapshots, which take most of the time, or tells what others do, too."""
    num_seeds = metafunc.config.getoption("--simulations")
    few = -(-num_seeds // 4)
    for name, count in (
        ("simulation_seed", num_seeds),
        ("snapshot_seed", few),
        ("prepared_seed", num_seeds if num_seeds >= MANY else few),
    ):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, range(count))
