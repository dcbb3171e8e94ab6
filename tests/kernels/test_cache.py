"""Compiled kernels that are kept are those of the sources that are there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import kernels

CALLER = """
from numba import njit
from kernels.callee import value

@njit(cache=True)
def twice():
    return 2 * value()
"""
CALLEE = """
from numba import njit

@njit(cache=True)
def value():
    return {value}
"""


def test_a_kernel_is_compiled_anew_when_one_that_it_calls_changed(tmp_path: Path) -> None:
    folder = tmp_path / "kernels"
    folder.mkdir()
    for name in ("__init__.py", "cache.py"):
        shutil.copy(Path(kernels.__file__).with_name(name), folder)
    (folder / "caller.py").write_text(CALLER)

    def called(value: int) -> list[int]:
        """Result of the caller, and how often it was found compiled."""
        (folder / "callee.py").write_text(CALLEE.format(value=value))
        code = "from kernels.caller import twice; print(twice(), sum(twice.stats.cache_hits.values()))"
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("NUMBA_CACHE_DIR", None)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
        )
        return [int(number) for number in done.stdout.split()]

    assert called(1) == [2, 0]
    assert called(1) == [2, 1]
    assert called(5) == [10, 0]
