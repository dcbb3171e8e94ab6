"""Open files: as many as this process may have. Many systems begin with 1,024, for the sake of old programs."""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Final

MOST: Final = 1 << 16


def raise_open_files() -> int:
    """Raise the soft limit to the hard one, or to `MOST`; how many files may be open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # a system may allow less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST if soft == resource.RLIM_INFINITY else soft
