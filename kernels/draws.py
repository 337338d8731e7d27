"""Random words that depend on the run, the sample and the epoch, and on nothing else.

Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), vectorised.
A draw is a function, not a stream: position in the batch, rank and thread never enter the counter,
so the same sample is augmented the same way on one CPU and on 512 GPUs.

    key      k0, k1 = run seed, low and high 32 bits
    counter  c0 = sample index, low 32 bits
             c1 = epoch
             c2 = op: which decision the words are for, one constant below per decision
             c3 = block (16 bits) | sample index, bits 32 to 47
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

ORDER, CROP, FLIP, ROTATE, COLOUR, MIX, RUNS, WEIGHTS, PARTNERS = range(9)
AFFINE, BEND, BLUR, NOISE, ERASE, STAIN, MOSAIC = range(9, 16)
"""Values of `op`. Never renumber: a recorded run would draw differently. Append instead."""

_MULTIPLY = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
_WEYL = np.array([0x9E3779B9, 0xBB67AE85], np.uint64)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox(
    counter: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike], key: tuple[int, int]
) -> NDArray[np.uint32]:
    """Ten rounds of Philox4x32: counters that broadcast to (...) -> (...,4) uint32."""
    whole = np.broadcast_arrays(*(np.asarray(c, np.uint64) for c in counter))
    # Words 0 and 2 side by side, and 1 and 3: half the calls, which are the cost of small batches.
    x, y = np.stack(whole[0::2]), np.stack(whole[1::2])
    wide = (2, *[1] * (x.ndim - 1))
    multiply = _MULTIPLY.reshape(wide)
    keys = np.array(key, np.uint64) + np.arange(10, dtype=np.uint64)[:, None] * _WEYL & _LOW
    for turn in keys.reshape(10, *wide):
        product = x * multiply  # 32 x 32 bits: fits 64
        x, y = (product >> _HALF)[::-1] ^ y, (product & _LOW)[::-1]
        x ^= turn
    return np.stack([x[0], y[0], x[1], y[1]], axis=-1).astype(np.uint32)


def words(
    seed: int, index: ArrayLike, epoch: ArrayLike, op: ArrayLike, block: ArrayLike = 0
) -> NDArray[np.uint32]:
    """Four random words each: arguments that broadcast to (N,) -> (N,4) uint32.

    seed in [0, 2^63), index in [0, 2^48), epoch and op in [0, 2^32), block in [0, 2^16), else
    ValueError. About 40 ns per row.
    """
    _check("seed", seed, 63)
    _check("index", index, 48)
    _check("epoch", epoch, 32)
    _check("op", op, 32)
    _check("block", block, 16)
    sample = np.asarray(index).astype(np.uint64)
    high = np.asarray(block).astype(np.uint64) | (sample >> _HALF) << np.uint64(16)
    return philox((sample & _LOW, epoch, op, high), (int(seed) & 0xFFFFFFFF, int(seed) >> 32))


def _check(name: str, value: Any, bits: int) -> None:
    if type(value) is int and 0 <= value < 1 << bits:
        return  # most are: 3 us less than asking numpy
    value = np.asarray(value)
    if value.dtype.kind not in "iu":
        raise ValueError(f"{name} must be an integer, got {value.dtype}")
    if value.size and (value.min() < 0 or int(value.max()) >> bits):
        raise ValueError(f"{name} must be in [0, 2^{bits}), got {value.min()} to {value.max()}")


def uniform(word: NDArray[np.uint32]) -> NDArray[np.float64]:
    """(...) uint32 -> (...) float64 in [0, 1): 24 bits, so float32 on a GPU holds it exactly."""
    return (word >> np.uint32(8)).astype(np.float64) * 2.0**-24
