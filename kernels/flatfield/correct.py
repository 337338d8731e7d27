"""Illumination correction of phase contrast: the image over its own wide median.

As the authors of LIVECell prepare images (`preprocess` in code/preprocessing.py of
github.com/sartorius-research/LIVECell; Edlund et al., Nature Methods 18, 2021): the median becomes
128, the background is the median of a 75 x 75 window, wider than a cell, in 8 bits, the image is
divided by it, and halos are clipped to 70 to 180. Here the brightness stays by default (level 128
is theirs), everything is rounded where they truncate, and a background of 0 counts as 1.

Light that falls to 0.65 in the corners is even to 7 % afterwards, to 3 % more than half a window
from the edge (a made-up vignette). 704 x 520 pixels take 27 ms of one core.

It works on whole images, once each, before they are packed, cut or made smaller: as `shrink`, a
function of a numpy image that a source calls after decoding, on the host: no operation of torch.
`background_on_card` alone is one.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..library import register

SIDE = 75
HALO = (70 / 128, 180 / 128)  # of the level
MIDDLE = 128  # what the median becomes while the background is sought

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


def flatfield(
    pixels: Pixels,
    *,
    side: int = SIDE,
    level: float | None = None,
    halo: tuple[float, float] = HALO,
) -> Pixels:
    """(H,W) or (N,H,W) uint8 or uint16 -> the same, evenly lit, each image by itself.

    `side` of the window in pixels, odd, up to 255; `level` of the background afterwards in the
    image's own units, its median if None; `halo`, the least and the most light, as shares of the
    level. Runs without the interpreter lock, with the bits of the reference. ValueError for other
    shapes or types or settings; ImportError where numba is missing.
    """
    _check(pixels, side, level, halo)
    from .cpu import slide  # imports numba

    out = np.empty_like(pixels)
    for image, stored in zip(_each(pixels), _each(out), strict=True):
        twice = _twice_median(image)
        background = np.empty(image.shape, np.uint8)
        slide(_levels(image, twice), side, background)
        stored[:] = _divide(image, background, twice, level, halo)
    return out


def reference(
    pixels: Pixels,
    *,
    side: int = SIDE,
    level: float | None = None,
    halo: tuple[float, float] = HALO,
) -> Pixels:
    """What `flatfield` means, for clarity: numpy's median of every window, in float64."""
    out = np.empty_like(pixels)
    for image, stored in zip(_each(pixels), _each(out), strict=True):
        twice = _twice_median(image)
        edged = np.pad(_levels(image, twice), side // 2, mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(edged, (side, side))
        background = np.stack([np.median(row, axis=(1, 2)) for row in windows]).astype(np.uint8)
        stored[:] = _divide(image, background, twice, level, halo)
    return out


def _empty(levels: torch.Tensor, **_: object) -> torch.Tensor:
    return torch.empty_like(levels, memory_format=torch.contiguous_format)


@register(_empty)
def background_on_card(levels: torch.Tensor, side: int = SIDE) -> torch.Tensor:
    """(N,H,W) uint8 on any device -> (N,H,W) uint8, the bits of the CPU's sliding median.

    255 box counts by running sums: the level is the number of thresholds that half a window at
    most stays under.
    """
    reach, rank = side // 2, side * side // 2
    height, width = levels.shape[1:]
    y, x = (
        torch.arange(-reach, n + reach, device=levels.device).clamp(0, n - 1)
        for n in (height, width)
    )
    edged = levels[:, y][:, :, x]
    found = torch.zeros(levels.shape, dtype=torch.int32, device=levels.device)
    for threshold in range(255):
        under = (edged <= threshold).to(torch.int32)
        for dim in (1, 2):
            total = torch.nn.functional.pad(under.movedim(dim, 0).cumsum(0).movedim(0, -1), (1, 0))
            under = (total[..., side:] - total[..., :-side]).movedim(-1, dim)
        found += under <= rank
    return found.to(torch.uint8)


def _each(pixels: Pixels) -> Pixels:
    return pixels if pixels.ndim == 3 else pixels[None]


def _twice_median(image: Pixels) -> int:
    """Twice the median, a whole number; at least 1."""
    below = np.bincount(image.reshape(-1)).cumsum()
    ranks = ((image.size - 1) // 2, image.size // 2)
    return max(1, int(np.searchsorted(below, ranks, side="right").sum()))


def _levels(image: Pixels, twice: int) -> NDArray[np.uint8]:
    """The image in 8 bits with its median at MIDDLE."""
    most = np.iinfo(image.dtype).max
    table = (4 * MIDDLE * np.arange(most + 1, dtype=np.int64) + twice) // (2 * twice)
    return np.minimum(table, 255).astype(np.uint8)[image]


def _divide(
    image: Pixels,
    background: NDArray[np.uint8],
    twice: int,
    level: float | None,
    halo: tuple[float, float],
) -> NDArray[np.float64]:
    """Image over background, to `level`, between the ends of `halo`, rounded; float64."""
    to = twice / 2 if level is None else level
    share = 2 * MIDDLE * to / twice / np.maximum(np.arange(256), 1)
    light = image * share[background]
    light = np.clip(light, halo[0] * to, min(halo[1] * to, np.iinfo(image.dtype).max))
    return np.floor(light + 0.5)


def _check(pixels: Pixels, side: int, level: float | None, halo: tuple[float, float]) -> None:
    if pixels.ndim not in (2, 3) or 0 in pixels.shape or pixels.dtype not in (np.uint8, np.uint16):
        found = f"{pixels.shape} of {pixels.dtype}"
        raise ValueError(f"pixels must be (H,W) or (N,H,W) of uint8 or uint16, got {found}")
    if not (1 <= side <= 255 and side % 2):
        raise ValueError(f"side must be an odd number from 1 to 255, got {side}")
    most = np.iinfo(pixels.dtype).max
    if level is not None and not 0 < level <= most:
        raise ValueError(f"level must be above 0 and at most {most}, got {level}")
    if not 0 <= halo[0] <= 1 <= halo[1]:
        raise ValueError(f"halo must be (low, high) with 0 <= low <= 1 <= high, got {halo}")
