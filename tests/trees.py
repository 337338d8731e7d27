"""Small image folders to list, pack and feed; nothing of the engine, and no torch."""

from __future__ import annotations

import io
from pathlib import Path

import imagecodecs
import numpy as np
import simplejpeg
import tifffile
from PIL import Image

from foveate.dataloaders.folder import scan
from foveate.dataloaders.manifest import Manifest

CLASSES = ("CNV", "DRUSEN")


def draw(seed: int, height: int, width: int, channels: int = 1, deep: bool = False) -> np.ndarray:
    """(H,W,C) uint8, or uint16 if `deep`: waves and a little noise."""
    noise = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 10
    phases = noise.uniform(0, 6, channels)
    wave = np.stack([np.sin(x + p) + np.cos(y * (1 + p / 9)) for p in phases], axis=-1)
    light = (0.5 + 0.2 * wave + noise.normal(0, 0.02, wave.shape)).clip(0, 1)
    return (light * (65535 if deep else 255)).astype(np.uint16 if deep else np.uint8)


def encode(pixels: np.ndarray, kind: str) -> bytes:
    """(H,W,C) -> the bytes of a "jpeg", "progressive", "png" or "tiff"."""
    flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    if kind == "jpeg":
        return simplejpeg.encode_jpeg(pixels, 92, "GRAY" if pixels.shape[2] == 1 else "RGB")
    if kind == "png":
        return imagecodecs.png_encode(flat)
    file = io.BytesIO()
    if kind == "tiff":
        tifffile.imwrite(file, flat)
    else:
        Image.fromarray(flat).save(file, "JPEG", quality=90, progressive=True)
    return file.getvalue()


def write_tree(root: Path, train: int = 12, test: int = 4) -> Path:
    """`root/{train,test}/<CLASS>/<CLASS>-<patient>-<n>`: gray and RGB, four kinds of file."""
    for part, count in (("train", train), ("test", test)):
        for n in range(count):
            kind = ("jpeg", "progressive", "png", "tiff")[n // 2 % 4]
            name = CLASSES[n % 2]
            folder = root / part / name
            folder.mkdir(parents=True, exist_ok=True)
            pixels = draw(
                n + 100 * (part == "test"), 60 + 23 * n, 150 + 7 * n, 1 + 2 * (n % 3 == 2)
            )
            ending = kind.replace("progressive", "JPG")
            (folder / f"{name}-{n // 3}-{n}.{ending}").write_bytes(encode(pixels, kind))
    return root


def list_tree(root: Path) -> Manifest:
    """The manifest of what `write_tree` wrote; the patient is the group."""
    return scan(root, CLASSES, ("train", "test"), r"-(\d+)-")
