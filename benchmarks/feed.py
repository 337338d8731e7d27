"""From a folder of JPEGs to finished, augmented batches: ours against the loaders of the field.

    python benchmarks/feed.py --json benchmarks/results/feed_<cpu>_<date>.json   (5 minutes)

Every side crops 60 to 100 % of the area, resizes to 224 with anti-aliasing, flips half the images,
changes brightness and contrast by up to 20 %, normalises, and hands over float32 batches of 32.

Ours: packs (full size, and reduced to a shorter side of 256 px) cut by the sample kernel with as
many threads as there are cores; in the first epoch the pack is built too, into a folder of its own,
and the one before is deleted off the clock: kept, each would take memory no page was in before.
torchvision and albumentations: a folder data set and DataLoader with 2 kept worker processes; the
one on PIL images, opened as gray, the other on what cv2.imread reads as gray. DALI: its CPU
pipeline with 2 threads, decoding gray, drained at the end of a run. Files (drawn scans, 48 kB each)
are in the page cache for all. Nothing is read ahead between runs: a run is whole epochs.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from augmenters import (
    AHEAD,
    Job,
    albumentations_chain,
    begin_drained,
    dali_steps,
    run_drained,
)
from compare import Refused, Row, Side, begin, compare, finish, parse, plainly
from torchvision import datasets, transforms
from training import open_gray

from foveate.dataloaders.feed.feed import Feed
from foveate.dataloaders.feed.members import Members
from foveate.dataloaders.feed.store import Packed
from foveate.dataloaders.folder import find_classes, scan
from foveate.dataloaders.pack.build import find_or_build
from foveate.dataloaders.phantoms.oct import write_oct
from foveate.engine.run.listing import cache_folder
from foveate.kernels.sample.augment import Augment
from foveate.kernels.sample.op import sample

SIZE, BATCH, MEAN, STD = 224, 32, (0.25,), (0.22,)
AUGMENT = Augment(area=(0.6, 1.0), ratio=(0.8, 1.25), flip=0.5, brightness=0.2, contrast=0.2)
THREADS = os.cpu_count() or 1
STEADY = 12
"""Epochs of ours a run: one would be too quick to be timed."""
JOB = Job(AUGMENT, SIZE, MEAN, STD)
Epochs = Callable[[int], int]
"""So many epochs -> how many images."""


def main() -> None:
    """Draw the scans once, then every comparison."""
    options = parse(__doc__)
    options.set_defaults(pairs=7)
    options.add_argument("--images", type=int, default=512)
    options.add_argument("--only", default="", help="comparisons whose name holds this")
    asked = options.parse_args()
    identity, rows = begin(), []
    kept = cache_folder() / "numba"
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "numba").symlink_to(kept.resolve())
        os.environ["FOVEATE_CACHE"] = folder
        root = Path(folder) / "scans"
        write_oct(root, train=asked.images, test=4, seed=0)
        rows = measure_all(root, Path(folder) / "packs", asked.pairs, asked.only)
        os.environ.pop("FOVEATE_CACHE")
    finish(identity, rows, asked.json)


def measure_all(root: Path, cache: Path, pairs: int, only: str = "") -> list[Row]:
    """Steady epochs from both packs, and the first epoch, against whatever is installed."""
    theirs: dict[str, Epochs] = {}
    for against, make in FIELD.items():
        try:
            theirs[against] = make(root)
        except ImportError as error:
            print(f"skipped: {against}: {error}", flush=True)
    rows: list[Row] = []
    for what, ours in our_sides(root, cache).items():
        for against, epochs in theirs.items():
            if only in what:
                side = Side(against, lambda epochs=epochs: epochs(1))
                rows += held(what, ours, side, pairs)
    return rows


def our_sides(root: Path, cache: Path) -> dict[str, Side]:
    """What is compared, by its name: steady epochs from both packs, first epochs with both."""
    what = f"gray JPEG to {SIZE} px, batches of {BATCH}"
    sides: dict[str, Side] = {}
    for side, name in ((256, "256 px pack"), (0, "full-size pack")):
        run = packed(root, cache, side)
        steady = Side("foveate", lambda run=run: run(1), repeat=STEADY)
        sides[f"{what}: steady epochs, {name}"] = steady
    fresh = cache.with_name("fresh")

    def clear() -> None:
        shutil.rmtree(fresh, ignore_errors=True)
        os.sync()  # deleting goes on in the disk

    for side, name in ((256, "packing to 256 px"), (0, "packing")):
        first = Side("foveate", lambda side=side: packed(root, fresh, side)(1), ready=clear)
        sides[f"{what}: first epoch, {name} included"] = first
    return sides


def held(what: str, ours: Side, theirs: Side, pairs: int) -> list[Row]:
    """The rows of one comparison; none where it was no measurement, and why."""
    try:
        return compare(what, ours, theirs, pairs=pairs)
    except Refused as refusal:
        print(f"refused: {what} against {theirs.name}: {refusal}", flush=True)
        return []


def packed(root: Path, cache: Path, side: int) -> Epochs:
    """A function that makes every batch of so many epochs from a pack."""
    manifest = scan(root, find_classes(root, "train"), ("train",))
    store = Packed(find_or_build(manifest, cache, THREADS, side=side))
    numbers = np.arange(len(manifest))
    feed = Feed(store, Members(numbers, numbers.copy(), manifest.label), AUGMENT, 0)
    turns, position = len(manifest) // BATCH, 0

    def run(epochs: int) -> int:
        nonlocal position
        for _ in range(epochs * turns):
            batch = feed.train(position, BATCH, SIZE)
            position += BATCH
            sample(
                batch.pixels, batch.start, batch.shape, batch.params, size=SIZE, channels=1,
                mean=MEAN, std=STD, dtype=torch.float32, threads=THREADS,
            )  # fmt: skip
        return epochs * turns * BATCH

    return run


def with_torchvision(root: Path) -> Epochs:
    """torchvision as its documentation writes it."""
    steps = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIZE, AUGMENT.area, AUGMENT.ratio),
            transforms.RandomHorizontalFlip(AUGMENT.flip),
            transforms.ColorJitter(brightness=AUGMENT.brightness, contrast=AUGMENT.contrast),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    return load(datasets.ImageFolder(str(root / "train"), steps, loader=open_gray))


def with_albumentations(root: Path) -> Epochs:
    """The same folder, read by OpenCV as gray, cut with area-averaging."""
    chain = albumentations_chain(JOB)
    import cv2

    def read(path: str) -> np.ndarray:
        return cv2.imread(path, cv2.IMREAD_GRAYSCALE)[:, :, None]

    def change(image: np.ndarray) -> torch.Tensor:
        return chain(image=image)["image"]

    return load(datasets.ImageFolder(str(root / "train"), change, loader=read))


def load(files: torch.utils.data.Dataset) -> Epochs:
    """Shuffled batches by 2 worker processes that stay."""
    loader = torch.utils.data.DataLoader(
        files, BATCH, shuffle=True, num_workers=2, persistent_workers=True, drop_last=True
    )
    return lambda epochs: sum(len(image) for _ in range(epochs) for image, _ in loader)


def with_dali(root: Path) -> Epochs:
    """DALI's pipeline on the CPU."""
    from nvidia.dali import fn, types
    from nvidia.dali.pipeline import Pipeline

    pipe = Pipeline(
        batch_size=BATCH, num_threads=2, device_id=None, seed=0, prefetch_queue_depth=AHEAD
    )
    with pipe:
        data, _ = fn.readers.file(file_root=str(root / "train"), random_shuffle=True, name="r")
        image = fn.decoders.image(data, device="cpu", output_type=types.GRAY)
        pipe.set_outputs(dali_steps(JOB, image))
    begin_drained(pipe)
    turns = pipe.epoch_size("r") // BATCH
    return lambda epochs: sum(len(made) for made in run_drained(pipe, epochs * turns))


FIELD: dict[str, Callable[[Path], Epochs]] = {
    "torchvision ImageFolder, DataLoader": with_torchvision,
    "albumentations, cv2.imread, DataLoader": with_albumentations,
    "DALI CPU pipeline": with_dali,
}


if __name__ == "__main__":
    with plainly():
        main()
