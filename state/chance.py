"""Chance without a clock or a generator: every draw is a hash of (seed, document key, purpose).

A draw then depends on the document alone, never on its place in a batch or on what was drawn before it.
"""

from __future__ import annotations

import numpy as np
import xxhash
from numpy.typing import NDArray


def draw(keys_B: NDArray[np.uint64], *, seed: int, purpose: str) -> NDArray[np.uint64]:
    """64 well-mixed bits for each document key; other purposes and other seeds give independent bits."""
    salt = np.uint64(xxhash.xxh3_64_intdigest(purpose.encode(), seed & 0xFFFFFFFFFFFFFFFF))
    bits_B: NDArray[np.uint64] = keys_B.astype(np.uint64) ^ salt
    # splitmix64 (Steele, Lea & Flood, 2014), applied to the salted key.
    bits_B += np.uint64(0x9E3779B97F4A7C15)
    bits_B ^= bits_B >> np.uint64(30)
    bits_B *= np.uint64(0xBF58476D1CE4E5B9)
    bits_B ^= bits_B >> np.uint64(27)
    bits_B *= np.uint64(0x94D049BB133111EB)
    bits_B ^= bits_B >> np.uint64(31)
    return bits_B


def draw_unit(keys_B: NDArray[np.uint64], *, seed: int, purpose: str) -> NDArray[np.float64]:
    """A uniform number in [0, 1) for each document key, with 53 random bits."""
    return (draw(keys_B, seed=seed, purpose=purpose) >> np.uint64(11)).astype(np.float64) * 2.0**-53
