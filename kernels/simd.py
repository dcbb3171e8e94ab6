"""64 bytes at a time: LLVM vector instructions that numba does not spell.

Every kernel that reads text classifies it in blocks of 64 bytes into 64-bit masks, one bit a byte, and then
walks the set bits. The vectors are LLVM's own (`<64 x i8>`), so the same code becomes AVX-512, AVX2, SSE or
NEON when numba compiles it for the machine at hand: no compiler and no flags on the user's side.

Callers pass buffers that are padded with 64 bytes after the last document, because blocks are loaded whole.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

I1, I8, I32, I64, I128 = (ir.IntType(bits) for bits in (1, 8, 32, 64, 128))
BYTES_64 = ir.VectorType(I8, 64)

# Bytes that every text buffer carries after its last document.
PADDING_BYTES = 64


def element_pointer(context, builder, array_type, array, index):
    """Pointer to `array[index]`, without bounds check or wrap-around."""
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


def splat(builder, value, vector_type):
    """`value` in every lane of a vector."""
    lanes = builder.insert_element(ir.Constant(vector_type, ir.Undefined), value, ir.Constant(I32, 0))
    zeros = ir.Constant(ir.VectorType(I32, vector_type.count), [0] * vector_type.count)
    return builder.shuffle_vector(lanes, ir.Constant(vector_type, ir.Undefined), zeros)


def load_block(context, builder, array_type, array, index):
    """64 unaligned bytes from `array[index:]`."""
    pointer = builder.bitcast(element_pointer(context, builder, array_type, array, index), BYTES_64.as_pointer())
    block = builder.load(pointer)
    block.align = 1
    return block


@intrinsic
def load_u64(typing_context, array, index):
    """The 8 bytes at `array[index:]` as one little-endian integer."""

    def codegen(context, builder, signature, args):
        pointer = element_pointer(context, builder, signature.args[0], args[0], args[1])
        word = builder.load(builder.bitcast(pointer, I64.as_pointer()))
        word.align = 1
        return word

    return types.uint64(array, types.int64), codegen


@intrinsic
def trailing_zeros(typing_context, x):
    """Index of the lowest set bit; `x` must not be 0."""

    def codegen(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(I1, 1))

    return types.uint64(types.uint64), codegen


@intrinsic
def popcount(typing_context, x):
    """Number of set bits."""

    def codegen(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), codegen


@intrinsic
def mix_multiply(typing_context, x, y):
    """Both halves of the 128-bit product, folded by xor: the mixing step of wyhash and xxh3."""

    def codegen(context, builder, signature, args):
        product = builder.mul(builder.zext(args[0], I128), builder.zext(args[1], I128))
        return builder.xor(
            builder.trunc(product, I64), builder.trunc(builder.lshr(product, ir.Constant(I128, 64)), I64)
        )

    return types.uint64(types.uint64, types.uint64), codegen


@intrinsic
def equal_mask(typing_context, array, index, byte):
    """Mask of the bytes of `array[index:index + 64]` that equal `byte`."""

    def codegen(context, builder, signature, args):
        block = load_block(context, builder, signature.args[0], args[0], args[1])
        wanted = splat(builder, builder.trunc(args[2], I8), BYTES_64)
        return builder.bitcast(builder.icmp_unsigned("==", block, wanted), I64)

    return types.uint64(array, types.int64, types.int64), codegen


@intrinsic
def range_mask(typing_context, array, index, low, count):
    """Mask of the bytes b of `array[index:index + 64]` with low <= b < low + count."""

    def codegen(context, builder, signature, args):
        block = load_block(context, builder, signature.args[0], args[0], args[1])
        low_vector = splat(builder, builder.trunc(args[2], I8), BYTES_64)
        count_vector = splat(builder, builder.trunc(args[3], I8), BYTES_64)
        return builder.bitcast(builder.icmp_unsigned("<", builder.sub(block, low_vector), count_vector), I64)

    return types.uint64(array, types.int64, types.int64, types.int64), codegen


@intrinsic
def lower_word_mask(typing_context, source, source_index, target, target_index):
    """Lower-case the ASCII letters of 64 bytes of `source` into `target`; mask of ASCII word bytes [a-z0-9_].

    Bytes >= 0x80 are copied and are not in the mask.
    """

    def codegen(context, builder, signature, args):
        def constant(value):
            return ir.Constant(BYTES_64, [value] * 64)

        block = load_block(context, builder, signature.args[0], args[0], args[1])
        is_upper = builder.icmp_unsigned("<", builder.sub(block, constant(ord("A"))), constant(26))
        lower = builder.select(is_upper, builder.add(block, constant(32)), block)
        pointer = element_pointer(context, builder, signature.args[2], args[2], args[3])
        store = builder.store(lower, builder.bitcast(pointer, BYTES_64.as_pointer()))
        store.align = 1
        is_letter = builder.icmp_unsigned("<", builder.sub(lower, constant(ord("a"))), constant(26))
        is_digit = builder.icmp_unsigned("<", builder.sub(lower, constant(ord("0"))), constant(10))
        is_underscore = builder.icmp_unsigned("==", lower, constant(ord("_")))
        return builder.bitcast(builder.or_(builder.or_(is_letter, is_digit), is_underscore), I64)

    return types.uint64(source, types.int64, target, types.int64), codegen


@intrinsic
def copy_spaced(typing_context, source, source_index, target, target_index):
    """Copy 64 bytes of `source` into `target`, all ASCII whitespace as spaces; mask of the whitespace."""

    def codegen(context, builder, signature, args):
        def constant(value):
            return ir.Constant(BYTES_64, [value] * 64)

        block = load_block(context, builder, signature.args[0], args[0], args[1])
        is_control = builder.icmp_unsigned("<", builder.sub(block, constant(9)), constant(5))
        is_space = builder.icmp_unsigned("<", builder.sub(block, constant(28)), constant(5))
        is_white = builder.or_(is_control, is_space)
        pointer = element_pointer(context, builder, signature.args[2], args[2], args[3])
        spaced = builder.select(is_white, constant(ord(" ")), block)
        store = builder.store(spaced, builder.bitcast(pointer, BYTES_64.as_pointer()))
        store.align = 1
        return builder.bitcast(is_white, I64)

    return types.uint64(source, types.int64, target, types.int64), codegen


@intrinsic
def copy_to_mark(typing_context, source, source_index, target, target_index):
    """Copy 64 bytes of `source` into `target`; mask of what ends a stretch of a JSON string: `"`, `\\`, controls."""

    def codegen(context, builder, signature, args):
        def constant(value):
            return ir.Constant(BYTES_64, [value] * 64)

        block = load_block(context, builder, signature.args[0], args[0], args[1])
        pointer = element_pointer(context, builder, signature.args[2], args[2], args[3])
        store = builder.store(block, builder.bitcast(pointer, BYTES_64.as_pointer()))
        store.align = 1
        is_control = builder.icmp_unsigned("<", block, constant(32))
        is_quote = builder.icmp_unsigned("==", block, constant(ord('"')))
        is_backslash = builder.icmp_unsigned("==", block, constant(ord("\\")))
        return builder.bitcast(builder.or_(builder.or_(is_control, is_quote), is_backslash), I64)

    return types.uint64(source, types.int64, target, types.int64), codegen


@intrinsic
def store_u64(typing_context, array, index, word):
    """Write one integer as 8 little-endian bytes to `array[index:]`."""

    def codegen(context, builder, signature, args):
        pointer = element_pointer(context, builder, signature.args[0], args[0], args[1])
        store = builder.store(args[2], builder.bitcast(pointer, I64.as_pointer()))
        store.align = 1
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), codegen
