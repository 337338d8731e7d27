"""A drawn twin of the Bhuvaji brain tumour set: head slices of four classes, nobody's head.

The head (outline, folds, ventricles, device) is drawn before the class is looked at. A glioma is
ragged, with a dark core and a swollen rim, and lies inside a hemisphere; a meningioma is smooth,
even and grows from the skull; a pituitary tumour is small and sits low in the middle, where every
head has a gland. Vessels, a sinus and choroid plexus shine in all of them.

Legend: H rows, W columns. `p` runs to the head's right and `q` down, in half-axes of the head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .canvas import Field, blend, cloud, coordinates, cover, expose, spot
from .tree import Picture, make_card, random_stream, share_out, write_tree

LABELS = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
PARTS = {"Training": (826, 822, 395, 827), "Testing": (100, 115, 105, 74)}
"""Part -> images per class of the real set; a twin has the same shares."""
STEMS = {
    "glioma_tumor": "gg ({})",
    "meningioma_tumor": "m ({})",
    "no_tumor": "{}",
    "pituitary_tumor": "p ({})",
}
SIDES = ((256, 256), (225, 225), (236, 236), (300, 240), (251, 201), (218, 180))
SELLA = 0.50  # where the gland lies on the midline


@dataclass
class Head:
    """One slice in the making."""

    canvas: Field
    """(H, W) signal in 0..1."""
    p: Field
    q: Field
    inside: Field
    """(H, W) how much of a pixel is brain."""
    depth: Field
    """(H, W) 0 in the middle of the head, 0.8 at the brain's surface, 1 at the skin."""
    tumour: float
    """Signal of tissue that has taken up contrast."""


def draw_head(rng: np.random.Generator, rows: int, columns: int) -> Head:
    """A healthy slice: scalp, skull, folded cortex, white matter, ventricles."""
    x, y = coordinates(rows, columns)
    turn = rng.normal(0, 0.10)
    x, y = x - rng.normal(0, 0.04), y - rng.normal(0, 0.04)
    half = rng.uniform(0.68, 0.84), rng.uniform(0.82, 0.94)
    p = (np.cos(turn) * x + np.sin(turn) * y) / np.float32(half[0])
    q = (np.cos(turn) * y - np.sin(turn) * x) / np.float32(half[1])
    lumps = cloud(rng, rows, columns, 3)
    depth = np.hypot(p, q) * (1 + 0.025 * lumps)
    canvas = 0.02 + np.zeros((rows, columns), np.float32)
    blend(canvas, cover(1 - depth, 0.02), rng.uniform(0.5, 0.8))  # skin and fat
    blend(canvas, cover(rng.uniform(0.93, 0.95) - depth, 0.02), 0.07)  # bone
    blend(canvas, cover(0.85 - depth, 0.02), 0.16)  # fluid
    inside = cover(0.81 - depth, 0.03)
    head = Head(canvas, p, q, inside, depth, rng.uniform(0.72, 0.92))
    fold_cortex(head, rng)
    hollow_ventricles(head, rng)
    shine_vessels(head, rng)
    return head


def fold_cortex(head: Head, rng: np.random.Generator) -> None:
    """White matter, a gray rim folded by dark sulci, and the cleft between the hemispheres."""
    rows, columns = head.canvas.shape
    white, gray = rng.uniform(0.46, 0.56), rng.uniform(0.34, 0.42)
    texture = cloud(rng, rows, columns, 24)
    blend(head.canvas, head.inside, white + 0.02 * texture)
    folds = np.abs(cloud(rng, rows, columns, 16))
    rim = cover(head.depth - 0.55 - 0.10 * cloud(rng, rows, columns, 9), 0.12)
    blend(head.canvas, head.inside * rim, gray + 0.02 * texture)
    blend(head.canvas, head.inside * rim * cover(0.11 - folds, 0.14), 0.17)
    cleft = cover(0.012 - np.abs(head.p + 0.01 * cloud(rng, rows, columns, 4)), 0.02)
    blend(head.canvas, 0.8 * head.inside * cleft * cover(np.abs(head.q) - 0.35, 0.1), 0.15)


def hollow_ventricles(head: Head, rng: np.random.Generator) -> None:
    """Two dark horns beside the midline, and a dark cistern with the gland in it below them."""
    wide, tall = rng.uniform(0.05, 0.12), rng.uniform(0.20, 0.32)
    middle = rng.normal(-0.05, 0.04)
    for side in (-1, 1):
        away = side * head.p - 0.06 - wide - 0.35 * np.abs(head.q - middle) ** 1.5
        horn = 1 - (away / wide) ** 2 - ((head.q - middle) / tall) ** 2
        blend(head.canvas, head.inside * cover(horn, 0.5), 0.13)
        glow = spot(head.p, head.q, (side * 0.12, middle + tall * 0.6), (0.02, 0.03))
        blend(head.canvas, rng.uniform(0, 0.8) * glow, head.tumour)  # choroid plexus
    around = 1 - (head.p / 0.17) ** 2 - ((head.q - SELLA) / 0.11) ** 2
    blend(head.canvas, head.inside * cover(around, 0.5), 0.16)
    gland = spot(head.p, head.q, (0, SELLA + 0.02), (0.022, 0.018))
    blend(head.canvas, rng.uniform(0.5, 1) * gland, head.tumour)


def shine_vessels(head: Head, rng: np.random.Generator) -> None:
    """Bright dots anywhere and the sinus at the back: contrast that is no tumour."""
    for _ in range(rng.integers(2, 8)):
        angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.78)
        centre = away * np.cos(angle), away * np.sin(angle)
        dot = spot(head.p, head.q, centre, tuple(rng.uniform(0.01, 0.025, 2)))
        blend(head.canvas, rng.uniform(0.4, 1) * head.inside * dot, head.tumour)
    sinus = spot(head.p, head.q, (0, rng.choice([-0.8, 0.8])), (0.05, 0.03))
    blend(head.canvas, sinus, head.tumour)


def add_glioma(head: Head, rng: np.random.Generator, force: float) -> None:
    """A ragged bright ring round a dark, uneven core, in a wide dark swelling."""
    rows, columns = head.canvas.shape
    side, angle = rng.choice([-1, 1]), rng.uniform(-1.1, 1.1)
    away = rng.uniform(0.28, 0.48)
    centre = side * away * np.cos(angle), away * np.sin(angle)
    radius = force * rng.uniform(0.15, 0.25)
    ragged = 1 + 0.30 * cloud(rng, rows, columns, 12) + 0.15 * cloud(rng, rows, columns, 24)
    reach = np.hypot(head.p - centre[0], head.q - centre[1]) / radius * ragged
    blend(head.canvas, head.inside * cover(1.9 - reach, 0.9), rng.uniform(0.24, 0.34))
    rim = head.tumour * (0.85 + 0.25 * cloud(rng, rows, columns, 14))
    blend(head.canvas, head.inside * cover(1 - reach, 0.2), rim)
    core = 0.2 + 0.16 * cloud(rng, rows, columns, 20)
    blend(head.canvas, head.inside * cover(rng.uniform(0.55, 0.75) - reach, 0.25), core)


def add_meningioma(head: Head, rng: np.random.Generator, force: float) -> None:
    """A smooth, even, bright dome that sits broadly on the inside of the skull."""
    angle = rng.uniform(0, 2 * np.pi)
    radius = force * rng.uniform(0.16, 0.27)
    away = 0.84 - radius * rng.uniform(0.45, 0.85)
    centre = away * np.cos(angle), away * np.sin(angle)
    reach = np.hypot(head.p - centre[0], head.q - centre[1]) / radius
    within = cover(0.845 - head.depth, 0.02)
    blend(head.canvas, within * cover(1.2 - reach, 0.3), 0.24)
    rows, columns = head.canvas.shape
    even = head.tumour * (0.95 + 0.05 * cloud(rng, rows, columns, 16))
    blend(head.canvas, within * cover(1 - reach, 0.12), even)


def add_pituitary(head: Head, rng: np.random.Generator, force: float) -> None:
    """A bright round mass, low on the midline, where the gland was."""
    wide = force * rng.uniform(0.09, 0.16)
    tall = wide * rng.uniform(0.7, 1.1)
    centre = rng.normal(0, 0.02), SELLA - 0.3 * tall
    reach = np.hypot((head.p - centre[0]) / wide, (head.q - centre[1]) / tall)
    rows, columns = head.canvas.shape
    even = head.tumour * (0.95 + 0.05 * cloud(rng, rows, columns, 12))
    blend(head.canvas, cover(1 - reach, 0.25), even)


TUMOURS: dict[str, Callable[[Head, np.random.Generator, float], None]] = {
    "glioma_tumor": add_glioma,
    "meningioma_tumor": add_meningioma,
    "pituitary_tumor": add_pituitary,
}


def draw_slice(label: str, number: int, seed: int) -> NDArray[np.uint8]:
    """(H, W) head slice: size, head and device by (number, seed), the tumour by label too."""
    rng = random_stream("head", number, seed)
    rows, columns = SIDES[int(rng.integers(len(SIDES)))]
    gain, gamma = rng.uniform(0.7, 1.25), rng.uniform(0.8, 1.4)
    head = draw_head(rng, rows, columns)
    if label in TUMOURS:
        growth = random_stream("tumour", label, number, seed)
        force = growth.uniform(0.4, 0.6) if growth.random() < 0.05 else growth.uniform(0.8, 1.1)
        TUMOURS[label](head, growth, force)
    return expose(head.canvas, rng, gain, gamma)


def encode(image: NDArray[np.uint8]) -> bytes:
    """An RGB JPEG of three equal channels, as the real files are."""
    import simplejpeg

    data: bytes = simplejpeg.encode_jpeg(np.repeat(image[:, :, None], 3, axis=2), quality=90)
    return data


def list_pictures(train: int, test: int, seed: int) -> list[Picture]:
    """Every image of the tree; no two share a head."""
    pictures: list[Picture] = []
    for (part, shares), total in zip(PARTS.items(), (train, test), strict=True):
        for label, count in zip(LABELS, share_out(total, shares), strict=True):
            for place in range(1, count + 1):
                name = f"{part}/{label}/{STEMS[label].format(place)}.jpg"
                pictures.append(picture(name, label, len(pictures), seed))
    return pictures


def picture(name: str, label: str, number: int, seed: int) -> Picture:
    """One image of the tree, to be drawn when it is written."""
    return Picture(name, lambda: encode(draw_slice(label, number, seed)))


def write_brain(
    root: Path,
    *,
    train: int = 400,
    test: int = 100,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the tree `root/{Training,Testing}/<class>/<file>.jpg` and `root/twin.json`.

    See `write_tree` for what is left alone, completed and refused.
    """
    pictures = list_pictures(train, test, seed)
    write_tree(root, make_card("brain", train, test, seed), pictures, progress)
