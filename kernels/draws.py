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

import numpy as np
from numpy.typing import ArrayLike, NDArray

ORDER, CROP, FLIP, ROTATE, COLOUR, MIX, RUNS, WEIGHTS, PARTNERS = range(9)
AFFINE, BEND, BLUR, NOISE, ERASE, STAIN, MOSAIC = range(9, 16)
"""Values of `op`. Never renumber: a recorded run would draw differently. Append instead."""

_MULTIPLY = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox(
    counter: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike], key: tuple[int, int]
) -> NDArray[np.uint32]:
    """Ten rounds of Philox4x32: counters that broadcast to (...) -> (...,4) uint32."""
    c0, c1, c2, c3 = (np.asarray(c, np.uint64) for c in counter)
    for turn in range(10):
        k0, k1 = (np.uint64((k + turn * w) & 0xFFFFFFFF) for k, w in zip(key, _WEYL, strict=True))
        even, odd = c0 * _MULTIPLY[0], c2 * _MULTIPLY[1]  # 32 x 32 bits: fits 64
        c0, c1, c2, c3 = (
            (odd >> _HALF) ^ c1 ^ k0,
            odd & _LOW,
            (even >> _HALF) ^ c3 ^ k1,
            even & _LOW,
        )
    return np.stack(np.broadcast_arrays(c0, c1, c2, c3), axis=-1).astype(np.uint32)


def words(
    seed: int, index: ArrayLike, epoch: ArrayLike, op: int, block: ArrayLike = 0
) -> NDArray[np.uint32]:
    """Four random words each: `index`, `epoch`, `block` that broadcast to (N,) -> (N,4) uint32.

    seed in [0, 2^63), index in [0, 2^48), epoch and op in [0, 2^32), block in [0, 2^16), else
    ValueError. About 40 ns per row.
    """
    limits = {"seed": (seed, 63), "index": (index, 48), "epoch": (epoch, 32)}
    for name, (value, bits) in (limits | {"op": (op, 32), "block": (block, 16)}).items():
        value = np.asarray(value)
        if value.dtype.kind not in "iu":
            raise ValueError(f"{name} must be an integer, got {value.dtype}")
        if value.size and (value.min() < 0 or int(value.max()) >> bits):
            raise ValueError(f"{name} must be in [0, 2^{bits}), got {value.min()} to {value.max()}")
    sample = np.asarray(index).astype(np.uint64)
    high = np.asarray(block).astype(np.uint64) | (sample >> _HALF) << np.uint64(16)
    return philox((sample & _LOW, epoch, op, high), (int(seed) & 0xFFFFFFFF, int(seed) >> 32))


def uniform(word: NDArray[np.uint32]) -> NDArray[np.float64]:
    """(...) uint32 -> (...) float64 in [0, 1): 24 bits, so float32 on a GPU holds it exactly."""
    return (word >> np.uint32(8)).astype(np.float64) * 2.0**-24
