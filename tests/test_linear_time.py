"""Work grows as the bytes do, for any text in every stage: counted, never timed.

Counted are the instructions of our kernels and the calls of Python (tests/work.py), and the moves that are left to
CPython's normalisation, which is quadratic. Tokenizers that go through their own libraries have no counter here:
`python -m benchmarks linear-time` measures them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from kernels.nfc import MAX_RUN, with_ordered_runs
from tests.kernels.test_nfc import moves
from tests.shapes import SHAPES

NUM_BYTES = 4096
MAX_RATIO = 2.5  # of the work for twice the bytes
FIXED_CALLS = 500  # of Python, that a branch taken or not may cost
FIXED_INSTRUCTIONS = {"language": 1_000_000}  # of the second, larger sample, where the first leaves a doubt

QUADRATIC = """
from tests.work import count_kernels, work_of
count_kernels()
from numba import njit
import numpy as np

@njit(cache=False)
def equal_pairs(values):
    found = 0
    for i in range(len(values)):
        for j in range(i):
            found += values[i] == values[j]
    return found

equal_pairs(np.zeros(2, np.uint8))
count = lambda text: work_of(lambda text: equal_pairs(np.frombuffer(text.encode(), np.uint8)), text)[0]
print(count("a" * 1000), count("a" * 2000))
"""


def counting(tmp_path: Path, *arguments: str) -> str:
    """The output of a Python process whose kernels are compiled to be counted."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_OPT": "1"}
    folder = Path(__file__).parents[1]
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture(scope="module")
def cache(request: pytest.FixtureRequest) -> Path:
    """Where counted kernels stay from run to run."""
    assert request.config.cache is not None
    return request.config.cache.mkdir("counted-kernels")


def test_twice_the_bytes_are_never_more_than_two_and_a_half_times_the_work(cache: Path) -> None:
    found = json.loads(counting(cache, "-m", "tests.work", str(NUM_BYTES)))

    bent = []
    for stage, shapes in found.items():
        assert shapes.keys() == SHAPES.keys()
        fixed = FIXED_INSTRUCTIONS.get(stage, 0)
        for shape, counts in shapes.items():
            for (kernels, calls), (more_kernels, more_calls) in pairwise(counts):
                if more_kernels > MAX_RATIO * kernels + fixed or more_calls > MAX_RATIO * calls + FIXED_CALLS:
                    bent.append(f"{stage}, {shape}: {kernels:,} to {more_kernels:,}, calls {calls:,} to {more_calls:,}")
    assert len(SHAPES) >= 30
    # Eight stages of ours work through every text in kernels; those of fastokens are not counted.
    assert sum(counts[0][0] > NUM_BYTES for shapes in found.values() for counts in shapes.values()) > 7 * len(SHAPES)
    assert bent == []


def test_a_kernel_that_compares_all_pairs_is_seen(tmp_path: Path) -> None:
    once, twice = map(int, counting(tmp_path, "-c", QUADRATIC).split())

    assert once > 1000 * 1000 / 2
    assert 3.9 < twice / once < 4.1


@pytest.mark.parametrize("shape", SHAPES)
def test_no_text_leaves_python_more_than_thirty_moves_a_mark(shape: str) -> None:
    text = SHAPES[shape](NUM_BYTES)

    assert moves(with_ordered_runs(text)) <= MAX_RUN * len(text)
