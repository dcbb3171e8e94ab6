"""Fixtures for all tests."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The first example may compile a kernel; speed is measured in benchmarks, never here. In CI examples are always the
# same, so that a failure there can be repeated anywhere.
# Nothing is timed, the making of examples on a busy machine neither.
settings.register_profile(
    "default",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("default")

# Libraries start other threads, and keep them.
OURS = ("curatord", "kafka")

CORPORA = Path(__file__).parents[2] / "shared" / "corpora"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make simulate` runs more seeds than `make test`."""
    parser.addoption("--simulations", type=int, default=50, help="seeds of the simulated world to run")


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of development corpora, which a fresh clone elsewhere does not have.

    CURATORD_TEST_CORPORA names another place for it.
    """
    folder = Path(os.environ.get("CURATORD_TEST_CORPORA", CORPORA))
    if folder.is_dir():
        return folder
    reason = f"the development corpora are not at {folder}; set CURATORD_TEST_CORPORA to their folder"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module", autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """A thread that outlives its test file spoils tests of other files, far from the cause.

    A client of Kafka that looks for its brokers draws from `random`, for one, which hypothesis takes for the doing of
    the test that it runs.
    """
    before = set(threading.enumerate())
    yield
    gc.collect()  # a stream that was dropped ends its thread
    deadline = time.monotonic() + 30
    while left := [thread for thread in set(threading.enumerate()) - before if thread.name.startswith(OURS)]:
        if time.monotonic() > deadline:
            frames = sys._current_frames()
            stacks = ["".join(traceback.format_stack(frames[t.ident])) for t in left if t.ident in frames]
            pytest.fail("\n".join([f"{[thread.name for thread in left]} still run:", *stacks]))
        time.sleep(0.02)
