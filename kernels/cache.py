"""Compiled kernels and tables are kept on disk until any kernel changes, for every installation of a user.

A kernel is compiled into those that call it, from other files, too. numba looks only at the file of the kernel itself
(https://numba.readthedocs.io/en/stable/developer/caching.html, "Caching is not triggered by changes in other files"),
so after an upgrade a caller would go on with its old callees: old results, or a crash. What is kept here goes by the
sources of all kernels.

Compiling takes most of a minute, so it is done once a machine: the place is in the cache of the user, the same for all
virtual environments and clones with these sources. Without a home that can be written it is beside the sources.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from numba.core import config
from numba.core.caching import InTreeCacheLocator, UserProvidedCacheLocator

SOURCES = Path(__file__).parent
MAX_KEPT = 4  # sets of sources of which the compiled kernels stay


@functools.cache
def digest() -> bytes:
    """Of the sources of all kernels."""
    sources = hashlib.sha256()
    for path in sorted(SOURCES.glob("*.py")):
        sources.update(path.name.encode() + b"\0" + path.read_bytes())
    return sources.digest()


@functools.cache
def shared_folder() -> Path | None:
    """Of this user, for these sources and this Python; None where there is no home that can be written."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    python = f"{sys.implementation.cache_tag}-numba-{version('numba')}"
    folder = Path(home) / "curatord" / f"kernels-{digest().hex()[:16]}-{python}"
    try:
        is_new = not folder.is_dir()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():  # compiled code of others is not run
            return None
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        return None
    if is_new:
        _drop_oldest(folder.parent)
    return folder


def _drop_oldest(place: Path) -> None:
    folders = sorted(place.glob("kernels-*"), key=lambda folder: folder.stat().st_mtime)
    for folder in folders[:-MAX_KEPT]:
        shutil.rmtree(folder, ignore_errors=True)


def folder() -> Path:
    """The place of what is kept. Whether it can be written is another question."""
    return Path(config.CACHE_DIR) if config.CACHE_DIR else shared_folder() or SOURCES / "__pycache__"


def keep_in(place: Path) -> None:
    """Keep everything in `place` if it cannot be kept where it belongs. Call it before any kernel is imported."""
    if not config.CACHE_DIR and shared_folder() is None and not os.access(SOURCES, os.W_OK):
        config.CACHE_DIR = str(place)


def are_compiled() -> bool:
    """Whether kernels were compiled on this machine before, as far as the folders tell."""
    return next(folder().rglob("*.nbi"), None) is not None


class _OfAllKernels:
    def get_source_stamp(self) -> Any:
        """The stamp that must be equal for a compiled kernel to be used."""
        return super().get_source_stamp(), digest()  # type: ignore[misc]


class Provided(_OfAllKernels, UserProvidedCacheLocator):  # type: ignore[misc]
    """In the folder that NUMBA_CACHE_DIR names."""


class Shared(_OfAllKernels, InTreeCacheLocator):  # type: ignore[misc]
    """In the user's cache, by sources and not by place."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        super().__init__(py_func, py_file)
        self._cache_path = str(shared_folder())

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        """None for a function elsewhere, and without a folder, so that the next place is asked."""
        if Path(py_file).parent != SOURCES or shared_folder() is None:
            return None
        return super().from_function(py_func, py_file)


class InTree(_OfAllKernels, InTreeCacheLocator):  # type: ignore[misc]
    """Beside the sources."""
