"""JPEGs of every kind that decoders have to agree on. Written by Pillow: bare machines have it."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def draw(height: int, width: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """(H,W,C) uint8: waves, an edge and a little noise."""
    noise = np.random.default_rng([seed, height, width])
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (7 + c) + c) + np.cos(y / (9 - c)) + (x > width / 2) for c in range(3)]
    light = 110 + 40 * np.stack(waves[:channels], axis=-1)
    return (light + noise.normal(0, 6, light.shape)).clip(0, 255).astype(np.uint8)


def save(pixels: np.ndarray, kind: str = "JPEG", mode: str = "", **options: object) -> bytes:
    """What Pillow writes, turned to `mode` first."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


def turned() -> Image.Exif:
    """An orientation of 90 degrees, which is to be ignored."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


GRAY, COLOUR = draw(96, 130), draw(75, 61, 3)
QUICK = {
    "gray": save(GRAY, quality=90),
    "gray, one pixel": save(draw(1, 1)),
    "gray, odd sides": save(draw(17, 33), quality=75),
    "gray, restarts": save(GRAY, restart_marker_blocks=3),
    "gray, profile": save(GRAY, icc_profile=b"profile" * 20_000),
    "gray, more after its end": save(GRAY) + b"\xff\xd8\xff\xd9trailer" * 99,
    "4:4:4": save(COLOUR, subsampling=0, quality=90),
    "4:2:2": save(COLOUR, subsampling=1, quality=90),
    "4:2:0": save(COLOUR, subsampling=2, quality=90),
    "4:2:0, restarts": save(COLOUR, subsampling=2, restart_marker_rows=1),
    "4:2:0, odd sides": save(draw(9, 7, 3), subsampling=2),
    "4:2:0, turned": save(COLOUR, exif=turned()),
}
"""Name -> a file that quick decoders take."""


def patched(data: bytes, at: int, value: int) -> bytes:
    """The same with one byte of its frame segment changed; 1 is its kind, 4 the bits."""
    place = data.index(b"\xff\xc0") + at
    return data[:place] + bytes([value]) + data[place + 1 :]


SLOW = {
    "progressive gray": (save(GRAY, progressive=True), "progressive"),
    "progressive colour": (save(COLOUR, progressive=True), "progressive"),
    "CMYK": (save(COLOUR, mode="CMYK"), "neither gray nor three colours"),
    "stored as RGB": (save(COLOUR, keep_rgb=True), "not surely YCbCr"),
    "arithmetic": (patched(QUICK["gray"], 1, 0xC9), "arithmetic coding"),
    "12 bits": (patched(QUICK["gray"], 4, 12), "not 8 bits"),
    "extended": (patched(QUICK["4:2:0"], 1, 0xC1), "neither baseline nor progressive"),
    "too wide": (patched(QUICK["gray"], 7, 0xFF), "its size"),
    "too much": (patched(QUICK["gray"], 5, 0x7F), "too short for its size"),
    "4:1:1": (patched(QUICK["4:2:0"], 11, 0x41), "unusual sampling"),
    "cut": (QUICK["gray"][:-400], "no end marker"),
    "cut, zeros after": (QUICK["4:2:0"][:-400].ljust(9999, b"\0"), "no end marker"),
    "cut in its header": (QUICK["gray"][:90], "damaged header"),
    "PNG": (save(COLOUR, "PNG"), "no JPEG"),
    "text": (b"hello", "no JPEG"),
    "empty": (b"", "no JPEG"),
}
"""Name -> a file that the CPU decodes or refuses, and why it has to."""


def hurt(data: bytes, seed: int) -> bytes:
    """The file with its compressed data damaged: bits turned, bytes lost or blanked."""
    noise = np.random.default_rng(seed)
    scan = data.index(b"\xff\xda") + 14
    place, found = int(noise.integers(scan, len(data) - 80)), bytearray(data)
    if seed % 3 == 0:
        found[place] ^= 1 << int(noise.integers(8))
    elif seed % 3 == 1:
        del found[place : place + 64]
    else:
        found[place : place + 64] = bytes(64)
    return bytes(found)
