"""A drawn twin of the Kermany chest X-ray set: radiographs of lungs, clear or with pneumonia.

The chest (build, ribs, heart, exposure) is a patient's and is drawn before the diagnosis is looked
at. Bacterial pneumonia is one or two dense clouds within a lobe, viral pneumonia is thin and
streaky in both lungs; vessels fan out from the hila of every patient, and exposure varies more
than an infiltrate adds, so mean brightness says little.

Legend: H rows, W columns. x runs from -1 to 1 to the right of the film, y from -1 to 1 down.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .canvas import Field, blend, cloud, coordinates, cover, enlarge, expose, spot
from .tree import Picture, make_card, random_stream, share_out, write_tree

LABELS = ("NORMAL", "PNEUMONIA")
PARTS = {"train": (1341, 3875), "test": (234, 390)}
"""Part -> images per class of the real set; a twin has the same shares."""
BACTERIA = 0.65  # share of the real train folder's pneumonia files that are named so, about
PROGRESSIVE = 0.2  # two of ten sample files are progressive JPEGs
SIDES = (384, 416, 448, 512)


@dataclass
class Chest:
    """One radiograph in the making."""

    canvas: Field
    """(H, W) whiteness of the film in 0..1."""
    x: Field
    y: Field
    lungs: Field
    """(H, W) how much of a pixel is lung."""


def draw_chest(rng: np.random.Generator, rows: int, columns: int) -> Chest:
    """A healthy chest: trunk, lungs with their vessels, heart, diaphragm, spine, ribs."""
    x, y = coordinates(rows, columns)
    tilt = rng.normal(0, 0.03)
    x, y = x - rng.normal(0, 0.03) + tilt * y, y - rng.normal(0, 0.04)
    canvas = rng.uniform(0.04, 0.10) + np.zeros((rows, columns), np.float32)
    broad = rng.uniform(0.86, 1.05)
    shoulders = cover(broad - np.abs(x) - 0.6 * np.clip(-0.62 - y, 0, 1) ** 1.2, 0.06)
    neck = cover(0.26 - np.abs(x), 0.06)
    trunk = np.maximum(shoulders * cover(y + 0.92 - 0.35 * np.abs(x), 0.08), neck)
    blend(canvas, trunk, rng.uniform(0.50, 0.60) + 0.03 * cloud(rng, rows, columns, 6))
    dome, air = np.full_like(x * y, 9.0), rng.uniform(0.14, 0.24)
    wide, low = rng.uniform(0.31, 0.37), rng.uniform(0.50, 0.66)
    for side in (-1, 1):
        middle = side * (wide + rng.uniform(0.09, 0.13))
        floor = low - 0.16 * np.exp(-(((x - middle) / 0.28) ** 2)) + 0.05 * (side > 0)
        dome = np.minimum(dome, np.where(side * x > 0, floor - y, 9.0))
    lungs = np.zeros_like(canvas)
    for side in (-1, 1):
        middle = side * (wide + 0.11)
        narrow = wide * (0.72 + 0.28 * np.clip((y + 0.85) / 0.9, 0, 1))
        shape = 1 - ((x - middle) / narrow) ** 2 * 0.95 - (np.abs(y + 0.1) / 0.78) ** 4
        lungs = np.maximum(lungs, cover(shape, 0.22))
    lungs = lungs * cover(dome, 0.04)
    heart = draw_heart(x, y, rng)
    lungs = lungs * (1 - 0.95 * heart)
    blend(canvas, lungs, air + 0.04 * y + 0.02 * cloud(rng, rows, columns, 9))
    blend(canvas, 0.9 * heart * cover(dome, 0.08), rng.uniform(0.58, 0.66))
    chest = Chest(canvas, x, y, lungs)
    fan_vessels(chest, rng)
    lay_bones(chest, trunk, rng)
    return chest


def draw_heart(x: Field, y: Field, rng: np.random.Generator) -> Field:
    """(H, W) how much of a pixel is heart, or the great vessels above it."""
    wide, high = rng.uniform(0.24, 0.33), rng.uniform(0.30, 0.36)
    along, across = x + 0.45 * (y - 0.3) - 0.12, y - 0.30 - 0.25 * (x - 0.12)
    body = cover(1 - (along / wide) ** 2 - (across / high) ** 2, 0.45)
    stem = cover(0.16 - np.abs(x - 0.02), 0.08) * cover(y + 0.55, 0.4) * cover(0.5 - y, 0.2)
    return np.maximum(body, stem)


def fan_vessels(chest: Chest, rng: np.random.Generator) -> None:
    """White roots of the lungs, and branches that thin out towards the rim."""
    rows, columns = chest.canvas.shape
    strands = np.clip(0.12 - np.abs(cloud(rng, rows, columns, 18)), 0, 1) * 8
    strands *= np.clip(0.3 + cloud(rng, rows, columns, 24), 0, 1)  # a line that ends, not a loop
    mark = rng.uniform(0.15, 0.30)
    for side in (-1, 1):
        root = (side * 0.20, rng.normal(0.0, 0.04))
        chest.canvas += mark * chest.lungs * strands * spot(chest.x, chest.y, root, (0.22, 0.32))
        core = spot(chest.x, chest.y, root, (0.06, 0.11))
        blend(chest.canvas, rng.uniform(0.3, 0.6) * core, 0.58)


def lay_bones(chest: Chest, trunk: Field, rng: np.random.Generator) -> None:
    """Spine with its discs, nine pairs of ribs that slope down and outwards, two collar bones."""
    x, y, canvas = chest.x, chest.y, chest.canvas
    spine = cover(0.085 - np.abs(x), 0.05) * trunk
    discs = 0.04 * np.cos(rng.uniform(0, 6) + 34 * y)
    canvas += spine * (rng.uniform(0.10, 0.18) + discs)
    away, dense = np.abs(x), rng.uniform(0.05, 0.11)
    cage = trunk * cover(0.80 - away, 0.05) * cover(away - 0.06, 0.05) * cover(0.72 - y, 0.2)
    gap, start, slope = rng.uniform(0.155, 0.175), rng.uniform(-0.82, -0.76), rng.uniform(0.2, 0.45)
    behind = y - start - slope * (away - 0.1) + 0.25 * np.exp(-9 * away)
    before = y - start - 0.1 - 0.55 * (0.75 - away)
    seen = 0.35 + 0.65 * chest.lungs
    canvas += dense * cage * seen * rung(behind, gap, 0.034)
    canvas += 0.4 * dense * cage * chest.lungs * rung(before, gap, 0.03)
    collar = -0.66 - 0.16 * (away - 0.1) + 0.05 * np.sin(5 * away)
    canvas += 0.13 * trunk * cover(1 - ((y - collar) / 0.03) ** 2, 0.6) * cover(away - 0.1, 0.05)


def rung(place: Field, gap: float, half: float) -> Field:
    """(H, W) nine bands `gap` apart, each twice `half` wide, the first where `place` is 0."""
    nearest = np.clip(np.rint(place / gap), 0, 8) * gap
    return cover(1 - ((place - nearest) / half) ** 2, 0.8)


def add_lobar(chest: Chest, rng: np.random.Generator, force: float) -> None:
    """One or two dense clouds with soft, uneven rims."""
    rows, columns = chest.canvas.shape
    for _ in range(rng.integers(1, 3)):
        centre = rng.choice([-1, 1]) * rng.uniform(0.32, 0.55), rng.uniform(-0.45, 0.40)
        where = spot(chest.x, chest.y, centre, (rng.uniform(0.13, 0.24), rng.uniform(0.16, 0.30)))
        patchy = np.clip(1 + 0.7 * cloud(rng, rows, columns, 9), 0.1, 2)
        chest.canvas += (
            force * rng.uniform(0.20, 0.36) * chest.lungs * np.clip(where * patchy, 0, 1)
        )


def add_diffuse(chest: Chest, rng: np.random.Generator, force: float) -> None:
    """A thin veil, streaks and small patches all over both lungs."""
    rows, columns = chest.canvas.shape
    veil = np.clip(0.5 + 0.8 * cloud(rng, rows, columns, 7), 0, 1.4)
    streaks = np.clip(0.25 - np.abs(cloud(rng, rows, columns, 26)), 0, 1) * 4
    streaks *= np.clip(0.2 + cloud(rng, rows, columns, 34), 0, 1)
    streaks += np.clip(cloud(rng, rows, columns, 24) - 0.2, 0, 1)
    amount = force * rng.uniform(0.10, 0.17)
    chest.canvas += amount * chest.lungs * (0.7 * veil + 0.9 * streaks)


FINDINGS: dict[str, Callable[[Chest, np.random.Generator, float], None]] = {
    "bacteria": add_lobar,
    "virus": add_diffuse,
}


def draw_xray(cause: str, patient: int, number: int, seed: int) -> NDArray[np.uint8]:
    """(H, W) film `number` of a patient; `cause` is bacteria, virus, or anything else for none.

    Its size and the chest do not depend on the cause.
    """
    rng = random_stream("chest", patient, seed)
    columns = SIDES[int(rng.integers(len(SIDES)))]
    rows = round(columns * rng.uniform(0.62, 0.95))
    chest = draw_chest(rng, rows // 2, columns // 2)  # a film is softer than its pixels
    film = random_stream("film", cause, patient, number, seed)
    if cause in FINDINGS:
        force = film.uniform(0.4, 0.6) if film.random() < 0.05 else film.uniform(0.8, 1.2)
        FINDINGS[cause](chest, film, force)
    canvas = enlarge(chest.canvas, rows, columns)
    stamp_side(canvas, film)
    return expose(canvas, film, film.uniform(0.85, 1.3), film.uniform(0.75, 1.3))


def stamp_side(canvas: Field, rng: np.random.Generator) -> None:
    """The lead letter in a corner, on any film: it says which side, and nothing of the lungs."""
    rows, columns = canvas.shape
    high, wide, thick = rows // 16, rows // 22, max(rows // 90, 2)
    top, left = int(rng.uniform(0.03, 0.12) * rows), int(rng.uniform(0.03, 0.08) * columns)
    box = canvas[top : top + high, left : left + wide]
    box[:, :thick] = 0.95
    if rng.random() < 0.5:
        box[-thick:] = 0.95
    else:
        box[:thick], box[high // 2 : high // 2 + thick], box[: high // 2, -thick:] = 3 * (0.95,)


def encode(image: NDArray[np.uint8], progressive: bool) -> bytes:
    """A gray JPEG, baseline or progressive."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90, progressive=progressive)
    return file.getvalue()


def list_pictures(train: int, test: int, seed: int) -> list[Picture]:
    """Every image of the tree: no patient in two parts or two classes."""
    pictures: list[Picture] = []
    patient = 0
    for (part, shares), total in zip(PARTS.items(), (train, test), strict=True):
        for label, left in zip(LABELS, share_out(total, shares), strict=True):
            while left > 0:
                patient += 1
                rng = random_stream("films", patient, seed)
                films = min(int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1])), left)
                cause = "none" if label == "NORMAL" else str(_choose_cause(rng))
                old = rng.random() < 0.5
                for film in range(1, films + 1):
                    stem = name_film(cause, patient, film, len(pictures) + 1, old)
                    name = f"{part}/{label}/{stem}.jpeg"
                    pictures.append(picture(name, cause, patient, film, seed))
                left -= films
    return pictures


def _choose_cause(rng: np.random.Generator) -> str:
    return "bacteria" if rng.random() < BACTERIA else "virus"


def name_film(cause: str, patient: int, film: int, number: int, old: bool) -> str:
    """`person12_virus_34`, `IM-0115-0001` or `NORMAL2-IM-0115-0001`, as the real files have it."""
    if cause != "none":
        return f"person{patient}_{cause}_{number}"
    return f"{'' if old else 'NORMAL2-'}IM-{patient:04}-{film:04}"


def picture(name: str, cause: str, patient: int, film: int, seed: int) -> Picture:
    """One image of the tree, to be drawn when it is written."""
    progressive = random_stream("jpeg", patient, film, seed).random() < PROGRESSIVE
    return Picture(name, lambda: encode(draw_xray(cause, patient, film, seed), progressive))


def write_xray(
    root: Path,
    *,
    train: int = 400,
    test: int = 100,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the tree `root/{train,test}/{NORMAL,PNEUMONIA}/<file>.jpeg` and `root/twin.json`.

    See `write_tree` for what is left alone, completed and refused.
    """
    pictures = list_pictures(train, test, seed)
    write_tree(root, make_card("xray", train, test, seed), pictures, progress)
