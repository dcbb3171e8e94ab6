"""How many seeds to run."""

from __future__ import annotations

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a seed; fewer where each writes snapshots, which take most of the time."""
    num_seeds = metafunc.config.getoption("--simulations")
    for name, count in (("simulation_seed", num_seeds), ("snapshot_seed", -(-num_seeds // 4))):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, range(count))
