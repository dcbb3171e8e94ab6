"""Numbers in ascending order as their gaps, seven bits a byte, the lowest first: LEB128 of the differences.

Shape legend: X numbers, N bytes.
"""

import numpy as np
from numba import njit, uint32


@njit(cache=True, nogil=True, boundscheck=False)
def pack_gaps(sorted_X, packed_N):
    """Write the gaps of numbers in ascending order into 5 bytes a number; how many bytes were written."""
    at, last = 0, uint32(0)
    for x in range(len(sorted_X)):
        gap = sorted_X[x] - last
        last = sorted_X[x]
        while gap >= uint32(1 << 14):
            packed_N[at] = gap & uint32(127) | uint32(128)
            gap >>= uint32(7)
            at += 1
        # One byte or two, without a branch that cannot be foreseen.
        has_more = uint32(gap >= uint32(128))
        packed_N[at] = gap & uint32(127) | (has_more << uint32(7))
        packed_N[at + 1] = gap >> uint32(7)
        at += 1 + np.int64(has_more)
    return at


@njit(cache=True, nogil=True, boundscheck=False)
def unpack_gaps(packed_N, sorted_X):
    """The numbers again; how many there are."""
    x, last, gap, shift = 0, uint32(0), uint32(0), uint32(0)
    for at in range(len(packed_N)):
        gap |= uint32(packed_N[at] & 127) << shift
        shift += uint32(7)
        if packed_N[at] < 128:
            last += gap
            sorted_X[x] = last
            x += 1
            gap = shift = uint32(0)
    return x
