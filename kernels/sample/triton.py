"""`sample` on a card: one launch where nothing turns and no mean is asked for, else two or three.

Legend: N images, P rows per output, S side of the output, K its channels, T programs per image.

    raw pixels -> batch                               crop, flip, letterbox, tone, noise, erase
    raw pixels -> tiles -> batch                      turning and bending read the tile bilinearly
    raw pixels [-> tiles] -> light and sums -> batch  contrast turns around the output's mean gray

Each arrow is a launch of one kernel, compiled for its source and its sink; tiles and light are
float32 planes in device memory, the sums one float per program, added up in one order.
"""

# ruff: noqa: SIM102 - the outer `if` is decided when compiling, the inner one is a branch
from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch

from ..op import constants, triton_jit
from . import columns
from . import steps as every
from .checks import check_call
from .triton_colour import brighten, gamma, luma, noise, pivot, saturate, stain
from .triton_light import coloured, filtered, placed, turned

try:
    import triton.language as tl
except ImportError:  # the file can be imported; `on_card` says what is missing
    tl = None  # type: ignore[assignment, unused-ignore]

BLOCK = 32  # 224 = 7 x 32: a warp is a run of 32 columns, so a row is interleaved inside it
WARPS = 8  # four rows a thread: 55 registers on sm_90 for gray, 95 with 4 warps
RAW, TILES, LIGHT = 0, 1, 2

FLAGS, COLOUR, KEEP, COLUMNS = constants(columns, "FLAGS COLOUR KEEP COLUMNS")
BOX_TOP, BOX_LEFT, BOX_HEIGHT, BOX_WIDTH = constants(
    columns, "BOX_TOP BOX_LEFT BOX_HEIGHT BOX_WIDTH"
)
ERASE_TOP, ERASE_LEFT, ERASE_HEIGHT, ERASE_WIDTH = constants(
    columns, "ERASE_TOP ERASE_LEFT ERASE_HEIGHT ERASE_WIDTH"
)
STAINS, TONES, PIVOTS, POWERS, GRAINS, HOLES, BOXES = constants(
    every, "STAIN TONE PIVOT POWER GRAIN HOLE BOX"
)


@triton_jit
def within(row, y, x, S: tl.constexpr, STEPS: tl.constexpr):
    """Which of the pixels (y, x) a row writes: all of the output, or its own box (KEEP)."""
    rows, across = y < S, x < S
    if STEPS & BOXES:
        if (tl.load(row + FLAGS) & KEEP) != 0:
            top, left = tl.load(row + BOX_TOP), tl.load(row + BOX_LEFT)
            rows &= (y >= top) & (y < top + tl.load(row + BOX_HEIGHT))
            across &= (x >= left) & (x < left + tl.load(row + BOX_WIDTH))
    return rows[:, None] & across[None, :]


@triton_jit
def met(row, y, x, S: tl.constexpr, BLOCK: tl.constexpr, STEPS: tl.constexpr):
    """Whether this program has a pixel of what a row writes."""
    if STEPS & BOXES:
        return tl.max(tl.max(within(row, y, x, S, STEPS).to(tl.int32), axis=1), axis=0) > 0
    else:
        return True


@triton_jit
def first_half(row, red, green, blue, colours, STEPS: tl.constexpr):
    """Stain and brightness: what comes before the mean gray is taken."""
    if STEPS & STAINS:
        red, green, blue = stain(row, red, green, blue, colours)
    if STEPS & (TONES | PIVOTS):
        if (tl.load(row + FLAGS) & COLOUR) != 0:
            red, green, blue = brighten(row, red, green, blue)
    return red, green, blue


@triton_jit
def second_half(
    row, middle, red, green, blue, y, x, colours, S: tl.constexpr, STEPS: tl.constexpr
):  # fmt: skip
    """Contrast, saturation, gamma, noise."""
    if STEPS & (TONES | PIVOTS):
        if (tl.load(row + FLAGS) & COLOUR) != 0:
            if STEPS & PIVOTS:
                red, green, blue = pivot(row, middle, red, green, blue)
            red, green, blue = saturate(row, red, green, blue, colours)
    if STEPS & POWERS:
        red, green, blue = gamma(row, red, green, blue, colours)
    if STEPS & GRAINS:
        red, green, blue = noise(row, red, green, blue, y, x, colours, S)
    return red, green, blue


@triton_jit
def kept(row, y, x, STEPS: tl.constexpr):
    """1 where the result stays, 0 inside the ERASE rectangle: (BY,BX), or just 1."""
    if STEPS & HOLES:
        top, left = tl.load(row + ERASE_TOP), tl.load(row + ERASE_LEFT)
        rows = (y >= top) & (y < top + tl.load(row + ERASE_HEIGHT))
        across = (x >= left) & (x < left + tl.load(row + ERASE_WIDTH))
        return tl.where(rows[:, None] & across[None, :], 0.0, 1.0)
    else:
        return 1.0


@triton_jit
def middle_gray(row, sums, S: tl.constexpr, T: tl.constexpr, ROOM: tl.constexpr):
    """The mean gray of what a row writes, from the sums of its T programs."""
    each = tl.arange(0, ROOM)
    total = tl.sum(tl.load(sums + each, mask=each < T, other=0.0), axis=0)
    count = tl.load(row + BOX_HEIGHT) * tl.load(row + BOX_WIDTH)
    count = tl.where((tl.load(row + FLAGS) & KEEP) != 0, count, S * S)
    return total / count.to(tl.float32)


@triton_jit
def finish(
    out, row, red, green, blue, y, first, m0, m1, m2, g0, g1, g2, colours,
    S: tl.constexpr, K: tl.constexpr, BLOCK: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """Normalise, erase and store channels-last: `out` points to one (S,S,K) output.

    Three channels go out in three whole runs of BLOCK values a row: value f of a row is channel
    f % 3 of pixel f // 3, handed over inside the warp. Stored plane by plane, each sector of 32
    bytes would be written three times, a third of it each time.
    """
    f = tl.arange(0, BLOCK)
    for run in tl.static_range(K):
        local, channel = (f + run * BLOCK) // K, (f + run * BLOCK) % K
        value, mean, gain = red, m0, g0
        if K == 3:
            value = spread(red, green, blue, local, channel, colours, BLOCK)
            mean = tl.where(channel == 0, m0, tl.where(channel == 1, m1, m2))[None, :]
            gain = tl.where(channel == 0, g0, tl.where(channel == 1, g1, g2))[None, :]
        value = (value - mean) * gain * kept(row, y, first + local, STEPS)
        at = out + (y[:, None] * S + first) * K + (f + run * BLOCK)[None, :]
        tl.store(at, value.to(out.dtype.element_ty), mask=within(row, y, first + local, S, STEPS))


@triton_jit
def spread(red, green, blue, local, channel, colours, BLOCK: tl.constexpr):
    """Pixel `local` and its `channel` for each column (BLOCK,) of three planes (BLOCK,BLOCK)."""
    source = local[None, :] + tl.zeros([BLOCK, 1], tl.int32)
    value = tl.gather(red, source, axis=1)
    if colours:
        g, b = tl.gather(green, source, axis=1), tl.gather(blue, source, axis=1)
        other = tl.where(channel[None, :] == 1, g, b)
        value = tl.where(channel[None, :] == 0, value, other)
    return value


@triton_jit
def light_at(
    pixels, curve, size, row, tile, light, y, x, unit, colours,
    S: tl.constexpr, K: tl.constexpr, BLOCK: tl.constexpr, CURVED: tl.constexpr,
    STEPS: tl.constexpr, SOURCE: tl.constexpr,
):  # fmt: skip
    """Light of the output's pixels (y, x) from SOURCE: raw pixels, a tile, or stored light."""
    if SOURCE == 0:
        red, green, blue = placed(
            pixels, curve, size, row, y, x, unit, BLOCK, BLOCK, CURVED, K, STEPS
        )
    elif SOURCE == 1:
        red, green, blue = turned(tile, row, y, x, colours, S, STEPS)
    else:
        at, mask = light + y[:, None] * S + x[None, :], (y < S)[:, None] & (x < S)[None, :]
        red = tl.load(at, mask=mask, other=0.0)
        green, blue = red, red
        if colours:
            green = tl.load(at + S * S, mask=mask, other=0.0)
            blue = tl.load(at + 2 * S * S, mask=mask, other=0.0)
    return red, green, blue


@triton_jit
def three(at, red, green, blue, mask, colours, PLANE: tl.constexpr):
    """Store one plane, or three where the source has colours."""
    tl.store(at, red, mask=mask)
    if colours:
        tl.store(at + PLANE, green, mask=mask)
        tl.store(at + 2 * PLANE, blue, mask=mask)


@triton_jit
def resize(
    pixels, start, shape, params, curve, tiles, unit,
    S: tl.constexpr, K: tl.constexpr, BLOCK: tl.constexpr, CURVED: tl.constexpr,
    STEPS: tl.constexpr,
):  # fmt: skip
    """Raw pixels -> tiles, float32 planes (N,K,S,S) of which each fills its box; grid (T, N)."""
    across: tl.constexpr = (S + BLOCK - 1) // BLOCK
    y = tl.program_id(0) // across * BLOCK + tl.arange(0, BLOCK)
    x = tl.program_id(0) % across * BLOCK + tl.arange(0, BLOCK)
    n = tl.program_id(1).to(tl.int64)
    row, size = params + n * COLUMNS, shape + n * 3
    tall = tl.minimum(tl.load(row + BOX_HEIGHT), S)
    wide = tl.minimum(tl.load(row + BOX_WIDTH), S)
    red, green, blue = filtered(
        pixels + tl.load(start + n), curve, size, row, tl.minimum(y, tall - 1),
        tl.minimum(x, wide - 1), BLOCK, BLOCK, CURVED, K, STEPS,
    )  # fmt: skip
    mask = (y < tall)[:, None] & (x < wide)[None, :]
    colours = coloured(tl.load(size + 2), K, STEPS)
    at = tiles + n * (S * S * K) + y[:, None] * S + x[None, :]
    three(at, red * unit, green * unit, blue * unit, mask, colours, S * S)


@triton_jit
def measure(
    pixels, start, shape, params, curve, tiles, light, sums, unit,
    S: tl.constexpr, K: tl.constexpr, T: tl.constexpr, BLOCK: tl.constexpr,
    CURVED: tl.constexpr, STEPS: tl.constexpr, SOURCE: tl.constexpr,
):  # fmt: skip
    """SOURCE -> light after brightness, planes (N,K,S,S), and sums of its gray (N,T)."""
    across: tl.constexpr = (S + BLOCK - 1) // BLOCK
    y = tl.program_id(0) // across * BLOCK + tl.arange(0, BLOCK)
    x = tl.program_id(0) % across * BLOCK + tl.arange(0, BLOCK)
    n = tl.program_id(1).to(tl.int64)
    row, size = params + n * COLUMNS, shape + n * 3
    colours = coloured(tl.load(size + 2), K, STEPS)
    plane = n * (S * S * K)
    red, green, blue = light_at(
        pixels + tl.load(start + n), curve, size, row, tiles + plane, light, y, x, unit, colours,
        S, K, BLOCK, CURVED, STEPS, SOURCE,
    )  # fmt: skip
    red, green, blue = first_half(row, red, green, blue, colours, STEPS)
    mask = within(row, y, x, S, STEPS)
    at = light + plane + y[:, None] * S + x[None, :]
    three(at, red, green, blue, mask, colours, S * S)
    gray = tl.where(mask, luma(red, green, blue, colours), 0.0)
    tl.store(sums + n * T + tl.program_id(0), tl.sum(tl.sum(gray, axis=1), axis=0))


@triton_jit
def develop(
    pixels, start, shape, params, curve, tiles, light, sums, out,
    unit, m0, m1, m2, g0, g1, g2, parts,
    S: tl.constexpr, K: tl.constexpr, T: tl.constexpr, ROOM: tl.constexpr, BLOCK: tl.constexpr,
    CURVED: tl.constexpr, STEPS: tl.constexpr, SOURCE: tl.constexpr,
):  # fmt: skip
    """SOURCE -> `parts` rows of the finished output (N/parts,S,S,K); grid (T, N/parts)."""
    across: tl.constexpr = (S + BLOCK - 1) // BLOCK
    y = tl.program_id(0) // across * BLOCK + tl.arange(0, BLOCK)
    left = tl.program_id(0) % across * BLOCK
    x = left + tl.arange(0, BLOCK)
    m = tl.program_id(1).to(tl.int64)
    for part in range(parts):  # in order: a later row may lie on an earlier one
        n = m * parts + part
        row, size = params + n * COLUMNS, shape + n * 3
        if met(row, y, x, S, BLOCK, STEPS):
            colours = coloured(tl.load(size + 2), K, STEPS)
            plane = n * (S * S * K)
            red, green, blue = light_at(
                pixels + tl.load(start + n), curve, size, row, tiles + plane, light + plane, y, x,
                unit, colours, S, K, BLOCK, CURVED, STEPS, SOURCE,
            )  # fmt: skip
            middle = 0.0
            if SOURCE == 2:
                middle = middle_gray(row, sums + n * T, S, T, ROOM)
            else:
                red, green, blue = first_half(row, red, green, blue, colours, STEPS)
            red, green, blue = second_half(row, middle, red, green, blue, y, x, colours, S, STEPS)
            finish(
                out + m * (S * S * K), row, red, green, blue, y, left, m0, m1, m2, g0, g1, g2,
                colours, S, K, BLOCK, STEPS,
            )  # fmt: skip


def on_card(
    pixels: torch.Tensor,
    start: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    *,
    size: int,
    channels: int,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype = torch.float32,
    table: torch.Tensor | None = None,
    parts: int = 1,
    steps: int | None = None,
    threads: int | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """As `op.sample`; never waits for the card, so values that lie on it are not looked at."""
    if tl is None:
        raise ImportError("the triton back end of sample needs triton: pip install triton")
    out = check_call(
        pixels, start, shape, params, size=size, channels=channels, mean=mean, std=std,
        dtype=dtype, table=table, parts=parts, out=out,
    )  # fmt: skip
    wanted = (every.ALL if steps is None else steps) | (every.BOX if parts > 1 else 0)
    single = torch.empty_like(out, dtype=torch.float32) if out.dtype == torch.float64 else out
    if wanted & every.BOX:
        single.zero_()  # rows with KEEP may leave gaps, and whether there are any lies on the card
    if len(start):
        with torch.cuda.device(pixels.device) if pixels.is_cuda else nullcontext():
            launch(pixels, start, shape, params, table, single, mean, std, parts, wanted)
    return out if single is out else out.copy_(single)


def launch(
    pixels: torch.Tensor,
    start: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    table: torch.Tensor | None,
    out: torch.Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    parts: int,
    wanted: int,
) -> None:
    """One to three launches on the current stream: (flat), (N,), (N,3), (N,P) -> fills `out`."""
    count, (channels, size) = len(start), out.shape[1:3]
    programs = (-(-size // BLOCK)) ** 2
    unit = 1.0 if table is not None else 1 / torch.iinfo(pixels.dtype).max
    nowhere = torch.empty(0, dtype=torch.float32, device=out.device)
    curve, tiles, light, sums = nowhere if table is None else table, nowhere, nowhere, nowhere
    fixed: dict[str, Any] = {
        "S": size, "K": channels, "BLOCK": BLOCK, "CURVED": table is not None, "STEPS": wanted,
        "num_warps": WARPS,
    }  # fmt: skip
    source, batch = RAW, (pixels, start, shape, params, curve)
    planes = (count, channels, size, size)
    if wanted & every.TURN:
        tiles, source = nowhere.new_empty(planes), TILES
        resize[(programs, count)](*batch, tiles, unit, **fixed)
    if wanted & every.PIVOT:
        light, sums = nowhere.new_empty(planes), nowhere.new_empty(count, programs)
        measure[(programs, count)](
            *batch, tiles, light, sums, unit, T=programs, SOURCE=source, **fixed
        )
        source = LIGHT
    level = ((*mean, 0.0, 0.0)[:3], (*(1 / each for each in std), 1.0, 1.0)[:3])
    develop[(programs, count // parts)](
        *batch, tiles, light, sums, out, unit, *level[0], *level[1], parts,
        T=programs, ROOM=1 << (programs - 1).bit_length(), SOURCE=source, **fixed,
    )  # fmt: skip
