"""Keep memory: the loop asks for the same large arrays again and again.

By default glibc gives every block above 128 KiB back to the system when it is freed and gets fresh, zeroed pages for
the next one. For batches of megabytes that costs an eighth of the pipeline's time in page faults. The process holds
on to its peak instead, which is bounded by the batch size.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import math
import mmap
import sys
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Item = TypeVar("Item", bound=np.generic)

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
KEPT_BYTES = 1 << 30
TOP_PAD_BYTES = 64 << 20


def keep_freed_memory() -> None:
    """Tell the allocator, where there is one that can be told; elsewhere nothing happens."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_TOP_PAD, TOP_PAD_BYTES)


def return_freed_memory() -> None:
    """Give back what batches will not need, as after a training, or a start: libraries read models by detours."""
    if not sys.platform.startswith("linux"):
        return
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def lookup_table(shape: tuple[int, ...], kind: type[Item]) -> npt.NDArray[Item]:
    """Zeros, for large tables that are read at random: from the start of a page on, and on huge pages where there are.

    Rows of whole cache lines then take no line more than they must, and finding their pages takes no time. NumPy asks
    for huge pages too, but in vain where the heap hands it pages that were in use before.
    """
    size = math.prod(shape) * np.dtype(kind).itemsize
    memory = mmap.mmap(-1, max(1, size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, kind, count=math.prod(shape)).reshape(shape)


def keep_objects() -> None:
    """Keep all present objects to the end: the garbage collector, which takes 0.1 s to look at it, need not."""
    gc.freeze()
    # At the end it must be let go, or extension modules complain of leaks.
    atexit.unregister(gc.unfreeze)
    atexit.register(gc.unfreeze)
