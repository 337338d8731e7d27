"""The kernels on the CPU: `sample` against the field, and every operation beside a plain copy.

    python benchmarks/kernels.py --json benchmarks/results/kernels_<cpu>_<date>.json   (5 minutes)

One batch of 32 decoded pictures lies in memory: gray 496 x 768 (drawn OCT), gray 256 x 256 (drawn
heads), RGB 512 x 512 (sheets of heads in false colour), all uint8, 64 of each. Every side crops 8
to 100 % of the area at 3/4 to 4/3 of the picture's own aspect, resizes to 224 with anti-aliasing,
flips half of them and normalises (a); changes brightness and contrast by up to 20 % (b); and turns
by up to 15 degrees (c). It draws parameters of its own for each picture within the clock, and gives
float32, one channel of gray sources and three of RGB. Ours draws its rows within the clock too, and
reads full-size pixels, no mip level.

Before a side is timed, it resizes the same pictures with nothing drawn, and has to give what ours
gives (NEAR). Kornia does not anti-alias, which spares it work; its name says so.
One thread each; DALI again with as many as there are cores. A package that is missing is named and
skipped. `--rehearse` runs all of it on little, and its figures mean nothing.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from augmenters import Job, with_albumentations, with_dali, with_kornia, with_torchvision
from compare import Refused, Row, Side, begin, compare, finish, parse, plainly
from decode import cost_of, draw_scans, draw_sheets
from op_rates import measure_ops

from foveate.dataloaders.pack.build import pack_arrays
from foveate.dataloaders.pack.layout import Pack
from foveate.dataloaders.phantoms.brain import draw_slice
from foveate.kernels.sample.augment import Augment
from foveate.kernels.sample.op import sample, warm
from foveate.kernels.sample.params import resolve

SIZE, BATCH, BATCHES = 224, 32, 2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CROP = Augment(area=(0.08, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5)
COLOURED = replace(CROP, brightness=0.2, contrast=0.2)
SETTINGS = {
    "crop, flip": CROP,
    "crop, flip, colour": COLOURED,
    "crop, flip, colour, 15 degrees": replace(COLOURED, rotate=15.0),
}
NEAR = {"torchvision": 0.35, "DALI": 0.35, "albumentations": 1.6}
"""Levels of 255, mean. 0.25 is what rounding to uint8 leaves (0.25 to 0.31 measured); an area
filter in place of a triangle makes 0.4 to 1.4. Kornia is 0.6 to 5.4 away, for want of a filter."""
RUN_S = 0.2
FIELD = {
    "torchvision": "torchvision",
    "albumentations": "albumentations",
    "DALI": "nvidia-dali-cuda130",
    "Kornia, no anti-aliasing": "kornia",
}
MAKERS = {
    "torchvision": with_torchvision,
    "albumentations": with_albumentations,
    "Kornia, no anti-aliasing": with_kornia,
}
Run = Callable[[], int]


def main() -> None:
    """Every source and setting against every package, then every operation."""
    options = parse(__doc__)
    options.set_defaults(pairs=7)
    options.add_argument("--rehearse", action="store_true", help="little of everything")
    options.add_argument("--ops", action="store_true", help="only the operations")
    asked = options.parse_args()
    torch.set_num_threads(1)
    warm()
    identity, rows = begin(), []
    cores = len(os.sched_getaffinity(0))
    for name, pictures in {} if asked.ops else draw_sources(asked.rehearse).items():
        for setting, augment in SETTINGS.items():
            job = make_job(augment, pictures)
            what = f"sample, {name} to {SIZE}: {setting}"
            for threads, against in sides(cores):
                timed = replace(job, threads=threads)
                rows += versus(what, timed, pictures, against, asked.pairs, asked.rehearse)
    rows += measure_ops(cores, 0.02 if asked.rehearse else 0.2)
    finish(identity, rows, asked.json)


def sides(cores: int) -> Iterator[tuple[int, str]]:
    """(threads, package)."""
    for name in FIELD:
        yield 1, name
    yield cores, "DALI"


def draw_sources(rehearse: bool) -> dict[str, list[np.ndarray]]:
    """Name -> BATCHES * BATCH pictures, (H,W,C) uint8 each, in memory of its own."""
    heads = (draw_slice("glioma", number, 0) for number in range(999))
    square = [next(h for h in heads if h.shape == (256, 256))[:, :, None] for _ in range(8)]
    found = {
        "gray 496 x 768": [scan[:, :, None] for scan in draw_scans()],
        "gray 256 x 256": square,
        "RGB 512 x 512": draw_sheets(),
    }
    count = BATCH * BATCHES
    chosen = list(found)[1:2] if rehearse else list(found)
    return {name: [found[name][n % 8].copy() for n in range(count)] for name in chosen}


def make_job(augment: Augment, pictures: Sequence[np.ndarray]) -> Job:
    """What is done to pictures of this shape."""
    height, width, channels = pictures[0].shape
    return Job(augment, SIZE, MEAN[:channels], STD[:channels], width / height)


def versus(
    what: str, job: Job, pictures: list[np.ndarray], name: str, pairs: int, rehearse: bool
) -> list[Row]:
    """Rows of one comparison; none where the package is missing or the timing is refused."""
    try:
        against = f"{name} {importlib.metadata.version(FIELD[name])}"
        check_equal(job, pictures, name)
        theirs = make_theirs(name, job, pictures)
    except (ImportError, Refused) as error:
        print(f"skipped: {what}, {name}: {' '.join(str(error).split())[:90]}", flush=True)
        return []
    ours, wanted_s = make_ours(job, pictures), 0.0 if rehearse else RUN_S
    one, other = (turns_of(run, job.threads, wanted_s) for run in (ours, theirs))
    what += f", {job.threads} thread" + "s" * (job.threads > 1)
    try:
        return compare(
            what,
            Side("foveate", ours, repeat=one),
            Side(against, theirs, repeat=other),
            pairs=pairs,
            warm_s=0.0,
        )
    except Refused as refusal:
        print(f"refused: {what} against {against}: {refusal}", flush=True)
        return []


def turns_of(run: Run, threads: int, wanted_s: float) -> int:
    """Runs that fill so many seconds even if nothing else uses the machine."""
    return max(1, -int(-1.3 * wanted_s * threads // cost_of(run)))


def in_batches(pictures: list[np.ndarray]) -> list[list[np.ndarray]]:
    """As they are handed over."""
    return [pictures[at : at + BATCH] for at in range(0, len(pictures), BATCH)]


def make_theirs(name: str, job: Job, pictures: list[np.ndarray]) -> Run:
    """One epoch a call."""
    batches = in_batches(pictures)
    if name == "DALI":
        made = with_dali(job, BATCH)
        return lambda: sum(len(found) for found in made(batches))
    make = MAKERS[name](job)
    return lambda: sum(len(make(batch)) for batch in batches)


def make_ours(job: Job, pictures: list[np.ndarray]) -> Run:
    """The same of ours, drawing the rows included."""
    pack, epoch = pack_arrays(pictures), 0
    pixels = torch.from_numpy(pack.pixels.copy())

    def run() -> int:
        nonlocal epoch
        epoch, done = epoch + 1, 0
        for first in range(0, len(pictures), BATCH):
            index = np.arange(first, min(first + BATCH, len(pictures)))
            done += len(finish_batch(job, pack, pixels, index, epoch))
        return done

    return run


def finish_batch(
    job: Job, pack: Pack, pixels: torch.Tensor, index: np.ndarray, epoch: int
) -> torch.Tensor:
    """Draw and sample: (N,C,S,S) float32."""
    start, shape = pack.start[index, 0], pack.shape[index, 0]
    rows = resolve(job.augment, shape, job.size, seed=0, epoch=epoch, index=index)
    where = torch.from_numpy(start), torch.from_numpy(shape), torch.from_numpy(rows)
    return sample(
        pixels, *where, size=job.size, channels=len(job.mean), mean=job.mean, std=job.std,
        threads=job.threads,
    )  # fmt: skip


def check_equal(job: Job, pictures: list[np.ndarray], name: str) -> None:
    """Raises Refused where a side, with nothing drawn, does not give what ours gives."""
    plain, some = replace(job, augment=Augment()), pictures[:8]
    pack = pack_arrays(some)
    pixels, index = torch.from_numpy(pack.pixels.copy()), np.arange(len(some))
    ours = finish_batch(plain, pack, pixels, index, 0)
    theirs = make_once(name, plain, some)
    if theirs.shape != ours.shape or theirs.dtype != ours.dtype:
        raise Refused(f"gives {tuple(theirs.shape)} of {theirs.dtype}")
    std = torch.tensor(job.std).view(-1, 1, 1)
    apart = 255 * float(((ours - theirs) * std).abs().mean())
    if apart > NEAR.get(name, np.inf):
        raise Refused(
            f"gives other pixels: {apart:.2f} levels off on average, {NEAR[name]} allowed"
        )


def make_once(name: str, job: Job, pictures: list[np.ndarray]) -> torch.Tensor:
    """One batch by a package, as a tensor."""
    if name != "DALI":
        return MAKERS[name](job)(pictures)
    (made,) = [
        np.stack([np.array(found.at(n)) for n in range(len(found))])
        for found in with_dali(job, len(pictures))([pictures])
    ]
    return torch.from_numpy(made)


if __name__ == "__main__":
    with plainly():
        main()
