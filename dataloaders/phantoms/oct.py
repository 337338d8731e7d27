"""A drawn twin of the Kermany OCT2017 data set: the same tree, names and shapes, no patients."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .scan import Image, draw_oct
from .tree import Picture, make_card, random_stream, write_tree

LABELS = ("CNV", "DME", "DRUSEN", "NORMAL")
GOAL_BYTES = (43_000, 57_000)
QUALITIES = (25, 98)


class Name(NamedTuple):
    """Where one image of the tree goes and what is drawn on it."""

    split: str
    label: str
    patient: int
    number: int

    @property
    def path(self) -> str:
        """`train/CNV/CNV-1016042-3.jpeg`, as in OCT2017."""
        return f"{self.split}/{self.label}/{self.label}-{self.patient}-{self.number}.jpeg"


def list_names(train: int, test: int, seed: int) -> list[Name]:
    """Every image of the tree: classes balanced, no patient in two classes or two splits."""
    rng = random_stream("tree", seed)
    taken: set[int] = set()
    names: list[Name] = []
    for split, total in (("train", train), ("test", test)):
        for place, label in enumerate(LABELS):
            left = total // len(LABELS) + (place < total % len(LABELS))
            while left > 0:
                patient, count = new_patient(rng, taken), min(int(rng.integers(1, 9)), left)
                names += [Name(split, label, patient, n) for n in range(1, count + 1)]
                left -= count
    return names


def new_patient(rng: np.random.Generator, taken: set[int]) -> int:
    """A number of 5 to 7 digits that nobody has yet."""
    while True:
        digits = int(rng.choice([5, 6, 7], p=[0.1, 0.6, 0.3]))
        patient = int(rng.integers(10 ** (digits - 1), 10**digits))
        if patient not in taken:
            taken.add(patient)
            return patient


def find_encoder() -> str:
    """simplejpeg, or Pillow where it is missing: their files differ, so a twin says which."""
    try:
        import simplejpeg  # noqa: F401
    except ImportError:
        return "Pillow"
    return "simplejpeg"


def encode_jpeg(image: Image, goal: int) -> bytes:
    """The largest gray JPEG of at most `goal` bytes, by bisection over the quality."""
    encode = _with_turbo if find_encoder() == "simplejpeg" else _with_pillow
    low, high = QUALITIES
    best = encode(image, low)
    while high - low > 1:
        middle = (low + high) // 2
        data = encode(image, middle)
        if len(data) <= goal:
            low, best = middle, data
        else:
            high = middle
    return best


def _with_turbo(image: Image, quality: int) -> bytes:
    import simplejpeg

    pixels = np.ascontiguousarray(image[:, :, None])
    return simplejpeg.encode_jpeg(pixels, quality=quality, colorspace="GRAY")


def _with_pillow(image: Image, quality: int) -> bytes:
    from PIL import Image as Pictures

    file = io.BytesIO()
    Pictures.fromarray(np.ascontiguousarray(image)).save(file, "JPEG", quality=quality)
    return file.getvalue()


def picture(name: Name, seed: int) -> Picture:
    """One image of the tree, to be drawn when it is written."""

    def draw() -> bytes:
        image = draw_oct(name.label, name.patient, name.number, seed)
        goal = random_stream("bytes", name.patient, name.number, seed).integers(*GOAL_BYTES)
        return encode_jpeg(image, int(goal))

    return Picture(name.path, draw)


def write_oct(
    root: Path,
    *,
    train: int = 1600,
    test: int = 400,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the tree `root/{train,test}/<CLASS>/<CLASS>-<patient>-<n>.jpeg` and `root/twin.json`.

    See `write_tree` for what is left alone, completed and refused.
    """
    pictures = [picture(name, seed) for name in list_names(train, test, seed)]
    card = make_card("oct", train, test, seed)
    if find_encoder() != "simplejpeg":
        card["encoder"] = find_encoder()  # other bytes: another twin
    write_tree(root, card, pictures, progress)
