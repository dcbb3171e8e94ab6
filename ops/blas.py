"""BLAS on one thread.

A sum of products depends on how many threads share it, and products of a hundred rows are too small for more than one:
the others spin, and burn processor time.
"""

from __future__ import annotations

import os
import sys

VARIABLES = (
    *("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
    "OMP_NUM_THREADS",  # faiss searches with it; the teacher's model sets its own number
)


def use_one_thread() -> None:
    """In this process, against its environment: libraries that are loaded, and those that will be.

    A process that begins with it loads no thread at all. Never called by the package that trainers import.
    """
    os.environ.update(dict.fromkeys(VARIABLES, "1"))
    if "numpy" in sys.modules:
        from threadpoolctl import threadpool_limits

        threadpool_limits(1, user_api="blas")
