"""Ranges without loss: the tokens of a row that a trainer reads and does not learn to foretell.

Shape legend: R ranges [first, end) of tokens, in ascending order, apart from each other; T tokens.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ranges = NDArray[np.uint32]  # (R, 2)


def are_ranges(ranges_R2: Ranges, num_tokens: int) -> bool:
    """Whether these are ranges of a row of so many tokens: none is empty, none meets the next.

    >>> are_ranges(np.array([[0, 2], [5, 6]], np.uint32), 6), are_ranges(np.array([[0, 2], [2, 3]], np.uint32), 6)
    (True, False)
    """
    bounds = ranges_R2.reshape(-1).astype(np.int64)
    return bool((np.diff(bounds) > 0).all()) and (not len(bounds) or int(bounds[-1]) <= num_tokens)


def without_loss(ranges_R2: Ranges, num_tokens: int) -> NDArray[np.bool_]:
    """Which tokens of a row lie in a range, (T,).

    >>> without_loss(np.array([[1, 3]], np.uint32), 4).tolist()
    [False, True, True, False]
    """
    steps = np.zeros(num_tokens + 1, np.int8)
    steps[ranges_R2[:, 0]] = 1
    steps[ranges_R2[:, 1]] = -1
    return np.cumsum(steps[:-1], dtype=np.int8).astype(np.bool_)
