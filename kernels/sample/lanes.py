"""Vectors of four or eight float32 for the CPU kernels: what a loop cannot be trusted to become.

numba vectorises loops, not straight code, and an accumulator that lives in an array goes through
memory at every step. These few functions name registers: `load8(array, i)`, `splat8(x)`,
`mad8(a, b, c)` = a * b + c, `lerp4(a, b, t)` = a + t * (b - a), `store8(array, i, lanes)`.
Nothing is checked: an index is a plain address. LLVM splits them where the hardware is narrower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _define(count: int) -> tuple[Callable[..., Any], ...]:
    """load, splat, mad, lerp and store for vectors of `count` float32."""
    from llvmlite import ir
    from numba.core import types
    from numba.core.datamodel import models
    from numba.extending import intrinsic, register_model

    vector = ir.VectorType(ir.FloatType(), count)

    class Lanes(types.Type):
        def __init__(self) -> None:
            super().__init__(name=f"Lanes({count})")

    @register_model(Lanes)
    class _Model(models.PrimitiveModel):
        def __init__(self, manager: Any, kind: Any) -> None:
            super().__init__(manager, kind, vector)

    lanes = Lanes()

    def function(result: Any, emit: Callable[..., Any], count_args: int) -> Callable[..., Any]:
        return _intrinsic(intrinsic, result, emit, count_args)

    def load(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, signature, args, vector), align=4)

    def store(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _address(context, builder, signature, args, vector), align=4)
        return context.get_dummy_value()

    return (
        function(lanes, load, 2),
        function(lanes, lambda c, b, s, args: _splat(b, args[0], vector), 1),
        function(lanes, lambda c, b, s, args: _mad(b, *args), 3),
        function(lanes, lambda c, b, s, args: _lerp(b, *args), 3),
        function(types.void, store, 3),
    )


def _intrinsic(
    intrinsic: Any, result: Any, emit: Callable[..., Any], count: int
) -> Callable[..., Any]:
    """numba wants as many named arguments as the call has."""
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
    return (None,) * 5


try:
    load4, splat4, mad4, lerp4, store4 = _define(4)
    load8, splat8, mad8, lerp8, store8 = _define(8)
except ImportError:
    load4, splat4, mad4, lerp4, store4 = _missing(4)
    load8, splat8, mad8, lerp8, store8 = _missing(8)
