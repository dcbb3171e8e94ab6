"""Workers: pure work on single documents, spread over threads and joined again in order."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

# Below this many documents a thread costs more than it saves.
MIN_DOCUMENTS = 32


def num_threads(wanted: int) -> int:
    """As many as are wanted; with 0 one for each processor that this process may use."""
    return wanted or len(os.sched_getaffinity(0))


class Workers:
    """A fixed number of threads. Kernels and tokenizers give the interpreter lock back while they work."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

    def map(self, function: Callable[[slice], T], num_documents: int) -> list[T]:
        """`function` of consecutive slices that cover all documents, results in order."""
        parts = min(self.threads, num_documents // MIN_DOCUMENTS)
        if self._pool is None or parts < 2:
            return [function(slice(0, num_documents))]
        bounds = [num_documents * part // parts for part in range(parts + 1)]
        return list(self._pool.map(function, map(slice, bounds, bounds[1:])))

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
