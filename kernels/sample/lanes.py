"""Vectors of 4, 8 or 16 float32 for the CPU kernels: what a loop cannot be trusted to become.

numba vectorises loops, not straight code, and an accumulator that lives in an array goes through
memory at every step. These few functions name registers: `load8(array, i)`, `splat8(x)`,
`mad8(a, b, c)` = a * b + c, `lerp4(a, b, t)` = a + t * (b - a), `store8(array, i, lanes)`;
`levels16(array, i)` turns raw pixels into float32. Nothing is checked: an index is a plain
address. LLVM splits them where the hardware is narrower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _define(count: int) -> tuple[Callable[..., Any], ...]:
    """load, levels, splat, mad, lerp and store for vectors of `count` float32."""
    from llvmlite import ir
    from numba.core import types

    vector = ir.VectorType(ir.FloatType(), count)
    lanes = _type(count, vector)

    def load(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, signature, args, vector), align=4)

    def levels(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        raw = ir.VectorType(context.get_data_type(signature.args[0].dtype), count)
        words = ir.VectorType(ir.IntType(32), count)
        found = builder.load(_address(context, builder, signature, args, raw), align=1)
        return builder.uitofp(builder.zext(found, words), vector)

    def store(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _address(context, builder, signature, args, vector), align=4)
        return context.get_dummy_value()

    return (
        _intrinsic(lanes, load, 2),
        _intrinsic(lanes, levels, 2),
        _intrinsic(lanes, lambda context, b, signature, args: _splat(b, args[0], vector), 1),
        _intrinsic(lanes, lambda context, b, signature, args: _mad(b, *args), 3),
        _intrinsic(lanes, lambda context, b, signature, args: _lerp(b, *args), 3),
        _intrinsic(types.void, store, 3),
    )


def _type(count: int, vector: Any) -> Any:
    """The type of these vectors in numba, kept in one register (or as many as it takes)."""
    from numba.core import types
    from numba.core.datamodel import models
    from numba.extending import register_model

    class Lanes(types.Type):
        def __init__(self) -> None:
            super().__init__(name=f"Lanes({count})")

    @register_model(Lanes)
    class _Model(models.PrimitiveModel):
        def __init__(self, manager: Any, kind: Any) -> None:
            super().__init__(manager, kind, vector)

    return Lanes()


def _intrinsic(result: Any, emit: Callable[..., Any], count: int) -> Callable[..., Any]:
    """numba wants as many named arguments as the call has."""
    from numba.extending import intrinsic

    if count == 1:
        return intrinsic(lambda typing, a: (result(a), emit))
    if count == 2:
        return intrinsic(lambda typing, a, b: (result(a, b), emit))
    return intrinsic(lambda typing, a, b, c: (result(a, b, c), emit))


def _address(context: Any, builder: Any, signature: Any, args: Any, vector: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.bitcast(builder.gep(array.data, [args[1]]), vector.as_pointer())


def _splat(builder: Any, value: Any, vector: Any) -> Any:
    from llvmlite import ir

    word = ir.IntType(32)
    empty = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(empty, value, word(0))
    return builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(word, vector.count), None))


def _mad(builder: Any, a: Any, b: Any, c: Any) -> Any:
    # Two operations that may be fused: an fma would be a call where there is no instruction.
    product = builder.fmul(a, b, flags=("contract",))
    return builder.fadd(product, c, flags=("contract",))


def _lerp(builder: Any, a: Any, b: Any, t: Any) -> Any:
    return _mad(builder, t, builder.fsub(b, a), a)


def _missing(count: int) -> tuple[Any, ...]:
    """Without numba the kernels can be imported; calling them says what to install."""
    return (None,) * 6


try:
    load4, _, splat4, mad4, lerp4, store4 = _define(4)
    load8, levels8, splat8, mad8, lerp8, store8 = _define(8)
    load16, levels16, splat16, mad16, lerp16, store16 = _define(16)
except ImportError:
    load4, _, splat4, mad4, lerp4, store4 = _missing(4)
    load8, levels8, splat8, mad8, lerp8, store8 = _missing(8)
    load16, levels16, splat16, mad16, lerp16, store16 = _missing(16)
