"""Fixtures for all tests."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import curation.vectors.teacher
from tests.corpus import CORPORA

# The first example may compile a kernel; speed is measured in benchmarks, never here. Nothing is timed, the making of
# examples on a busy machine neither. Examples are always the same, so that a failure can be repeated anywhere;
# `make simulate` draws others.
for name, derandomize in (("default", True), ("random", False)):
    settings.register_profile(
        name, deadline=None, derandomize=derandomize, suppress_health_check=[HealthCheck.too_slow]
    )
settings.load_profile("default")

# Files of more than 20 s, longest first: one worker takes the next file when it is done with the one before, and both
# are to end together. The order is for speed alone.
LONGEST = (
    "tests/integration/test_service.py",
    "tests/simulation/test_simulation.py",
    "tests/integration/test_member.py",
    "tests/integration/test_failover.py",
    "tests/daemon/commands/test_again.py",
    "tests/daemon/commands/test_curate.py",
    "tests/integration/test_torture.py",
    "tests/integration/test_lane.py",
    "tests/integration/test_membership.py",
    "tests/simulation/test_set_aside.py",
    "tests/daemon/test_kill.py",
    "tests/daemon/test_set_aside.py",
    "tests/integration/test_commands.py",
    "tests/consumers/files/test_bombs.py",
    "tests/curation/vectors/test_teacher.py",
    "tests/simulation/test_feedback.py",
    "tests/integration/test_positions.py",
    "tests/integration/test_set_aside.py",
    "tests/integration/test_finish.py",
    "tests/state/test_snapshot.py",
    "tests/daemon/commands/test_losses.py",
    "tests/integration/test_slow_texts.py",
    "tests/integration/test_dead_letters.py",
    "tests/curatord/adapters/test_examples.py",
    "tests/curatord/adapters/test_ranks.py",
    "tests/consumers/test_hostile.py",
    "tests/test_contributing.py",
    "tests/daemon/stages/test_compose.py",
)

# A teacher takes a second to load: one of each kind for all tests of a process.
curation.vectors.teacher._open = {}  # type: ignore[assignment]

# Libraries start other threads, and keep them.
OURS = ("curatord", "kafka")

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make simulate` runs more seeds than `make test`."""
    parser.addoption("--simulations", type=int, default=50, help="seeds of the simulated world to run")


def pytest_configure() -> None:
    """Give Ctrl-C its meaning back, which a job in the background does not have, nor the processes that it starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first."""
    rank = {ROOT / path: place for place, path in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of development corpora, which a fresh clone elsewhere does not have.

    CURATORD_TEST_CORPORA names another place for it.
    """
    if CORPORA.is_dir():
        return CORPORA
    reason = f"the development corpora are not at {CORPORA}; set CURATORD_TEST_CORPORA to their folder"
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
