"""Vectors as bytes: rounding, and products that are exact, so that no order of summation and no machine changes them.

Processors multiply and add 64 pairs of an unsigned and a signed byte in one instruction (AVX-512 VNNI), or 16 pairs of
words (AVX2). Where there is neither, LLVM makes of the same sum what the processor has. Vectors stand side by side, so
that the other factor is loaded once for several of them; then the memory is waited for, not the arithmetic.
"""

# numba's intrinsics are called without their first parameter, the typing context.
# mypy: disable-error-code="call-arg"

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.simd import I32, I64, element_pointer, load_block

# Vectors are padded with zeros to a multiple of this.
BLOCK_ELEMENTS = 128
# What makes a signed byte an unsigned one.
BIAS = 128
# Vectors whose products are summed at once.
SIDE_BY_SIDE = 4

_LANES = ir.VectorType(I32, 16)
_HALF_LANES = ir.VectorType(I32, 8)
_WIDE = ir.VectorType(I32, 64)
_WORDS = ir.VectorType(ir.IntType(16), 16)


def _zero_of(features):
    """The total at first: lanes where there is an instruction that adds to lanes, or one number."""
    if "+avx512vnni" in features:
        return ir.Constant(_LANES, [0] * 16)
    return ir.Constant(_HALF_LANES, [0] * 8) if "+avx2" in features else ir.Constant(I32, 0)


def _sum_of(builder, vector):
    name = f"llvm.vector.reduce.add.v{vector.type.count}i32"
    kind = ir.FunctionType(I32, [vector.type])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [vector])


def _words_of(builder, block, quarter, extend):
    """16 of 64 bytes as words."""
    places = ir.Constant(ir.VectorType(I32, 16), list(range(16 * quarter, 16 * quarter + 16)))
    return extend(builder.shuffle_vector(block, ir.Constant(block.type, ir.Undefined), places), _WORDS)


def _multiply_add(builder, total, unsigned_block, signed_block):
    """64 products more."""
    if total.type == _LANES:
        kind = ir.FunctionType(_LANES, [_LANES] * 3)
        instruction = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpbusd.512")
        factors = [builder.bitcast(block, _LANES) for block in (unsigned_block, signed_block)]
        return builder.call(instruction, [total, *factors])
    if total.type == _HALF_LANES:
        kind = ir.FunctionType(_HALF_LANES, [_WORDS] * 2)
        instruction = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx2.pmadd.wd")
        for quarter in range(4):
            factors = [
                _words_of(builder, unsigned_block, quarter, builder.zext),
                _words_of(builder, signed_block, quarter, builder.sext),
            ]
            total = builder.add(total, builder.call(instruction, factors))
        return total
    products = builder.mul(builder.zext(unsigned_block, _WIDE), builder.sext(signed_block, _WIDE))
    return builder.add(total, _sum_of(builder, products))


@intrinsic
def add_products(typing_context, biased_SD, dimension, chosen_S, first, signed_D, correction, dots_S):
    """Add the products of `signed_D` with SIDE_BY_SIDE rows of unsigned bytes to `dots_S`, less a correction.

    The rows are `chosen_S[first]` and those behind it.
    """

    def codegen(context, builder, signature, args):
        biased, dimension, chosen, first, signed, correction, dots = args
        biased_type, _, chosen_type, _, signed_type, _, dots_type = signature.args
        zero = _zero_of(context.codegen().magic_tuple()[2])
        rows = []
        for place in range(SIDE_BY_SIDE):
            index = builder.add(first, ir.Constant(I64, place))
            rows.append(builder.sext(builder.load(element_pointer(context, builder, chosen_type, chosen, index)), I64))
        starts = [builder.mul(row, dimension) for row in rows]
        before, loop, after = builder.block, builder.append_basic_block("block"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        offset = builder.phi(I64)
        totals = [builder.phi(zero.type) for _ in rows]
        signed_block = load_block(context, builder, signed_type, signed, offset)
        added = []
        for total, start in zip(totals, starts, strict=True):
            unsigned_block = load_block(context, builder, biased_type, biased, builder.add(start, offset))
            added.append(_multiply_add(builder, total, unsigned_block, signed_block))
        following = builder.add(offset, ir.Constant(I64, 64))
        first_value = ir.Constant(I64, 0)
        for phi, value, later in (
            (offset, first_value, following),
            *zip(totals, [zero] * len(rows), added, strict=True),
        ):
            phi.add_incoming(value, before)
            phi.add_incoming(later, loop)
        builder.cbranch(builder.icmp_signed("<", following, dimension), loop, after)
        builder.position_at_end(after)
        for row, total in zip(rows, added, strict=True):
            product = builder.sext(total if zero.type == I32 else _sum_of(builder, total), I64)
            pointer = element_pointer(context, builder, dots_type, dots, row)
            builder.store(builder.add(builder.load(pointer), builder.sub(product, correction)), pointer)
        return context.get_dummy_value()

    whole = types.int64
    return types.void(biased_SD, whole, chosen_S, whole, signed_D, whole, dots_S), codegen


@njit(cache=True, nogil=True, boundscheck=False)
def round_to_bytes(vectors_ND, steps, bytes_ND):
    """Multiply by `steps` and round to the nearest byte in -127...127, halves to even."""
    for n in range(vectors_ND.shape[0]):
        for d in range(vectors_ND.shape[1]):
            bytes_ND[n, d] = np.int8(min(max(np.rint(vectors_ND[n, d] * steps), np.float32(-127)), np.float32(127)))


@njit(cache=True, nogil=True, boundscheck=False)
def pair_products(vectors_ND, bounds_R1):
    """Sum of the products of all ordered pairs of vectors, by row: |sum|^2 less the squares.

    Row r has the vectors `bounds_R1[r]` to `bounds_R1[r + 1]`.
    """
    products_R = np.zeros(len(bounds_R1) - 1, np.int64)
    sum_D = np.empty(vectors_ND.shape[1], np.int32)
    for r in range(len(products_R)):
        sum_D[:] = 0
        for n in range(bounds_R1[r], bounds_R1[r + 1]):
            squares = np.int32(0)
            for d in range(len(sum_D)):
                byte = np.int32(vectors_ND[n, d])
                sum_D[d] += byte
                squares += byte * byte
            products_R[r] -= squares
        for d in range(len(sum_D)):
            products_R[r] += np.int64(sum_D[d]) * np.int64(sum_D[d])
    return products_R
