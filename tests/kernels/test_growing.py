"""Arrays that grow where they stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kernels.growing import GrowingArray

ROOT = Path(__file__).parents[2]


def test_what_was_written_stays_and_new_rows_are_zero() -> None:
    array = GrowingArray(np.uint32, (3,))
    for rows in range(1, 50_000, 4_000):
        before = array.values.copy()
        array.grow(rows)
        assert (array.values[: len(before)] == before).all()
        assert not array.values[len(before) :].any()
        array.values[:] = np.arange(rows)[:, None]

    assert array.values.flags.c_contiguous
    assert array.values.flags.writeable


def test_an_array_with_a_view_grows_beside_it() -> None:
    array = GrowingArray(np.int64)
    array.grow(10)
    array.values[:] = 7
    view = array.values

    array.grow(100_000)

    assert array.values[:10].tolist() == [7] * 10
    assert not array.values[10:].any()
    assert view.tolist() == [7] * 10


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_growing_in_steps_leaves_nothing_behind_in_a_process_that_keeps_freed_memory() -> None:
    code = """
import numpy as np
from kernels.growing import GrowingArray
from ops.memory import keep_freed_memory
def resident():
    return 4096 * int(open("/proc/self/statm").read().split()[1])
keep_freed_memory()
arrays = [GrowingArray(np.uint64) for _ in range(4)]
before, rows = resident(), 1000
while rows < 2_000_000:
    for array in arrays:
        array.grow(rows)
        array.values[:] = 1
    rows += rows // 4
print((resident() - before) / sum(array.values.nbytes for array in arrays))
"""

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert float(done.stdout) < 1.1
