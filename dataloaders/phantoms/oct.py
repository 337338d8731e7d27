"""A drawn twin of the Kermany OCT2017 data set: the same tree, names and shapes, no patients."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import DataError
from .retina import random_stream
from .scan import Image, draw_oct

LABELS = ("CNV", "DME", "DRUSEN", "NORMAL")
FORMAT = 1
GOAL_BYTES = (43_000, 57_000)
QUALITIES = (25, 98)


class Name(NamedTuple):
    """Where one image of the tree goes and what is drawn on it."""

    split: str
    label: str
    patient: int
    number: int

    def path(self, root: Path) -> Path:
        """`root/train/CNV/CNV-1016042-3.jpeg`, as in OCT2017."""
        stem = f"{self.label}-{self.patient}-{self.number}"
        return root / self.split / self.label / f"{stem}.jpeg"


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


def write_whole(path: Path, data: bytes) -> None:
    """Write under another name and rename, so `path` is never seen half written.

    The other name is always the same, so what a killed call left behind is used up by the next.
    """
    part = path.with_suffix(".part")
    part.write_bytes(data)
    os.replace(part, path)


def write_image(root: Path, name: Name, seed: int) -> None:
    """Draw and write one image unless it is there already."""
    path = name.path(root)
    if path.exists() and path.stat().st_size > 0:
        return
    image = draw_oct(name.label, name.patient, name.number, seed)
    goal = random_stream("bytes", name.patient, name.number, seed).integers(*GOAL_BYTES)
    write_whole(path, encode_jpeg(image, int(goal)))


def is_complete(root: Path, card: dict[str, object]) -> bool:
    """Whether `root/twin.json` says that this very twin is there. Another twin is refused."""
    path = root / "twin.json"
    if not path.exists():
        return False
    try:
        found = json.loads(path.read_text())
    except ValueError:
        raise DataError(f"{path} is not JSON: delete it and run again") from None
    if found != card:
        raise DataError(
            f"{root} holds another twin ({json.dumps(found)}, wanted {json.dumps(card)}): "
            "choose an empty folder, or delete this one"
        )
    return True


def refuse_strangers(root: Path, names: list[Name]) -> None:
    """Never mix drawn images into a folder that holds real ones, or those of another seed."""
    expected = {name.path(root) for name in names}
    for split in ("train", "test"):
        for path in sorted((root / split).glob("*/*.jp*g")):
            if path not in expected:
                raise DataError(f"{path} is not part of this twin: choose an empty folder")


def write_oct(
    root: Path,
    *,
    train: int = 1600,
    test: int = 400,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the tree `root/{train,test}/<CLASS>/<CLASS>-<patient>-<n>.jpeg` and `root/twin.json`.

    A call that was killed is completed by the next one; a finished tree is left as it is.
    `progress(done, total)` is called from the calling thread. One call per folder at a time.
    """
    card: dict[str, object] = dict(format=FORMAT, kind="oct", train=train, test=test, seed=seed)
    if find_encoder() != "simplejpeg":
        card["encoder"] = find_encoder()  # other bytes: another twin
    if is_complete(root, card):
        return
    names = list_names(train, test, seed)
    refuse_strangers(root, names)
    root.mkdir(parents=True, exist_ok=True)
    for folder in {name.path(root).parent for name in names}:
        folder.mkdir(parents=True, exist_ok=True)
    for done in write_images(root, names, seed):
        if progress is not None:
            progress(done, len(names))
    write_whole(root / "twin.json", (json.dumps(card) + "\n").encode())


def write_images(root: Path, names: list[Name], seed: int) -> Iterator[int]:
    """Draw on every core this process may use; yields how many images are there."""
    # Threads do: drawing and encoding spend their time outside the interpreter lock.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        jobs = pool.map(lambda name: write_image(root, name, seed), names)
        for done, _ in enumerate(jobs, 1):
            yield done
