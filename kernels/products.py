"""Products of vectors, each summed in the order of its dimensions, so that every processor gives the same bits.

A BLAS sums in an order that depends on its kernel for the processor at hand, and fuses multiplication and addition
where it can: on another machine the last bit is another, and in time the cluster. Here the lanes of a vector are
different columns, so a sum has one order for any width of the registers; ROWS x LANES sums at a time stay in them.
Cost: N D K multiplications and as many additions, two to three times that of a BLAS.

Shape legend: N rows, D dimensions, K columns, T tiles of LANES columns.
"""

# numba types an intrinsic without the context argument that it adds itself.
# mypy: disable-error-code="call-arg"

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from kernels.simd import I64, element_pointer, splat

LANES = 16
ROWS = 4


@intrinsic
def _add_tile(typing_context, rows, row, tile, start, dimension, out, place, stride):
    """out[place + r * stride + l] = sum over d of rows[row + r * dimension + d] * tile[start + d * LANES + l]."""
    number = ir.FloatType() if rows.dtype == types.float32 else ir.DoubleType()
    lanes = ir.VectorType(number, LANES)
    size = 4 if rows.dtype == types.float32 else 8

    def codegen(context, builder, signature, args):
        rows, row, tile, start, dimension, out, place, stride = args
        before, loop = builder.block, builder.append_basic_block("dimension")
        after = builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        d = builder.phi(I64)
        sums = [builder.phi(lanes) for _ in range(ROWS)]
        at = builder.add(start, builder.mul(d, ir.Constant(I64, LANES)))
        columns = builder.load(
            builder.bitcast(element_pointer(context, builder, signature.args[2], tile, at), lanes.as_pointer())
        )
        columns.align = size
        added = []
        for r, total in enumerate(sums):
            offset = builder.add(builder.add(row, builder.mul(dimension, ir.Constant(I64, r))), d)
            value = builder.load(element_pointer(context, builder, signature.args[0], rows, offset))
            # Without flags that would let it be fused, or the order be another.
            added.append(builder.fadd(total, builder.fmul(splat(builder, value, lanes), columns)))
        following = builder.add(d, ir.Constant(I64, 1))
        d.add_incoming(ir.Constant(I64, 0), before)
        d.add_incoming(following, loop)
        for total, sum_ in zip(sums, added, strict=True):
            total.add_incoming(ir.Constant(lanes, [0.0] * LANES), before)
            total.add_incoming(sum_, loop)
        builder.cbranch(builder.icmp_signed("<", following, dimension), loop, after)
        builder.position_at_end(after)
        for r, sum_ in enumerate(added):
            target = builder.add(place, builder.mul(stride, ir.Constant(I64, r)))
            pointer = element_pointer(context, builder, signature.args[5], out, target)
            store = builder.store(sum_, builder.bitcast(pointer, lanes.as_pointer()))
            store.align = size
        return context.get_dummy_value()

    whole = types.int64
    return types.void(rows, whole, tile, whole, whole, out, whole, whole), codegen


@njit(cache=True, nogil=True, boundscheck=False)
def _multiply(rows_N, columns_T, dimension, num_rows, num_columns, is_own, out_N):
    """Whole blocks of rows with whole tiles of columns; all three arrays are flat.

    If the columns are the rows, tiles that lie below the diagonal are left out.
    """
    for first in range(0, num_columns, LANES):
        last = min(num_rows, first + LANES) if is_own else num_rows
        for row in range(0, last, ROWS):
            place = row * num_columns + first
            _add_tile(rows_N, row * dimension, columns_T, first * dimension, dimension, out_N, place, num_columns)


@njit(cache=True, nogil=True, boundscheck=False)
def _fill_tiles(columns_KD, tiles_TDL):
    """Columns side by side, and zeros beside the last."""
    num_columns, dimension = columns_KD.shape
    for tile in range(len(tiles_TDL)):
        first = tile * LANES
        for d in range(dimension):
            for lane in range(min(LANES, num_columns - first)):
                tiles_TDL[tile, d, lane] = columns_KD[first + lane, d]
            for lane in range(num_columns - first, LANES):
                tiles_TDL[tile, d, lane] = 0


@njit(cache=True, nogil=True, boundscheck=False)
def scale_to_unit(rows_ND, units_ND):
    """Rows at length 1. NaN and infinity count as 0; a row without direction is the first axis."""
    for n in range(len(rows_ND)):
        row_D = rows_ND[n]
        length = np.sqrt(dot(row_D, row_D))
        if not np.isfinite(length):
            row_D = np.where(np.isfinite(row_D), row_D, 0.0)
            length = np.sqrt(dot(row_D, row_D))
        if length > 1e-12:
            for d in range(len(row_D)):
                units_ND[n, d] = row_D[d] / length
        else:
            units_ND[n] = 0.0
            units_ND[n, :1] = 1.0


@njit(cache=True, nogil=True, boundscheck=False)
def _mirror(out_NN):
    """Copy the part above the diagonal to below it."""
    for i in range(out_NN.shape[0]):
        for j in range(i):
            out_NN[i, j] = out_NN[j, i]


@njit(cache=True, nogil=True, boundscheck=False)
def dot(left_D, right_D):
    """The scalar product of two vectors."""
    unrolled = len(left_D) - len(left_D) % 4
    sum_0, sum_1, sum_2, sum_3 = 0.0, 0.0, 0.0, 0.0  # four sums at once wait less for each other
    for d in range(0, unrolled, 4):
        sum_0 += left_D[d] * right_D[d]
        sum_1 += left_D[d + 1] * right_D[d + 1]
        sum_2 += left_D[d + 2] * right_D[d + 2]
        sum_3 += left_D[d + 3] * right_D[d + 3]
    for d in range(unrolled, len(left_D)):
        sum_0 += left_D[d] * right_D[d]
    return (sum_0 + sum_1) + (sum_2 + sum_3)


@njit(cache=True, nogil=True, boundscheck=False)
def _dots(left_ND, right_ND, out_N):
    for n in range(left_ND.shape[0]):
        out_N[n] = dot(left_ND[n], right_ND[n])


@njit(cache=True, nogil=True, boundscheck=False)
def chosen_products(rows_ND, columns_KD, chosen_NC):
    """(N, C): the scalar product of row n with column `chosen_NC[n, c]`, the bits of which `products` has them.

    A sum waits for itself at every addition, so eight go side by side.
    """
    dimension, num_chosen = rows_ND.shape[1], chosen_NC.shape[1]
    out_NC = np.zeros(chosen_NC.shape, rows_ND.dtype)
    num_pairs = chosen_NC.size
    sums = np.empty(8, rows_ND.dtype)
    rows, columns = np.empty(8, np.int64), np.empty(8, np.int64)
    for first in range(0, num_pairs, 8):
        for i in range(8):
            pair = min(first + i, num_pairs - 1)  # the last ones are summed again, to the same bits
            rows[i] = pair // num_chosen
            columns[i] = chosen_NC[rows[i], pair % num_chosen]
        r0, r1, r2, r3, r4, r5, r6, r7 = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7]
        k0, k1, k2, k3 = columns[0], columns[1], columns[2], columns[3]
        k4, k5, k6, k7 = columns[4], columns[5], columns[6], columns[7]
        s0, s1 = rows_ND[r0, 0] * columns_KD[k0, 0], rows_ND[r1, 0] * columns_KD[k1, 0]
        s2, s3 = rows_ND[r2, 0] * columns_KD[k2, 0], rows_ND[r3, 0] * columns_KD[k3, 0]
        s4, s5 = rows_ND[r4, 0] * columns_KD[k4, 0], rows_ND[r5, 0] * columns_KD[k5, 0]
        s6, s7 = rows_ND[r6, 0] * columns_KD[k6, 0], rows_ND[r7, 0] * columns_KD[k7, 0]
        for d in range(1, dimension):
            s0 += rows_ND[r0, d] * columns_KD[k0, d]
            s1 += rows_ND[r1, d] * columns_KD[k1, d]
            s2 += rows_ND[r2, d] * columns_KD[k2, d]
            s3 += rows_ND[r3, d] * columns_KD[k3, d]
            s4 += rows_ND[r4, d] * columns_KD[k4, d]
            s5 += rows_ND[r5, d] * columns_KD[k5, d]
            s6 += rows_ND[r6, d] * columns_KD[k6, d]
            s7 += rows_ND[r7, d] * columns_KD[k7, d]
        sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7] = s0, s1, s2, s3, s4, s5, s6, s7
        for i in range(min(8, num_pairs - first)):
            out_NC[rows[i], (first + i) % num_chosen] = sums[i]
    return out_NC


def row_products(row_D: NDArray[Any], columns_KD: NDArray[Any]) -> NDArray[Any]:
    """(K,): the scalar product of one row with every row of the other, the bits of which `products` has them."""
    product_K: NDArray[Any] = chosen_products(row_D[None], columns_KD, np.arange(len(columns_KD))[None])[0]
    return product_K


def dots(left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float64]:
    """The scalar products of float64 vectors along the last axis."""
    dimension = left.shape[-1]
    if not left.size:
        return np.zeros(left.shape[:-1])
    out_N = np.empty(left.size // dimension)
    pair = [np.ascontiguousarray(side, np.float64).reshape(-1, dimension) for side in (left, right)]
    _dots(*pair, out_N)
    return out_N.reshape(left.shape[:-1])


def products(rows_ND: NDArray[Any], columns_KD: NDArray[Any]) -> NDArray[Any]:
    """(N, K): the scalar product of every row with every row of the other, in the type of the first.

    The other may be the same array, which takes half the time.
    """
    (num_rows, dimension), num_columns, kind = rows_ND.shape, len(columns_KD), rows_ND.dtype
    if not (num_rows and num_columns and dimension):
        return np.zeros((num_rows, num_columns), kind)
    is_own = rows_ND is columns_KD
    if num_rows % ROWS:
        rows_ND = np.concatenate((rows_ND, np.zeros((-num_rows % ROWS, dimension), kind)))
    tiles_TDL = np.empty((-(-num_columns // LANES), dimension, LANES), kind)
    _fill_tiles(np.ascontiguousarray(columns_KD, kind), tiles_TDL)
    out_NK = np.empty((len(rows_ND), len(tiles_TDL) * LANES), kind)
    rows_N = np.ascontiguousarray(rows_ND).reshape(-1)
    sizes = dimension, *out_NK.shape
    _multiply(rows_N, tiles_TDL.reshape(-1), *sizes, is_own, out_NK.reshape(-1))
    out_NK = out_NK[:num_rows, :num_columns]
    if is_own:
        _mirror(out_NK)
    return out_NK
