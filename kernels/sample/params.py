"""What `sample` is told about each image: integers, computed once on the host, same everywhere.

Legend: N images, P columns, S side of the output in pixels.

A row of parameters is int32. Lengths are Q16: pixels of the *source* (for the crop window) or of
the *tile* (for the affine), times 65,536. Colour factors are Q16 too. So the choice of pixels is
integer arithmetic and cannot differ between a CPU, Triton and CUDA.

Order of work, which is torchvision's `resized_crop(antialias=True)` -> `hflip` -> `vflip` ->
`rotate(bilinear, fill=0)` -> `adjust_brightness` -> `adjust_contrast` -> `adjust_saturation`:

1. The window (top, left, height, width) of the source is resized to an S x S tile by a separable
   triangle filter whose support is clipped to the window.
2. FLAGS bit 0 mirrors the tile left-right, bit 1 top-bottom.
3. FLAGS bit 2: each output pixel (x, y) reads the tile bilinearly at
   (XX*x + XY*y + X0, YX*x + YY*y + Y0), all Q16, counted from pixel centres; outside is 0.
4. Brightness, contrast (around the tile's own mean gray) and saturation; each clamps to [0, 1].
5. Normalise: (value - mean) / std.

A gray source has no saturation and is repeated if three channels are asked for. An RGB source is
turned gray right after step 1 if one channel is asked for, with torchvision's rounding of ITU-R
601: 0.2989 R + 0.587 G + 0.114 B.

Q16 in int32 reaches 32,767 pixels: larger sources are cut into regions first (slides) or refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import draws

Q = 16
ONE = 1 << Q

TOP, LEFT, HEIGHT, WIDTH = 0, 1, 2, 3
FLAGS = 4
XX, XY, X0, YX, YY, Y0 = 5, 6, 7, 8, 9, 10
BRIGHTNESS, CONTRAST, SATURATION = 11, 12, 13
LONGEST = (1 << 31 - Q) - 1  # 32,767 pixels
TRIES = 10  # torchvision's RandomResizedCrop
COLUMNS = 16  # two spare, so that a row is 64 bytes: one cache line

MIRROR, UPEND, AFFINE, COLOUR = 1, 2, 4, 8


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Ranges that random draws are taken from. The defaults draw nothing: a plain resize."""

    fit: Literal["squash", "crop"] = "squash"
    """What to resize: the whole image whatever its shape, or its largest centred square."""
    area: tuple[float, float] = (1.0, 1.0)
    """Random resized crop: share of the image's area, low and high."""
    ratio: tuple[float, float] = (1.0, 1.0)
    """Random resized crop: width over height of the crop, relative to the fitted window's."""
    flip: float = 0.0
    """Probability of a left-right mirror."""
    flip_vertical: float = 0.0
    """Probability of a top-bottom mirror."""
    rotate: float = 0.0
    """Rotation in degrees, drawn from [-rotate, rotate]."""
    brightness: float = 0.0
    """Factor drawn from [1 - brightness, 1 + brightness]."""
    contrast: float = 0.0
    """Factor drawn from [1 - contrast, 1 + contrast], around the mean gray."""
    saturation: float = 0.0
    """Factor drawn from [1 - saturation, 1 + saturation]; gray images have none."""

    def __post_init__(self) -> None:
        """Raise a ValueError that names the field and what it allows."""
        if self.fit not in ("squash", "crop"):
            raise ValueError(f"fit must be 'squash' or 'crop', got {self.fit!r}")
        limits = {"flip": 1.0, "flip_vertical": 1.0, "rotate": 180.0}
        limits |= {"brightness": 16.0, "contrast": 16.0, "saturation": 16.0}
        for name, most in limits.items():
            if not (_number(value := getattr(self, name)) and 0 <= value <= most):
                raise ValueError(f"{name} must be a number from 0 to {most:g}, got {value!r}")
        for name, most in {"area": 1.0, "ratio": 1000.0}.items():
            value = getattr(self, name)
            pair = isinstance(value, tuple | list) and len(value) == 2 and all(map(_number, value))
            if not (pair and 0 < value[0] <= value[1] <= most):
                allowed = f"(low, high) with 0 < low <= high <= {most:g}"
                raise ValueError(f"{name} must be {allowed}, got {value!r}")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def resolve(
    augment: Augment,
    shape: ArrayLike,
    size: int,
    *,
    seed: int,
    epoch: ArrayLike,
    index: ArrayLike,
) -> NDArray[np.int32]:
    """Draw for each: (N,3) full-resolution (H,W,C), S, (N,) epoch, (N,) index -> (N,P) int32.

    A row depends on its own (seed, epoch, index) and shape only. ValueError for sides outside 1 to
    32,767 pixels, or indices and epochs that `draws.words` refuses.
    """
    rows = plain(augment.fit, shape, size)
    index, epoch = np.broadcast_arrays(np.asarray(index), np.asarray(epoch))
    if index.shape != (len(rows),):
        raise ValueError(f"index and epoch must be ({len(rows)},), got {index.shape}")

    def draw(op: int) -> NDArray[np.float64]:
        return draws.uniform(draws.words(seed, index, epoch, op))

    if tuple(augment.area) != (1, 1) or tuple(augment.ratio) != (1, 1):
        block = np.arange(TRIES)
        tries = draws.words(seed, index[:, None], epoch[:, None], draws.CROP, block)
        rows[:, TOP : WIDTH + 1] = _crop(augment, rows[:, TOP : WIDTH + 1], draws.uniform(tries))
    if augment.flip or augment.flip_vertical:
        flips = draw(draws.FLIP)
        rows[:, FLAGS] |= MIRROR * (flips[:, 0] < augment.flip)
        rows[:, FLAGS] |= UPEND * (flips[:, 1] < augment.flip_vertical)
    if augment.rotate:
        angle = _between(-augment.rotate, augment.rotate, draw(draws.ROTATE)[:, 0])
        rotate(rows, angle, size)
    if augment.brightness or augment.contrast or augment.saturation:
        _recolour(augment, rows, draw(draws.COLOUR))
    return rows


def plain(fit: str, shape: ArrayLike, size: int) -> NDArray[np.int32]:
    """Nothing drawn, for evaluation: (N,3) full-resolution (H,W,C), S -> (N,P) int32.

    "squash" takes the whole image, "crop" its largest centred square (torchvision's CenterCrop).
    """
    shape = np.asarray(shape)
    if shape.ndim != 2 or shape.shape[1] != 3:
        raise ValueError(f"shape must be (N,3), got {shape.shape}")
    sides = shape[:, :2].astype(np.int64)
    if sides.size and not (sides.min() >= 1 and sides.max() <= LONGEST):
        raise ValueError(f"sides must be 1 to {LONGEST} pixels, got {sides.min()} to {sides.max()}")
    if not 1 <= size <= LONGEST // 2:
        raise ValueError(f"size must be 1 to {LONGEST // 2} pixels, got {size}")
    window = sides if fit == "squash" else np.minimum(sides, sides.min(axis=1, keepdims=True))
    rows = np.zeros((len(shape), COLUMNS), np.int32)
    rows[:, TOP : LEFT + 1] = np.rint((sides - window) / 2) * ONE
    rows[:, HEIGHT : WIDTH + 1] = window * ONE
    rows[:, [XX, YY, BRIGHTNESS, CONTRAST, SATURATION]] = ONE
    return rows


def _crop(
    augment: Augment, fitted: NDArray[np.int32], tries: NDArray[np.float64]
) -> NDArray[np.int64]:
    """RandomResizedCrop inside fitted windows: (N,4) Q16, (N,TRIES,4) uniforms -> (N,4) Q16."""
    corner, side = fitted[:, None, :2] >> Q, fitted[:, None, 2:] >> Q
    area = _between(*augment.area, tries[..., 0])
    low, high = augment.ratio
    ratio = np.exp(_between(math.log(low), math.log(high), tries[..., 1]))
    share = np.stack([np.sqrt(area / ratio), np.sqrt(area * ratio)], axis=-1)  # of height, width
    crop = np.rint(share * side).astype(np.int64)
    fits = ((crop > 0) & (crop <= side)).all(axis=-1)
    start = np.floor(tries[..., 2:] * (side - crop + 1)).astype(np.int64)
    first = np.argmax(fits, axis=1)
    row = np.arange(len(fitted))
    drawn = np.concatenate([(corner + start)[row, first], crop[row, first]], axis=1)

    # No try fits: the largest centred window whose ratio is allowed.
    most = np.array([min(1.0, 1 / low), min(1.0, high)])  # of height if too tall, width if too wide
    crop = np.maximum(np.rint(side[:, 0] * most), 1).astype(np.int64)
    centred = np.concatenate([corner[:, 0] + (side[:, 0] - crop) // 2, crop], axis=1)
    return np.where(fits.any(axis=1, keepdims=True), drawn, centred) * ONE


def _recolour(augment: Augment, rows: NDArray[np.int32], shares: NDArray[np.float64]) -> None:
    """Set the colour factors of (N,P) rows from (N,4) uniforms, in place."""
    rows[:, FLAGS] |= COLOUR
    for column, name in ((0, "brightness"), (1, "contrast"), (2, "saturation")):
        spread = getattr(augment, name)
        factor = _between(max(0.0, 1 - spread), 1 + spread, shares[:, column])
        rows[:, BRIGHTNESS + column] = np.rint(factor * ONE)


def _between(low: float, high: float, share: NDArray[np.float64]) -> NDArray[np.float64]:
    return low + (high - low) * share


def rotate(rows: NDArray[np.int32], degrees: ArrayLike, size: int) -> None:
    """Set the affine of (N,P) rows to a turn about the tile's centre, counter-clockwise, in place.

    The offsets come from the rounded matrix, so the centre stays put and the error of Q16 is at
    most S/2 * 2^-16 pixels, 0.002 at 224.
    """
    angle = np.radians(np.broadcast_to(np.asarray(degrees, np.float64), len(rows)))
    cosine = np.rint(np.cos(angle) * ONE).astype(np.int64)
    sine = np.rint(np.sin(angle) * ONE).astype(np.int64)
    rows[:, XX], rows[:, XY], rows[:, YX], rows[:, YY] = cosine, -sine, sine, cosine
    rows[:, X0] = ((size - 1) * (ONE - cosine + sine)) >> 1
    rows[:, Y0] = ((size - 1) * (ONE - sine - cosine)) >> 1
    rows[:, FLAGS] |= AFFINE


def choose_level(params: NDArray[np.int32], size: int, levels: ArrayLike) -> NDArray[np.int64]:
    """The mip level to read: (N,P) full-resolution rows, (N,) levels there are -> (N,) level.

    The coarsest that still leaves a shrink of at least 2 in both directions, 0 (full size) if none
    does: min(height, width) / 2^level / S >= 2.
    """
    shrink = params[:, HEIGHT : WIDTH + 1].min(axis=1).astype(np.int64) // (2 * size * ONE)
    level = np.frexp(shrink.astype(np.float64))[1] - 1  # floor(log2), exact; -1 for 0
    return np.clip(level, 0, np.asarray(levels, np.int64) - 1)


def at_level(params: NDArray[np.int32], level: ArrayLike) -> NDArray[np.int32]:
    """Scale the windows of full-resolution rows by 2^-level: (N,P), (N,) -> (N,P), a copy."""
    scaled = params.copy()
    scaled[:, TOP : WIDTH + 1] >>= np.asarray(level, np.int32)[:, None]
    return scaled
