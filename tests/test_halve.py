"""Halving of raw pixels and the checksum of what is stored: the numbers that plain code gives."""

from __future__ import annotations

import builtins
import zlib

import numpy as np
import pytest

from foveate.dataloaders.pack import checksum
from foveate.dataloaders.pack.checksum import crc32
from foveate.kernels.halve import halve


def plainly(pixels: np.ndarray) -> np.ndarray:
    """Means of 2x2 boxes, half up, an odd edge repeated."""
    height, width, channels = pixels.shape
    even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge").astype(np.int64)
    boxes = even.reshape(-(-height // 2), 2, -(-width // 2), 2, channels)
    return ((boxes.sum((1, 3)) + 2) // 4).astype(pixels.dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mean_is_that_of_plain_code_whatever_the_edges(dtype, channels):
    random, most = np.random.default_rng(0), np.iinfo(dtype).max
    for height, width in ((1, 1), (1, 2), (2, 1), (2, 2), (3, 5), (64, 97), (65, 128), (17, 1001)):
        pixels = random.integers(0, most + 1, (height, width, channels)).astype(dtype)
        pixels[:2] = most  # the sum of four needs two bits more
        half = halve(pixels)
        assert half.dtype == dtype and np.array_equal(half, plainly(pixels))


def test_a_view_with_gaps_is_halved_as_its_copy_is():
    pixels = np.random.default_rng(1).integers(0, 256, (40, 90, 3)).astype(np.uint8)
    assert np.array_equal(halve(pixels[::2, 1:80:3]), plainly(pixels[::2, 1:80:3]))


@pytest.mark.parametrize("without", [False, True])
def test_a_checksum_is_that_of_zlib_with_and_without_imagecodecs(monkeypatch, without):
    whole = builtins.__import__

    def missing(name: str, *rest: object) -> object:
        if name == "imagecodecs":
            raise ImportError(name)
        return whole(name, *rest)

    checksum._quickest.cache_clear()
    if without:
        monkeypatch.setattr(builtins, "__import__", missing)
    random = np.random.default_rng(2)
    for shape, dtype in (((0,), np.uint8), ((1, 1, 1), np.uint8), ((37, 91, 3), np.uint16)):
        pixels = random.integers(0, 256, shape).astype(dtype)
        assert crc32(pixels) == zlib.crc32(pixels)
        assert crc32(pixels, 77) == zlib.crc32(pixels, 77)
    assert (checksum._quickest() is zlib.crc32) == without
    checksum._quickest.cache_clear()
