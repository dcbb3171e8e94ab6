"""Numbers in ascending order as their gaps, seven bits a byte, the lowest first: LEB128 of the differences.

Shape legend: X numbers, N bytes.
"""

from numba import njit, uint32


@njit(cache=True, nogil=True, boundscheck=False)
def pack_gaps(sorted_X, packed_N):
    """Numbers in ascending order as their gaps, seven bits a byte, the lowest first; the bytes written."""
    at, last = 0, uint32(0)
    for x in range(len(sorted_X)):
        gap = sorted_X[x] - last
        last = sorted_X[x]
        while gap >= uint32(128):
            packed_N[at] = gap & uint32(127) | uint32(128)
            gap >>= uint32(7)
            at += 1
        packed_N[at] = gap
        at += 1
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
