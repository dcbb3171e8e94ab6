"""Compiled kernels are kept on disk until any kernel changes.

A kernel is compiled into those that call it, from other files, too. numba looks only at the file of the kernel itself
(https://numba.readthedocs.io/en/stable/developer/caching.html, "Caching is not triggered by changes in other files"),
so after an upgrade a caller would go on with its old callees: old results, or a crash.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

from numba.core.caching import InTreeCacheLocator, UserProvidedCacheLocator, UserWideCacheLocator


@functools.cache
def digest() -> bytes:
    """Of the sources of all kernels."""
    sources = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        sources.update(path.name.encode() + b"\0" + path.read_bytes())
    return sources.digest()


class _OfAllKernels:
    def get_source_stamp(self) -> Any:
        """The stamp that must be equal for a compiled kernel to be used."""
        return super().get_source_stamp(), digest()  # type: ignore[misc]


class Provided(_OfAllKernels, UserProvidedCacheLocator):  # type: ignore[misc]
    """In the folder that NUMBA_CACHE_DIR names."""


class InTree(_OfAllKernels, InTreeCacheLocator):  # type: ignore[misc]
    """Beside the sources."""


class UserWide(_OfAllKernels, UserWideCacheLocator):  # type: ignore[misc]
    """In the user's cache, where the sources cannot be written to."""
