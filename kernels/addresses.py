"""Memory by its address: files that are mapped, any number of which one kernel follows; lines that are asked for ahead.

A loop that looks at places by chance waits for memory at each, unless it asks for their cache lines long before.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _at(builder, address, bits):
    return builder.inttoptr(address, ir.IntType(bits).as_pointer())


def _loader(bits, of):
    """The number at an address, as a kernel calls it."""

    @intrinsic
    def load(typing_context, address):
        def codegen(context, builder, signature, args):
            return builder.load(_at(builder, args[0], bits))

        return of(types.int64), codegen

    return load


load_64 = _loader(64, types.uint64)
load_32 = _loader(32, types.uint32)
load_8 = _loader(8, types.uint8)


@intrinsic
def store_8(typing_context, address, value):
    """Write the byte at an address."""

    def codegen(context, builder, signature, args):
        builder.store(args[1], _at(builder, args[0], 8))
        return context.get_dummy_value()

    return types.void(types.int64, types.uint8), codegen


def fetch_line(builder, pointer):
    """Emit a request for the cache line that is pointed to, to be read, into all caches, as data."""
    pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    i32 = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, i32, i32, i32])
    function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
    builder.call(function, [pointer, ir.Constant(i32, 0), ir.Constant(i32, 3), ir.Constant(i32, 1)])


@intrinsic
def prefetch_address(typing_context, address):
    """Ask for the cache line of an address."""

    def codegen(context, builder, signature, args):
        fetch_line(builder, _at(builder, args[0], 8))
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def prefetch(typing_context, array, index):
    """Ask for the cache line of `array[index]`, wherever that leads."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        fetch_line(builder, builder.gep(data, [args[1]]))
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen
