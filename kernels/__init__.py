"""The hot loops, compiled by numba, one algorithm a file. `kernels.cache` says when compiled ones are kept."""

import numba.np.linalg
from numba.core import config


def _no_blas() -> None:
    """No kernel multiplies by BLAS: looking for one imports scipy.linalg, 0.2 s and 18 MB."""
    raise ImportError("kernels do without BLAS: their sums have a fixed order")


numba.np.linalg.ensure_blas = _no_blas
if not config.CACHE_LOCATOR_CLASSES:
    config.CACHE_LOCATOR_CLASSES = "kernels.cache.Provided, kernels.cache.Shared, kernels.cache.InTree, ZipCacheLocator"
