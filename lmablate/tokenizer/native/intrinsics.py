"""The few machine operations that Python cannot express, as numba intrinsics.

An intrinsic is a function that writes the processor's instructions itself, through LLVM. Python never calls the
functions below; kernels do, and numba supplies the first argument, `typing_context`.

`peek` and `poke` read and write without the arithmetic of `array[i]` for bounds and negative indices; `load_u64` and
`store_u64` move eight bytes at any byte address (the lowest byte first). Nothing is checked: the callers must stay
inside the array.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as numba_intrinsic
from numba.np.arrayobj import make_array

# A kernel passes one argument less than the function has, which a type checker would take for a mistake.
intrinsic: Any = numba_intrinsic

# An odd multiplier for `multiply_fold`, with bits set at random places: the digits of the golden ratio.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)

_BYTE = ir.IntType(8)
_WORD = ir.IntType(64)
_DOUBLE_WORD = ir.IntType(128)
_BLOCK = ir.VectorType(_BYTE, 64)


def _address(context, builder, array_type, array, index):
    return builder.gep(make_array(array_type)(context, builder, array).data, [index])


@intrinsic
def peek(typing_context, array, index):
    """Return array[index], unchecked."""

    def generate(context, builder, signature, arguments):
        return builder.load(_address(context, builder, signature.args[0], *arguments))

    return array.dtype(array, types.intp), generate


@intrinsic
def poke(typing_context, array, index, value):
    """Set array[index] to `value`, unchecked; `value` is cast to the array's type."""

    def generate(context, builder, signature, arguments):
        array_value, index_value, new_value = arguments
        address = _address(context, builder, signature.args[0], array_value, index_value)
        builder.store(new_value, address)
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), generate


@intrinsic
def load_u64(typing_context, array, index):
    """Return the eight bytes that begin at element `index`, as uint64."""

    def generate(context, builder, signature, arguments):
        address = _address(context, builder, signature.args[0], *arguments)
        return builder.load(builder.bitcast(address, _WORD.as_pointer()), align=1)

    return types.uint64(array, types.intp), generate


@intrinsic
def store_u64(typing_context, array, index, value):
    """Write `value`, uint64, to the eight bytes that begin at element `index`."""

    def generate(context, builder, signature, arguments):
        array_value, index_value, new_value = arguments
        address = _address(context, builder, signature.args[0], array_value, index_value)
        builder.store(new_value, builder.bitcast(address, _WORD.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.uint64), generate


@intrinsic
def prefetch(typing_context, array, index):
    """Ask the processor to load the cache line that holds array[index]; any index is safe."""

    def generate(context, builder, signature, arguments):
        pointer = _BYTE.as_pointer()
        address = builder.bitcast(_address(context, builder, signature.args[0], *arguments), pointer)
        flag = ir.IntType(32)
        function_type = ir.FunctionType(ir.VoidType(), [pointer, flag, flag, flag])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
        to_read, keep_in_all_caches, data = flag(0), flag(3), flag(1)
        builder.call(function, [address, to_read, keep_in_all_caches, data])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def trailing_zeros(typing_context, word):
    """Return the number of the lowest set bit of a uint64; 64 if no bit is set."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.IntType(1)(0))

    return types.int64(types.uint64), generate


@intrinsic
def leading_zeros(typing_context, word):
    """Return 63 minus the number of the highest set bit of a uint64; 64 if no bit is set."""

    def generate(context, builder, signature, arguments):
        return builder.ctlz(arguments[0], ir.IntType(1)(0))

    return types.int64(types.uint64), generate


@intrinsic
def set_bits(typing_context, word):
    """Return how many bits of a uint64 are set."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@intrinsic
def multiply_fold(typing_context, left, right):
    """Return the exclusive or of both halves of the 128-bit product of two uint64.

    It mixes bits well, and every 64-bit processor can do it in few instructions.
    """

    def generate(context, builder, signature, arguments):
        wide_left, wide_right = (builder.zext(argument, _DOUBLE_WORD) for argument in arguments)
        product = builder.mul(wide_left, wide_right)
        high = builder.trunc(builder.lshr(product, _DOUBLE_WORD(64)), _WORD)
        return builder.xor(high, builder.trunc(product, _WORD))

    return types.uint64(types.uint64, types.uint64), generate


def _load_block(context, builder, array_type, array, index):
    address = _address(context, builder, array_type, array, index)
    return builder.load(builder.bitcast(address, _BLOCK.as_pointer()), align=1)


@intrinsic
def equal_block(typing_context, text, at, byte):
    """Return a mask, uint64, whose bit i says whether text[at + i] is `byte`."""

    def generate(context, builder, signature, arguments):
        text_value, at_value, byte_value = arguments
        block = _load_block(context, builder, signature.args[0], text_value, at_value)
        first = builder.insert_element(ir.Constant(_BLOCK, ir.Undefined), byte_value, ir.IntType(32)(0))
        first_element = ir.Constant(ir.VectorType(ir.IntType(32), 64), [0] * 64)
        everywhere = builder.shuffle_vector(first, first, first_element)
        return builder.bitcast(builder.icmp_unsigned("==", block, everywhere), _WORD)

    return types.uint64(text, types.intp, types.uint8), generate


@intrinsic
def classify_block(typing_context, text, at):
    """Return six masks, uint64, whose bit i describes the byte text[at + i].

    In this order: an ASCII letter, an ASCII digit, ASCII whitespace, a space, an apostrophe, a part of a character
    beyond ASCII. Each mask is one comparison of 64 bytes with 64 bytes. A range needs only one, too: unsigned,
    `byte - first < count` is false also for bytes below `first`, since their difference wraps around.
    """

    def generate(context, builder, signature, arguments):
        block = _load_block(context, builder, signature.args[0], *arguments)

        def everywhere(value):
            return ir.Constant(_BLOCK, [value] * 64)

        def in_range(block, first, count):
            return builder.icmp_unsigned("<", builder.sub(block, everywhere(ord(first))), everywhere(count))

        def equal(character):
            return builder.icmp_unsigned("==", block, everywhere(ord(character)))

        lower_case = builder.or_(block, everywhere(0x20))
        blanks = equal(" ")
        masks = (
            in_range(lower_case, "a", 26),
            in_range(block, "0", 10),
            builder.or_(blanks, in_range(block, "\t", 5)),
            blanks,
            equal("'"),
            builder.icmp_signed("<", block, everywhere(0)),
        )
        words = [builder.bitcast(mask, _WORD) for mask in masks]
        return context.make_tuple(builder, signature.return_type, words)

    return types.UniTuple(types.uint64, 6)(text, types.intp), generate
