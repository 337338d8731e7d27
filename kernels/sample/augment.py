"""What a recipe may draw: every probability and every range of the augmentation, by name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Ranges that random draws are taken from. The defaults draw nothing: a plain resize.

    `S` is the side of the output. A `_chance` is the probability that the draw is made at all.
    """

    fit: Literal["squash", "crop", "letterbox"] = "squash"
    """The whole image whatever its shape, its largest centred square, or whole and undistorted."""
    area: Range = (1.0, 1.0)
    """Random resized crop: share of the image's area, low and high."""
    ratio: Range = (1.0, 1.0)
    """Random resized crop: width over height of the crop, relative to the fitted window's."""
    flip: float = 0.0
    """Probability of a left-right mirror."""
    flip_vertical: float = 0.0
    """Probability of a top-bottom mirror."""
    rotate: float = 0.0
    """Rotation in degrees, drawn from [-rotate, rotate]."""
    scale: Range = (1.0, 1.0)
    """Zoom about the centre; above 1 enlarges."""
    shear: float = 0.0
    """Shear in degrees, drawn from [-shear, shear] for x and for y."""
    translate: float = 0.0
    """Shift as a share of S, drawn from [-translate, translate] for x and for y."""
    affine_chance: float = 1.0
    """Probability of rotation, scale, shear and translation, together."""
    elastic: float = 0.0
    """Smooth deformation: largest shift of a control point (5 x 5 and a rim) as a share of S."""
    elastic_chance: float = 1.0
    border: Literal["constant", "edge", "reflect"] = "constant"
    """What lies beyond the image: `fill`, its edge repeated, or its mirror image."""
    fill: float = 0.0
    """Light beyond the image and beside a letterboxed one, from 0 (black) to 1 (white)."""
    brightness: float = 0.0
    """Factor drawn from [1 - brightness, 1 + brightness]."""
    contrast: float = 0.0
    """Factor drawn from [1 - contrast, 1 + contrast], around the mean gray."""
    saturation: float = 0.0
    """Factor drawn from [1 - saturation, 1 + saturation]; gray images have none."""
    gamma: float = 0.0
    """Exponent drawn from [1 / (1 + gamma), 1 + gamma], evenly in its logarithm."""
    colour_chance: float = 1.0
    """Probability of brightness, contrast, saturation and gamma, together."""
    stain: float = 0.0
    """H&E and DAB amounts times [1 - stain, 1 + stain], plus up to stain / 10, one draw each."""
    stain_chance: float = 1.0
    blur: float = 0.0
    """Half-width of a triangle filter beyond the resize's own, from [0, blur] output pixels."""
    blur_chance: float = 1.0
    noise: float = 0.0
    """Standard deviation of added noise, from [0, noise]; white is 1."""
    noise_chance: float = 1.0
    erase: float = 0.0
    """Probability that a rectangle becomes the mean."""
    erase_area: Range = (0.02, 0.33)
    """Share of the output that is erased."""
    erase_ratio: Range = (0.3, 3.3)
    """Height over width of the erased rectangle."""
    mixup: float = 0.0
    """MixUp: both parameters of the Beta distribution of the share; 0 is off."""
    cutmix: float = 0.0
    """CutMix: the same; where both are on, an image takes either with equal chance."""
    mix_chance: float = 1.0
    """Probability that an image is mixed at all."""

    def __post_init__(self) -> None:
        """Raise a ValueError that names the field and what it allows."""
        for name, allowed in NAMES.items():
            if (value := getattr(self, name)) not in allowed:
                listed = ", ".join(repr(word) for word in allowed[:-1])
                raise ValueError(f"{name} must be {listed} or {allowed[-1]!r}, got {value!r}")
        for name, most in MOST.items():
            if not (_number(value := getattr(self, name)) and 0 <= value <= most):
                raise ValueError(f"{name} must be a number from 0 to {most:g}, got {value!r}")
        for name, most in RANGES.items():
            value = getattr(self, name)
            pair = isinstance(value, tuple | list) and len(value) == 2 and all(map(_number, value))
            if not (pair and 0 < value[0] <= value[1] <= most):
                ends = f"(low, high) with 0 < low <= high <= {most:g}"
                raise ValueError(f"{name} must be {ends}, got {value!r}")
        _check_fold(self)


NAMES = {"fit": ("squash", "crop", "letterbox"), "border": ("constant", "edge", "reflect")}
MOST = {
    "flip": 1.0, "flip_vertical": 1.0, "rotate": 180.0, "shear": 60.0, "translate": 1.0,
    "affine_chance": 1.0, "elastic": 0.06, "elastic_chance": 1.0, "fill": 1.0,
    "brightness": 16.0, "contrast": 16.0, "saturation": 16.0, "gamma": 4.0, "colour_chance": 1.0,
    "stain": 1.0, "stain_chance": 1.0, "blur": 16.0, "blur_chance": 1.0, "noise": 1.0,
    "noise_chance": 1.0, "erase": 1.0, "mixup": 32.0, "cutmix": 32.0, "mix_chance": 1.0,
}  # fmt: skip
RANGES = {"area": 1.0, "ratio": 1000.0, "scale": 16.0, "erase_area": 1.0, "erase_ratio": 1000.0}

# A picture folds where two of its places come to lie on one: where the derivative of positions,
# the affine's plus the displacement's, has no inverse. No control point moves by more than
# elastic * S, and a cell is S / 4 wide. The cubic B-spline changes along x by -(1-t)^2 / 2,
# (3t^2 - 4t) / 2, (1 + 2t - 3t^2) / 2 and t^2 / 2 times its four points, t the place in the cell:
# 1 + 2t - 2t^2 <= 3/2 in all, if signs are the worst. Across, weights are positive and sum to 1. So
# x changes by at most 3/2 * elastic * S / (S / 4) = 6 * elastic, in any other direction as well, y
# by as much, and both together by 6 * sqrt(2) * elastic for a step of 1 output pixel. The affine
# goes from output to tile: it undoes turn, shear and scale, so it takes that step at least as far
# as 1 / (scale * stretch), `stretch` the most that the shear lengthens. While that is more, the
# sum is 0 for no step. With a turn of 45 degrees and no shear the limit is reached.
STEEPEST = 6 * math.sqrt(2)


def _check_fold(augment: Augment) -> None:
    """ValueError if `elastic` and the affine may fold the picture between them."""
    slant = math.tan(math.radians(augment.shear))
    stretch = ((slant + math.sqrt(slant * slant + 4)) / 2) ** 2  # of [[1, -t], [-t, 1 + t * t]]
    elastic, most = augment.elastic, augment.scale[1]
    both = augment.elastic_chance > 0 and augment.affine_chance > 0
    if not both or STEEPEST * elastic * most * stretch < 1:
        return
    bend, zoom = 0.999 / (STEEPEST * most * stretch), 0.999 / (STEEPEST * elastic * stretch)
    raise ValueError(
        f"elastic {elastic:g} with scale up to {most:g} and shear {augment.shear:g} can fold the"
        f" picture; give elastic of at most {math.floor(bend * 1e4) / 1e4:g}, or scale up to"
        f" {math.floor(zoom * 100) / 100:g}, or less shear"
    )


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
