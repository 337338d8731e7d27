"""What decodes JPEG, PNG and TIFF on the CPU, against what else is installed.

    python benchmarks/decode.py --json benchmarks/results/decode_<cpu>_<date>.json   (3 minutes)

Ours is `dataloaders/decoders/cpu.py`: simplejpeg, imagecodecs and tifffile in threads. Files lie in
memory: drawn OCT scans of 496 x 768 as gray JPEGs of quality 85, sheets of drawn heads, 512 x 512
in false colour, of quality 90 (4:2:0), and the scans as PNG and TIFF. Before a side is timed its
pixels have to be ours. Sides with threads have the same number; DALI uses its own, the others a
pool. A package that is missing is named and skipped.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from compare import Refused, Row, Side, begin, compare, cpu_seconds, finish, parse, plainly

from foveate.dataloaders.decoders.cpu import CpuDecoder
from foveate.dataloaders.phantoms.brain import draw_slice
from foveate.dataloaders.phantoms.scan import draw_oct

One = Callable[[bytes], Any]
RUN_S, WARM_S = 0.35, 0.0
DIFFERENT = 8
"""Drawn pictures of a kind; a run decodes them over and over, until it can be timed."""
NEEDED = {
    "torchvision": "torchvision", "Pillow": "pillow", "imagecodecs": "imagecodecs",
    "TorchCodec": "torchcodec", "DALI": "nvidia-dali-cuda130", "simplejpeg fast": "simplejpeg",
    "exact look": "simplejpeg",
}  # fmt: skip
OTHER_PIXELS = ("simplejpeg fast", "exact look")
"""Sides that are no candidates: what a rougher DCT would save, what only unpacking codes costs."""
CASES = {
    ("gray", 1): ("torchvision", "Pillow", "imagecodecs", "TorchCodec", "DALI", *OTHER_PIXELS),
    ("colour", 1): ("torchvision", "Pillow", "imagecodecs", "TorchCodec", "DALI", *OTHER_PIXELS),
    ("gray", 2): ("torchvision", "DALI"),
    ("PNG", 1): ("Pillow", "TorchCodec"),
    ("TIFF", 1): ("Pillow", "imagecodecs"),
}


ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**36)}
"""glibc keeps freed memory. Else each decoded image is a mapping or is not, by what was freed
before: the same pair, measured three times, had ratios of 0.8, 1.3 and 1.6."""


def main() -> None:
    """Every case whose package is there, in a process of its own allocator settings."""
    if not ALLOCATOR.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ALLOCATOR)
    options = parse(__doc__)
    options.set_defaults(pairs=7)
    options.add_argument("--only", nargs="+", choices=sorted({kind for kind, _ in CASES}))
    asked = options.parse_args()
    identity, rows = begin(), []
    for (kind, threads), names in CASES.items():
        if asked.only and kind not in asked.only:
            continue
        files = draw_files(kind)
        for name in names:
            rows += measure(kind, files, name, threads, asked.pairs)
    finish(identity, rows, asked.json)


def measure(kind: str, files: list[bytes], name: str, threads: int, pairs: int) -> list[Row]:
    """Rows of one comparison; none where the package is missing or the timing is refused."""
    try:
        version = importlib.metadata.version(NEEDED[name])
        other = make_side(name, kind, threads)
    except (ImportError, RuntimeError) as error:
        print(f"skipped: {name} {kind}: {' '.join(str(error).split())[:80]}", flush=True)
        return []
    ours = CpuDecoder(threads)
    wanted = [one.pixels for one in ours.decode_many(files)]
    batch = files * 4
    wanted_s = threads * RUN_S * (2 if name in OTHER_PIXELS else 1)  # those do less
    turns = max(1, round(wanted_s / cost_of(lambda: ours.decode_many(batch))))
    kilobytes = sum(map(len, files)) / len(files) / 1e3
    height, width, _ = wanted[0].shape
    what = f"decode {kind} {height} x {width}, {kilobytes:.0f} kB, {threads} thread"
    against = f"{name} {version}"
    try:
        if name not in OTHER_PIXELS:
            check_equal(name, other(files), wanted)
        return compare(
            what + "s" * (threads > 1),
            Side("foveate", lambda: sum(len(ours.decode_many(batch)) for _ in range(turns))),
            Side(against, lambda: sum(len(other(batch)) for _ in range(turns))),
            pairs=pairs,
            warm_s=WARM_S,
        )
    except Refused as refusal:
        print(f"refused: {against} {kind}: {refusal}", flush=True)
        return []
    finally:
        ours.close()


def check_equal(name: str, found: Sequence[Any], wanted: Sequence[Any]) -> None:
    """Raises Refused where a side does not do the same work."""
    for one, other in zip(found, wanted, strict=True):
        pixels = np.asarray(one)
        if pixels.ndim == 3 and pixels.shape[0] in (1, 3):  # channels first
            pixels = np.moveaxis(pixels, 0, -1)
        if np.abs(pixels.reshape(other.shape).astype(int) - other).max() > 1:
            raise Refused(f"{name} gives other pixels")


def cost_of(run: Callable[[], object]) -> float:
    """CPU-seconds, the least of three: what else the machine does is not in them."""
    taken = []
    for _ in range(3):
        began = cpu_seconds()
        run()
        taken.append(cpu_seconds() - began)
    return min(taken)


def make_side(name: str, kind: str, threads: int) -> Callable[[Sequence[bytes]], Sequence[Any]]:
    """A function from files to pixels in their order."""
    if name == "DALI":
        return with_dali(kind, threads)
    one = READERS[name](kind)
    pool = ThreadPoolExecutor(threads)
    return lambda files: list(pool.map(one, files))


def with_torchvision(kind: str) -> One:
    """decode_jpeg of a tensor over a copy of the bytes: over the bytes themselves torch warns."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    warnings.simplefilter("ignore", DeprecationWarning)
    torch.set_num_threads(1)
    mode = ImageReadMode.GRAY if kind == "gray" else ImageReadMode.RGB
    return lambda data: decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode)


def with_torchcodec(kind: str) -> One:
    """Its image decoders; they need no FFmpeg."""
    from torchcodec import decoders

    mode = "RGB" if kind == "colour" else "GRAY"
    read = decoders.decode_png if kind == "PNG" else decoders.decode_jpeg
    return lambda data: read(data, mode=mode)


def with_pillow(kind: str) -> One:
    """Opened and copied out."""
    from PIL import Image

    return lambda data: np.asarray(Image.open(io.BytesIO(data)))


def with_imagecodecs(kind: str) -> One:
    """Its libjpeg-turbo, or its libtiff."""
    import imagecodecs

    return imagecodecs.tiff_decode if kind == "TIFF" else imagecodecs.jpeg8_decode


def with_fast_dct(kind: str) -> One:
    """Less exact by up to 4 levels: no candidate, but what exactness costs."""
    import simplejpeg

    colours = "RGB" if kind == "colour" else "GRAY"
    return lambda data: simplejpeg.decode_jpeg(data, colours, fastdct=True, fastupsample=True)


def with_a_look(kind: str) -> One:
    """What `exact` adds before a card decodes: an eighth of the size, every code unpacked."""
    import simplejpeg

    return lambda data: simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1)


def with_dali(kind: str, threads: int) -> Callable[[Sequence[bytes]], Sequence[Any]]:
    """DALI's CPU pipeline, by markers alone: its own speed, and not that of our checks."""
    from foveate.dataloaders.decoders.dali import DaliDecoder

    decoder = DaliDecoder("cpu", threads=threads, exact=False)
    return lambda files: [one.pixels for one in decoder.decode_many(files)]


READERS: dict[str, Callable[[str], One]] = {
    "torchvision": with_torchvision,
    "Pillow": with_pillow,
    "imagecodecs": with_imagecodecs,
    "TorchCodec": with_torchcodec,
    "simplejpeg fast": with_fast_dct,
    "exact look": with_a_look,
}


@functools.cache
def draw_scans() -> list[np.ndarray]:
    """(496,768) uint8 each, of the patients whose device makes that size."""
    found: list[np.ndarray] = []
    for patient in range(1, 999):
        if len(found) < DIFFERENT:
            scan = draw_oct("CNV", patient, 1, 0)
            found += [scan] if scan.shape == (496, 768) else []
    return found


def draw_sheets() -> list[np.ndarray]:
    """(512,512,3) uint8 each: four heads in false colour."""
    heads = (draw_slice("glioma", number, 0) for number in range(999))
    square = (head for head in heads if head.shape == (256, 256))
    sheets = []
    for _ in range(DIFFERENT):
        rows = [np.hstack([next(square), next(square)]) for _ in range(2)]
        sheet = np.vstack(rows)
        colours = np.dstack([sheet, 255 - sheet // 2, sheet // 3 * 2])
        sheets.append(np.ascontiguousarray(colours))
    return sheets


def draw_files(kind: str) -> list[bytes]:
    """Eight files of a kind."""
    import imagecodecs
    import simplejpeg
    import tifffile

    if kind == "colour":
        return [simplejpeg.encode_jpeg(sheet, 90, "RGB", "420") for sheet in draw_sheets()]
    scans = draw_scans()
    if kind == "gray":
        return [simplejpeg.encode_jpeg(s[:, :, None].copy(), 85, "GRAY") for s in scans]
    if kind == "PNG":
        return [imagecodecs.png_encode(s) for s in scans]
    files = [io.BytesIO() for _ in scans]
    for file, scan in zip(files, scans, strict=True):
        tifffile.imwrite(file, scan, compression="zlib", predictor=2)
    return [file.getvalue() for file in files]


if __name__ == "__main__":
    with plainly():
        main()
