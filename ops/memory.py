"""Keep memory: the loop asks for the same large arrays again and again.

By default glibc gives every block above 128 KiB back to the system when it is freed and gets fresh, zeroed pages for
the next one. For batches of megabytes that costs an eighth of the pipeline's time in page faults. The process holds
on to its peak instead, which is bounded by the batch size.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import sys

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


def keep_objects() -> None:
    """What is there by now stays to the end: the garbage collector, which takes 0.1 s to look at it, need not."""
    gc.freeze()
    # At the end it must be let go, or extension modules complain of leaks.
    atexit.unregister(gc.unfreeze)
    atexit.register(gc.unfreeze)
