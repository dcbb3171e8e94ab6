"""How many seeds to run."""

from __future__ import annotations

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a seed."""
    if "simulation_seed" in metafunc.fixturenames:
        metafunc.parametrize("simulation_seed", range(metafunc.config.getoption("--simulations")))
