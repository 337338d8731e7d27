"""Vectors of 16 float32 for the CPU kernels: what a loop cannot be trusted to become.

numba vectorises loops, not straight code, and an accumulator that lives in an array goes through
memory at every step. These few functions name registers:

    load16(array, i)      splat16(x)      mul16(a, b)      sub16(a, b)
    store16(array, i, a)  mad16(a, b, c) = a * b + c       unit16(a): clamped to [0, 1]

`levels16(array, i)` turns raw pixels into float32; `spread16(array, i)` is one float in all lanes;
`turn16(source, i, pitch, out, o, step)` transposes 16 x 16; `weave3(array, i, a, b, c)` and
`weave4(array, i, a, b, c, d)` store channels side by side (`stream3` past the caches, to multiples
of 64 bytes); `mix16(tile, places, x, pitch, right, down)` reads 16 pixels bilinearly, and
`mix_rgb16(..., out, o, plane)` stores three channels of them, read from four floats a pixel;
`fetch(array, i)` asks for the cache line of array[i] ahead of time. `bare(array)` is the address
of its first element, which all of these and plain indexing take too: a call that passes arrays
counts their references (`resize` of a 256 px image took 20 us so, 11 with addresses). An index is
a plain address: nothing is checked. LLVM splits vectors where the hardware is narrower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Emit = Callable[..., Any]


def _define() -> dict[str, Any]:
    """What computes: load, store and the rest, by their names."""
    from llvmlite import ir
    from numba.core import types

    vector, index = _sixteen_floats(), ir.IntType(32)
    lanes = _type(vector)

    def load(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, signature, args, vector), align=4)

    def levels(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        raw = ir.VectorType(context.get_data_type(signature.args[0].dtype), 16)
        found = builder.load(_address(context, builder, signature, args, raw), align=1)
        return builder.uitofp(builder.zext(found, ir.VectorType(index, 16)), vector)

    def splat(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), args[0], index(0))
        return _shuffle(builder, one, one, [0] * 16)

    def spread(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _address(context, builder, signature, args, ir.FloatType())
        return splat(context, builder, signature, (builder.load(place),))

    def store(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _address(context, builder, signature, args, vector), align=4)
        return context.get_dummy_value()

    return {
        "load": _intrinsic(lanes, load, 2),
        "levels": _intrinsic(lanes, levels, 2),
        "splat": _intrinsic(lanes, splat, 1),
        "spread": _intrinsic(lanes, spread, 2),
        "mul": _intrinsic(lanes, lambda context, b, signature, args: b.fmul(*args), 2),
        "sub": _intrinsic(lanes, lambda context, b, signature, args: b.fsub(*args), 2),
        "mad": _intrinsic(lanes, lambda context, b, signature, args: _mad(b, *args), 3),
        "unit": _intrinsic(lanes, _unit, 1),
        "store": _intrinsic(types.void, store, 3),
        "mix": _intrinsic(lanes, _mix, 6),
    }


def _define_shuffles() -> dict[str, Any]:
    """Functions that move 16 lanes about."""
    from numba.core import types

    return {
        "turn": _intrinsic(types.void, _turn, 6),
        "weave3": _intrinsic(types.void, _weave, 5),
        "weave4": _intrinsic(types.void, _weave, 6),
        "stream3": _intrinsic(types.void, _stream, 5),
        "mix_rgb": _intrinsic(types.void, _mix_rgb, 9),
    }


def _turn(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    source, i, pitch, out, o, step = args
    rows = []
    for _ in range(16):
        at = _address_of(context, builder, signature.args[0], source, i, _sixteen_floats())
        rows.append(builder.load(at, align=4))
        i = builder.add(i, pitch)
    return _store_runs(context, builder, signature.args[3], out, o, step, _transpose(builder, rows))


def _stream(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return _weave(context, builder, signature, args, streamed=True)


def _weave(context: Any, builder: Any, signature: Any, args: Any, streamed: bool = False) -> Any:
    array, i, *channels = args
    pairs = [_join(builder, channels[k : k + 2]) for k in range(0, len(channels), 2)]
    many, runs = len(channels), []
    for part in range(many):
        places = range(16 * part, 16 * part + 16)
        mask = [16 * (at % many) + at // many for at in places]
        runs.append(_shuffle(builder, pairs[0], pairs[1], mask))
    step, kind = i.type(16), signature.args[0]
    return _store_runs(context, builder, kind, array, i, step, runs, streamed)


def _store_runs(
    context: Any, builder: Any, kind: Any, array: Any, i: Any, step: Any, runs: list[Any],
    streamed: bool = False,
) -> Any:  # fmt: skip
    from llvmlite import ir

    for run in runs:
        at = _address_of(context, builder, kind, array, i, _sixteen_floats())
        made = builder.store(run, at, align=64 if streamed else 4)
        if streamed:
            hint = builder.module.add_metadata([ir.IntType(32)(1)])
            made.set_metadata("nontemporal", hint)
        i = builder.add(i, step)
    return context.get_dummy_value()


def _sixteen_floats() -> Any:
    from llvmlite import ir

    return ir.VectorType(ir.FloatType(), 16)


def _define_addresses() -> dict[str, Any]:
    """Functions about where things lie."""
    from llvmlite import ir
    from numba.core import types
    from numba.extending import intrinsic

    def bare(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    def fetch(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, word = ir.IntType(8), ir.IntType(32)
        place = _address(context, builder, signature, args, byte)
        kind = ir.FunctionType(ir.VoidType(), [place.type, word, word, word])
        hint = builder.module.declare_intrinsic("llvm.prefetch", [place.type], kind)
        builder.call(hint, [place, word(0), word(2), word(1)])  # to read, near, data
        return context.get_dummy_value()

    return {
        "bare": intrinsic(lambda typing, array: (types.CPointer(array.dtype)(array), bare)),
        "fetch": _intrinsic(types.void, fetch, 2),
    }


def _type(vector: Any) -> Any:
    """The type of a vector in numba, kept in one register (or as many as it takes)."""
    from numba.core import types
    from numba.core.datamodel import models
    from numba.extending import register_model

    class Lanes(types.Type):
        def __init__(self) -> None:
            super().__init__(name="Lanes")

    @register_model(Lanes)
    class _Model(models.PrimitiveModel):
        def __init__(self, manager: Any, kind: Any) -> None:
            super().__init__(manager, kind, vector)

    return Lanes()


def _intrinsic(result: Any, emit: Emit, count: int) -> Emit:
    """numba wants as many named arguments as the call has."""
    from numba.extending import intrinsic

    return {
        1: lambda: intrinsic(lambda typing, a: (result(a), emit)),
        2: lambda: intrinsic(lambda typing, a, b: (result(a, b), emit)),
        3: lambda: intrinsic(lambda typing, a, b, c: (result(a, b, c), emit)),
        5: lambda: intrinsic(lambda typing, a, b, c, d, e: (result(a, b, c, d, e), emit)),
        6: lambda: intrinsic(lambda typing, a, b, c, d, e, f: (result(a, b, c, d, e, f), emit)),
        9: lambda: intrinsic(
            lambda typing, a, b, c, d, e, f, g, h, i: (result(a, b, c, d, e, f, g, h, i), emit)
        ),
    }[count]()


def _address(context: Any, builder: Any, signature: Any, args: Any, kind: Any) -> Any:
    return _address_of(context, builder, signature.args[0], args[0], args[1], kind)


def _address_of(context: Any, builder: Any, array: Any, value: Any, index: Any, kind: Any) -> Any:
    from numba.core import types

    if not isinstance(array, types.CPointer):
        value = context.make_array(array)(context, builder, value).data
    return builder.bitcast(builder.gep(value, [index]), kind.as_pointer())


def _shuffle(builder: Any, a: Any, b: Any, mask: list[int]) -> Any:
    """Lanes of a (numbered from 0) and of b (from the length of a) in the order of the mask."""
    from llvmlite import ir

    kind = ir.VectorType(ir.IntType(32), len(mask))
    return builder.shuffle_vector(a, b, ir.Constant(kind, mask))


def _join(builder: Any, pair: list[Any]) -> Any:
    """One or two vectors of 16 -> one of 32."""
    return _shuffle(builder, pair[0], pair[-1], list(range(32)))


def _transpose(builder: Any, rows: list[Any]) -> list[Any]:
    """16 vectors of 16: pairs of rows, pairs of pairs, then quarters of registers trade places."""
    quarters = range(0, 16, 4)
    low = [at + lane for at in quarters for lane in (0, 16, 1, 17)]
    high = [at + lane for at in quarters for lane in (2, 18, 3, 19)]
    near = [at + lane for at in quarters for lane in (0, 1, 16, 17)]
    far = [at + lane for at in quarters for lane in (2, 3, 18, 19)]
    even = [at + lane for at in (0, 8, 16, 24) for lane in range(4)]
    odd = [at + 4 for at in even]
    four = []
    for q in quarters:
        pairs = [
            _shuffle(builder, rows[q + k], rows[q + k + 1], m) for m in (low, high) for k in (0, 2)
        ]
        four.append(
            [_shuffle(builder, pairs[k], pairs[k + 1], m) for k in (0, 2) for m in (near, far)]
        )
    found: list[Any] = [None] * 16
    for m in range(4):
        for first, pick in enumerate((even, odd)):
            a = _shuffle(builder, four[0][m], four[1][m], pick)
            b = _shuffle(builder, four[2][m], four[3][m], pick)
            found[4 * first + m] = _shuffle(builder, a, b, even)
            found[4 * first + 8 + m] = _shuffle(builder, a, b, odd)
    return found


def _mix(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """16 pixels of a tile, each between the four neighbours at places[x] and one pitch on."""
    from llvmlite import ir

    tile, places, x, pitch, right, down = args
    pair, word = ir.VectorType(ir.FloatType(), 2), ir.IntType(64)
    rows: list[list[Any]] = [[], []]
    for k in range(16):
        at = builder.add(x, x.type(k))
        i = builder.load(_address_of(context, builder, signature.args[1], places, at, word))
        for row in rows:
            found = _address_of(context, builder, signature.args[0], tile, i, pair)
            row.append(builder.load(found, align=4))
            i = builder.add(i, pitch)
    above, below = (_between(builder, row, right) for row in rows)
    return _lerp(builder, above, below, down)


def _mix_rgb(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """The same of a tile of four floats a pixel -> runs of 16 in three planes from out[o] on."""
    from llvmlite import ir

    tile, places, x, pitch, right, down, out, o, plane = args
    pixel, word = ir.VectorType(ir.FloatType(), 4), ir.IntType(64)
    quarters = []
    for first in range(0, 16, 4):
        corners: list[list[Any]] = [[], [], [], []]
        for k in range(first, first + 4):
            at = builder.add(x, x.type(k))
            i = builder.load(_address_of(context, builder, signature.args[1], places, at, word))
            beside = builder.add(i, i.type(4))
            begins = (i, beside, builder.add(i, pitch), builder.add(beside, pitch))
            for corner, begin in zip(corners, begins, strict=True):
                found = _address_of(context, builder, signature.args[0], tile, begin, pixel)
                corner.append(builder.load(found, align=4))
        joined = [_one(builder, corner) for corner in corners]
        order = [first + lane // 4 for lane in range(16)]
        shares = [_shuffle(builder, share, share, order) for share in (right, down)]
        above = _lerp(builder, joined[0], joined[1], shares[0])
        below = _lerp(builder, joined[2], joined[3], shares[0])
        quarters.append(_lerp(builder, above, below, shares[1]))
    pairs = [_join(builder, quarters[:2]), _join(builder, quarters[2:])]
    planes = [_shuffle(builder, pairs[0], pairs[1], list(range(k, 64, 4))) for k in range(3)]
    return _store_runs(context, builder, signature.args[6], out, o, plane, planes)


def _one(builder: Any, parts: list[Any]) -> Any:
    """A power of two of equal vectors, one after the other, as one."""
    while len(parts) > 1:
        order = list(range(2 * parts[0].type.count))
        parts = [_shuffle(builder, parts[k], parts[k + 1], order) for k in range(0, len(parts), 2)]
    return parts[0]


def _between(builder: Any, pairs: list[Any], share: Any) -> Any:
    """16 pairs of neighbours -> 16 values between them."""
    both = _one(builder, pairs)
    near, far = (_shuffle(builder, both, both, list(range(k, 32, 2))) for k in (0, 1))
    return _lerp(builder, near, far, share)


def _unit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    found = args[0]
    for worse, bound in (("<", 0.0), (">", 1.0)):
        edge = found.type([bound] * 16)
        found = builder.select(builder.fcmp_ordered(worse, found, edge), edge, found)
    return found


def _mad(builder: Any, a: Any, b: Any, c: Any) -> Any:
    # Two operations that may be fused: an fma would be a call where there is no instruction.
    product = builder.fmul(a, b, flags=("contract",))
    return builder.fadd(product, c, flags=("contract",))


def _lerp(builder: Any, a: Any, b: Any, t: Any) -> Any:
    return _mad(builder, t, builder.fsub(b, a), a)


NAMES = "load levels splat spread mul sub mad unit store mix".split()
OTHERS = "turn weave3 weave4 stream3 mix_rgb bare fetch".split()
try:
    _found = _define() | _define_shuffles() | _define_addresses()
except ImportError:  # without numba the kernels can be imported; calling them says what to install
    _found = dict.fromkeys([*NAMES, *OTHERS])

load16, levels16, splat16, spread16, mul16, sub16, mad16, unit16, store16, mix16 = (
    _found[name] for name in NAMES
)
turn16, weave3, weave4, stream3, mix_rgb16, bare, fetch = (_found[name] for name in OTHERS)
