"""The hot loops, compiled by numba, one algorithm a file. `kernels.cache` says when compiled ones are kept."""

from numba.core import config

if not config.CACHE_LOCATOR_CLASSES:
    config.CACHE_LOCATOR_CLASSES = "kernels.cache.Provided, kernels.cache.Shared, kernels.cache.InTree, ZipCacheLocator"
