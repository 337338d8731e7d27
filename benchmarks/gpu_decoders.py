"""Stage of gpu_check: every decoder under the one contract, on 2,000 drawn scans.

First agreement and verdicts (files that are progressive, cut or no JPEG lie among the good ones),
then images a second with files in memory and pixels on the card, vetting included: by markers, and
looking at every code. DALI's share for the card's own engines is tried at five values, and one row
decodes the middle half alone: what decoding a region saves.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from gpu_stages import draw_jpeg
from gpu_timing import Report, rate, run_stage

from foveate.dataloaders.decoders.choose import choose_decoder
from foveate.dataloaders.decoders.contract import AGREES, Decoder
from foveate.dataloaders.decoders.cpu import CpuDecoder
from foveate.dataloaders.decoders.dali import DaliDecoder
from foveate.dataloaders.decoders.decode import Unreadable, decode
from foveate.dataloaders.decoders.nvjpeg import NvjpegDecoder
from foveate.dataloaders.errors import DataError

FILES, DRAWN = 2000, 40
HW_LOADS = (0.0, 0.5, 0.65, 0.75, 1.0)
BATCH = 128
Make = Callable[[], Decoder]


def decoders(report: Report) -> None:
    """Agreement, then speed, of each that can be made here."""
    threads = len(os.sched_getaffinity(0))
    count = 24 if report.rehearse else FILES
    drawn = [draw_jpeg("gray", n) for n in range(min(DRAWN, count))]
    files = [drawn[n % len(drawn)] for n in range(count)]
    report.fact(decode_threads=threads)
    for name, make in list_decoders(threads).items():
        with report.attempt(name):
            try:
                decoder = make()
            except DataError as error:
                report.skip(f"{name}: {error}")
                continue
            if decoder.name != "CPU":
                check(report, name, decoder)
            on_card = decoder.name in ("nvJPEG", "DALI mixed")
            time(report, name, decoder, files if on_card else files[: FILES // 5])
            decoder.close()
    with report.attempt("region"):
        region(report, files[: 4 * BATCH], threads)
    with report.attempt("choice"):
        kind = report.device.type
        decoder, why = choose_decoder(kind, files[:256], threads=threads, exact=False)
        decoder.close()
        report.fact(decoder=why)


def list_decoders(threads: int) -> dict[str, Make]:
    """What is tried, by the name its rows have."""
    found: dict[str, Make] = {
        "CPU": lambda: CpuDecoder(threads),
        "nvJPEG": lambda: NvjpegDecoder(threads=threads, batch=BATCH, exact=False),
    }
    for load in HW_LOADS:
        found[f"DALI mixed, hardware {load:.0%}"] = lambda load=load: DaliDecoder(
            "mixed", threads=threads, hw_load=load, batch=BATCH, exact=False
        )
    return found | {
        "nvJPEG, exact": lambda: NvjpegDecoder(threads=threads, batch=BATCH),
        "DALI mixed, exact": lambda: DaliDecoder("mixed", threads=threads, batch=BATCH),
        "DALI cpu": lambda: DaliDecoder("cpu", threads=threads, batch=BATCH, exact=False),
    }


def check(report: Report, name: str, decoder: Decoder) -> None:
    """Rows of the largest and mean difference from `decode`; raises where a bound is broken."""
    kinds = {"gray": [draw_jpeg("gray", n) for n in range(4)], "colour": draw_colours()}
    for kind, files in kinds.items():
        largest, means = 0, []
        for data, one in zip(files, decoder.decode_many(files), strict=True):
            apart = np.abs(to_host(one.pixels).astype(int) - decode(data))
            largest, means = max(largest, int(apart.max())), [*means, float(apart.mean())]
        report.row(f"{name}: {kind}, largest difference from decode", largest, "levels")
        report.row(f"{name}: {kind}, mean difference", float(np.mean(means)), "levels")
        bounds = AGREES[decoder.name][kind]
        if largest > bounds[0] or max(means) > bounds[1]:
            report.found["failed"].append(f"{name} {kind}: {largest}, {max(means):.2f} > {bounds}")
    odd = draw_odd()
    for one, data in zip(decoder.decode_many(odd), odd, strict=True):
        assert (one.pixels is None) == (not is_readable(data)), "another verdict than decode's"
    report.fact(**{f"counts, {name}": dict(decoder.counts)})


def time(report: Report, name: str, decoder: Decoder, files: list[bytes]) -> None:
    """A row of images a second; the whole list is one call."""
    found, bounds = rate(
        lambda: decoder.decode_many(files), len(files), report.device, report.rehearse
    )
    against = report.found["facts"].get("decode_cpu")
    if name == "CPU":
        report.fact(decode_cpu=found)
    what = f"{len(files):,} JPEGs 496 x 512 gray, {len(files[0]) / 1e3:.0f} kB: {name}"
    report.row(what, found, "images/s", bounds, against and "CPU threads", against)


def region(report: Report, files: list[bytes], threads: int) -> None:
    """DALI alone on a card, whole images against their middle half."""
    if report.device.type != "cuda":
        report.skip("decoding a region: no card")
        return
    try:
        from nvidia.dali import fn, types
        from nvidia.dali.pipeline import Pipeline
    except ImportError:
        report.skip("decoding a region: DALI is not installed")
        return
    whole = 0.0
    for what, read in (("whole", fn.decoders.image), ("middle half", fn.decoders.image_crop)):
        crop = {} if what == "whole" else {"crop": (248.0, 256.0)}
        pipe = Pipeline(len(files), threads, 0, prefetch_queue_depth=1)
        with pipe:
            source = fn.external_source(name="files", no_copy=True)
            pipe.set_outputs(read(source, device="mixed", output_type=types.GRAY, **crop))
        arrays = [np.frombuffer(data, np.uint8) for data in files]
        found, bounds = rate(
            lambda p=pipe, a=arrays: p.run(files=a), len(files), report.device, report.rehearse
        )
        against = ("whole", whole) if whole else (None, None)
        report.row(f"DALI mixed pipeline alone, {what}", found, "images/s", bounds, *against)
        whole = found


def draw_colours() -> list[bytes]:
    """4:4:4, 4:2:2 and 4:2:0, odd sides, by Pillow."""
    y, x = np.mgrid[:301, :399]
    light = [np.sin(x / 17 + c) + np.cos(y / (23 - 4 * c)) for c in range(3)]
    pixels = (128 + 55 * np.stack(light, axis=-1)).astype(np.uint8)
    return [save(pixels, subsampling=s, quality=90) for s in (0, 1, 2)]


def draw_odd() -> list[bytes]:
    """Among good files, what no card gets: progressive, CMYK, cut, no JPEG."""
    good = draw_jpeg("gray", 0)
    pixels = np.asarray(np.arange(64 * 48 * 3).reshape(64, 48, 3) % 251, np.uint8)
    odd = [save(pixels, progressive=True), save(pixels, "CMYK"), good[: len(good) // 2], b"no"]
    return [good, *odd, b"", good]


def save(pixels: np.ndarray, mode: str = "RGB", **options: Any) -> bytes:
    """A JPEG by Pillow."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def to_host(pixels: Any) -> np.ndarray:
    """Pixels in host memory."""
    return pixels if isinstance(pixels, np.ndarray) else pixels.cpu().numpy()


def is_readable(data: bytes) -> bool:
    """Whether `decode` takes the file."""
    try:
        decode(data)
    except Unreadable:
        return False
    return True


if __name__ == "__main__":
    run_stage({"decoders": decoders})
