"""The hot loops, compiled by numba, one algorithm a file. `curation.kernels.cache` says when compiled ones are kept."""

from numba.core import config

if not config.CACHE_LOCATOR_CLASSES:
    config.CACHE_LOCATOR_CLASSES = (
        "curation.kernels.cache.Provided, curation.kernels.cache.InTree, "
        "curation.kernels.cache.UserWide, ZipCacheLocator"
    )
