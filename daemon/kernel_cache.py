"""Compiled kernels: where they are kept, and saying so when they have to be compiled first.

Imports no kernel itself, because numba reads the place of its cache when it is imported.
"""

from __future__ import annotations

import os
from pathlib import Path

KERNELS = Path(__file__).parents[1] / "kernels"


def keep_kernels_in(folder: Path) -> None:
    """Keep compiled code in `folder` where the application's own folder cannot be written. Call before the stages."""
    if "NUMBA_CACHE_DIR" not in os.environ and not os.access(KERNELS, os.W_OK):
        os.environ["NUMBA_CACHE_DIR"] = str(folder)


def are_compiled() -> bool:
    """Whether this machine has compiled them before, as far as the cache tells."""
    kept = os.environ.get("NUMBA_CACHE_DIR")
    return any((Path(kept) if kept else KERNELS).rglob("*.nbi"))
