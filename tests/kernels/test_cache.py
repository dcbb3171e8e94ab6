"""Compiled kernels that are kept are those of the sources that are there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kernels
from kernels import cache

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


def called(place: Path, value: int, cache: Path) -> list[int]:
    """Result of the caller in a clone of the sources, and how often it was found compiled."""
    folder = place / "kernels"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("__init__.py", "cache.py"):
        shutil.copy(Path(kernels.__file__).with_name(name), folder)
    (folder / "caller.py").write_text(CALLER)
    (folder / "callee.py").write_text(CALLEE.format(value=value))
    code = "from kernels.caller import twice; print(twice(), sum(twice.stats.cache_hits.values()))"
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1", "XDG_CACHE_HOME": str(cache)}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=place, env=environment
    )
    return [int(number) for number in done.stdout.split()]


def test_a_kernel_is_compiled_anew_when_one_that_it_calls_changed(tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    assert called(tmp_path, 1, cache) == [2, 0]
    assert called(tmp_path, 1, cache) == [2, 1]
    assert called(tmp_path, 5, cache) == [10, 0]


def test_another_clone_of_the_same_sources_finds_them_compiled(tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    assert called(tmp_path / "one", 1, cache) == [2, 0]
    assert called(tmp_path / "other", 1, cache) == [2, 1]
    assert not (tmp_path / "one" / "kernels" / "__pycache__").exists()


def test_without_a_home_that_can_be_written_they_are_kept_beside_the_sources(tmp_path: Path) -> None:
    no_folder = tmp_path / "file"
    no_folder.touch()

    assert called(tmp_path, 1, no_folder) == [2, 0]
    assert called(tmp_path, 1, no_folder) == [2, 1]


def test_the_compiled_kernels_of_the_latest_sources_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "curatord"
    for number in range(12):
        (place / f"kernels-{number}").mkdir(parents=True)
        os.utime(place / f"kernels-{number}", (number, number))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache.shared_folder.cache_clear()
    try:
        folder = cache.shared_folder()
        assert folder is not None
        names = {each.name for each in place.iterdir()}
    finally:
        monkeypatch.undo()
        cache.shared_folder.cache_clear()

    assert names == {folder.name, *(f"kernels-{number}" for number in range(13 - cache.MAX_KEPT, 12))}
