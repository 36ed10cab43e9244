"""Addresses as pointers, and calls by address, for the compiled hooks."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _pointer_to(element):  # type: ignore[no-untyped-def]
    """A compiled function from an address (int64) to a pointer to ``element``."""

    @intrinsic
    def pointer(_typing, address):  # type: ignore[no-untyped-def]
        def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(element)(types.int64), build

    return pointer


int_pointer = _pointer_to(types.int64)
float_pointer = _pointer_to(types.float64)
index_pointer = _pointer_to(types.int32)
register_pointer = _pointer_to(types.uint32)


@intrinsic
def call_stop(_typing, function, engine):  # type: ignore[no-untyped-def]
    """``uc_err uc_emu_stop(uc_engine *)`` by address."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word = ir.IntType(64)
        pointer = ir.FunctionType(ir.IntType(32), [word]).as_pointer()
        builder.call(builder.inttoptr(arguments[0], pointer), [arguments[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), build


@intrinsic
def call_python(_typing, function, one, other):  # type: ignore[no-untyped-def]
    """``int64 function(int64, int64)`` by address; the callee takes the GIL."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word = ir.IntType(64)
        pointer = ir.FunctionType(word, [word, word]).as_pointer()
        return builder.call(builder.inttoptr(arguments[0], pointer), list(arguments[1:]))

    return types.int64(types.int64, types.int64, types.int64), build


@intrinsic
def call_port(_typing, function, ints, one, other):  # type: ignore[no-untyped-def]
    """``void function(int64 *, int64, int64)`` by address: what is called so, and answers in an
    array, leaves the hook that seldom needs it as fast as it was."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        passed = list(arguments[1:])
        kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in passed])
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), passed)
        return context.get_dummy_value()

    words = (types.int64, types.int64)
    return types.void(types.int64, types.CPointer(types.int64), *words), build


@intrinsic
def call_read_batch(_typing, function, engine, numbers, places, count):  # type: ignore[no-untyped-def]
    """``uc_err uc_reg_read_batch(uc_engine *, int *, void **, int)`` by address."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word, narrow = ir.IntType(64), ir.IntType(32)
        pointer = ir.FunctionType(narrow, [word, word, word, narrow]).as_pointer()
        *others, number = arguments[1:]
        passed = [*others, builder.trunc(number, narrow)]
        builder.call(builder.inttoptr(arguments[0], pointer), passed)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64, types.int64), build
