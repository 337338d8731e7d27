"""Decoding: what Pillow reads is read alike, and what is damaged becomes one kind of error."""

from __future__ import annotations

import contextlib
import io

import imagecodecs
import numpy as np
import pytest
import simplejpeg
import tifffile
from PIL import Image
from trees import draw, encode

from foveate.dataloaders.decoders.decode import Unreadable, decode

GRAY, COLOUR = draw(0, 96, 130), draw(1, 75, 61, 3)


def pillow(data: bytes) -> np.ndarray:
    """(H,W,C): what the reference decoder makes of it."""
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def save(pixels: np.ndarray, kind: str, mode: str = "", **options: object) -> bytes:
    """What Pillow writes, turned to `mode` first."""
    file = io.BytesIO()
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    """What tifffile writes."""
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def reason(data: bytes) -> str:
    """Why the bytes are refused, in one line."""
    with pytest.raises(Unreadable) as error:
        decode(data)
    assert "\n" not in str(error.value)
    assert "0x" not in str(error.value)  # an address would make two builds of a pack differ
    return str(error.value)


@pytest.mark.parametrize("pixels", [GRAY, COLOUR], ids=["gray", "colour"])
@pytest.mark.parametrize("kind", ["jpeg", "progressive", "png", "tiff"])
def test_every_kind_of_file_equals_the_reference_decoder(kind, pixels):
    data = encode(pixels, kind)
    found = decode(data)
    bound = 1 if kind in ("jpeg", "progressive") else 0  # two builds of libjpeg may round apart
    assert found.shape == pixels.shape and found.dtype == np.uint8
    assert np.abs(found.astype(int) - pillow(data)).max() <= bound


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_sixteen_bits_stay_sixteen(kind, channels):
    pixels = draw(2, 40, 50, channels, deep=True)
    found = decode(encode(pixels, kind))
    assert found.dtype == np.uint16 and np.array_equal(found, pixels)


@pytest.mark.parametrize("kind", ["jpeg", "progressive", "png", "tiff"])
def test_one_pixel_is_an_image(kind):
    assert decode(encode(np.full((1, 1, 1), 77, np.uint8), kind)).tolist() == [[[77]]]


@pytest.mark.parametrize(
    ("mode", "channels"), [("P", 3), ("LA", 1), ("RGBA", 3), ("1", 1), ("L", 1)]
)
def test_png_palettes_alpha_and_bits_become_gray_or_rgb(mode, channels):
    data = save(COLOUR, "PNG", mode)
    wanted = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[:, :, :channels]
    assert np.array_equal(decode(data), wanted)


def test_tiff_layouts_become_gray_or_rgb():
    flat = GRAY[:, :, 0]
    planes = np.moveaxis(COLOUR, -1, 0).copy()
    same = {
        "white is zero": (tiff(255 - flat, photometric="miniswhite"), GRAY),
        "planes": (tiff(planes, photometric="rgb", planarconfig="separate"), COLOUR),
        "tiles": (tiff(flat, tile=(64, 64), compression="zlib", predictor=2), GRAY),
        "big-endian": (
            tiff(draw(2, 9, 9, 1, True)[:, :, 0], byteorder=">"),
            draw(2, 9, 9, 1, True),
        ),
        "BigTIFF": (tiff(flat, bigtiff=True), GRAY),
        "pages": (tiff(np.stack([flat, flat // 2, flat // 3, flat, flat])), GRAY),
        "bits": (save(GRAY, "TIFF", "1"), decode(save(GRAY, "PNG", "1"))),
    }
    for name, (data, wanted) in same.items():
        assert np.array_equal(decode(data), wanted), name
    palette = save(COLOUR, "TIFF", "P")
    assert np.array_equal(
        decode(palette), np.asarray(Image.open(io.BytesIO(palette)).convert("RGB"))
    )


def test_cmyk_jpegs_become_rgb_within_one_level_of_pillow():
    data = save(COLOUR, "JPEG", "CMYK")
    wanted = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.abs(decode(data).astype(int) - wanted).max() <= 1


def test_the_orientation_in_exif_is_ignored():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert decode(save(COLOUR, "JPEG", exif=exif)).shape == COLOUR.shape


def test_a_jpeg_that_turbojpeg_does_not_know_goes_to_pillow(monkeypatch):
    data = encode(COLOUR, "jpeg")
    monkeypatch.setattr(simplejpeg, "decode_jpeg_header", lambda *a, **k: {}[-1])
    assert np.array_equal(decode(data), pillow(data))
    assert np.array_equal(decode(encode(GRAY, "jpeg")), pillow(encode(GRAY, "jpeg")))
    assert "pixels" in reason(inflate(data))


@pytest.mark.parametrize("kind", ["jpeg", "progressive"])
@pytest.mark.parametrize("rest", [b"\0" * 10, b"trailer" * 5000, b"\xff\xd8\xff"])
def test_bytes_after_the_end_marker_are_nobodys_business(kind, rest):
    data = encode(GRAY, kind)
    assert np.array_equal(decode(data + rest), decode(data))


@pytest.mark.parametrize("pixels", [GRAY, COLOUR], ids=["gray", "colour"])
@pytest.mark.parametrize("kind", ["jpeg", "progressive"])
def test_a_jpeg_that_lost_its_tail_is_unreadable_wherever_it_was_cut(kind, pixels):
    data = encode(pixels, kind)
    for left in {*range(len(data) - 3, len(data)), *range(1, len(data), 97)}:
        reason(data[:left])
        reason(data[:left].ljust(len(data), b"\0"))  # a disk that lost blocks


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_a_png_or_tiff_that_lost_its_tail_is_unreadable(kind):
    data = encode(GRAY, kind)
    for left in {len(data) - 13, *range(1, len(data) - 13, 211)}:
        reason(data[:left])


def test_a_flipped_bit_in_a_png_is_found():
    data, noise = encode(GRAY, "png"), np.random.default_rng(0)
    for place in noise.integers(41, len(data) - 12, 60):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(noise.integers(8))
        reason(bytes(flipped))


@pytest.mark.parametrize("kind", ["jpeg", "progressive", "png", "tiff"])
def test_damage_gives_pixels_or_a_reason_and_never_another_error(kind):
    data, noise = encode(COLOUR, kind), np.random.default_rng(1)
    for _ in range(60):
        hurt = bytearray(data)
        place = int(noise.integers(2, min(len(hurt), 700)))
        hurt[place : place + 8] = noise.bytes(8)
        with contextlib.suppress(Unreadable):
            assert decode(bytes(hurt)).dtype in (np.uint8, np.uint16)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"\0" * 999, b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"%PDF-1.7"],
)
def test_what_is_no_image_is_unreadable(data):
    assert reason(data)


def inflate(jpeg: bytes, side: int = 28_672) -> bytes:
    """The same JPEG, its header claiming a square of that side."""
    frame = jpeg.index(b"\xff\xc0")
    return jpeg[: frame + 5] + side.to_bytes(2) * 2 + jpeg[frame + 9 :]


def test_a_header_that_claims_too_much_is_refused_before_memory_is_taken():
    png = encode(GRAY, "png")
    assert "pixels" in reason(png[:16] + b"\x7f\xff\xff\xff" * 2 + png[24:])
    assert "28672 x 28672 pixels" in reason(inflate(encode(GRAY, "jpeg")))
    assert "pixels" in reason(inflate(encode(GRAY, "jpeg"), 65_535))
    for claim in ({"shape": (1, 40_000)}, {"shape": (20_000, 20_000)}):
        assert "pixels" in reason(tiff(np.zeros(claim["shape"], np.uint8), compression="zlib"))


def test_an_image_longer_than_the_kernel_takes_is_refused_here():
    assert "32,767" in reason(imagecodecs.png_encode(np.zeros((2, 32_768), np.uint8)))
    assert decode(imagecodecs.png_encode(np.zeros((2, 32_767), np.uint8))).shape == (2, 32_767, 1)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (tiff(np.zeros((9, 9), np.float32)), "float32"),
        (tiff(np.zeros((9, 9), np.int16)), "int16"),
        (tiff(np.zeros((9, 9, 4), np.uint8), photometric="separated"), "photometric is 5"),
        (tiff(np.zeros((32, 32, 32), np.uint8), volumetric=True, tile=(16, 16, 16)), "shape"),
    ],
)
def test_pixels_of_another_kind_say_what_they_are(data, said):
    assert said in reason(data)


def test_nothing_that_stands_in_a_damaged_file_reaches_a_log(caplog, capfd):
    data, noise = (
        bytearray(tiff(GRAY[:, :, 0], description="Jones, Mary")),
        np.random.default_rng(0),
    )
    said: set[str] = set()
    for _ in range(99):
        hurt, place = bytearray(data), int(noise.integers(8, 200))
        hurt[place : place + 4] = noise.bytes(4)
        try:
            decode(bytes(hurt))
        except Unreadable as error:
            said.add(str(error))
    assert said and not [line for line in said if "<" in line or "'" in line or "Jones" in line]
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_a_machine_without_memory_is_not_the_images_fault(monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(imagecodecs, "png_decode", fail)
    with pytest.raises(MemoryError):
        decode(encode(GRAY, "png"))


@pytest.mark.parametrize(
    ("said", "told"), [("two\n lines " * 99, "two lines two"), ("", "no reason")]
)
def test_whatever_a_decoder_says_becomes_one_short_line(monkeypatch, said, told):
    def fail(*_: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(imagecodecs, "png_decode", fail)
    line = reason(encode(GRAY, "png"))
    assert line.startswith(f"RuntimeError: {told}") and len(line) < 140
