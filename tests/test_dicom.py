"""DICOM pixels: each kind of file against arithmetic written out here, some against pydicom too."""

from __future__ import annotations

import io

import imagecodecs
import numpy as np
import pytest
from dicoms import encode, item, make, ramp, write
from PIL import Image
from pydicom.pixels import apply_modality_lut, apply_windowing
from pydicom.uid import RLELossless

from foveate.dataloaders.decoders.decode import Unreadable, decode, decode_frames

FAMILY = "1.2.840.10008.1.2."
NATIVE = {"implicit": "", "explicit": ".1", "big endian": ".2", "deflated": ".1.99"}


def levels(data, window="full"):
    """(H,W) or (H,W,3) of the only frame."""
    (frame,) = decode_frames(data, window)
    assert frame.flags.c_contiguous
    return frame[:, :, 0] if frame.shape[2] == 1 else frame


def spread(values, low, high, top=65_535):
    """Half-up rounding of a range onto 0..top, in whole numbers."""
    span = high - low
    return ((values.astype(np.int64) - low) * 2 * top + span) // (2 * span)


@pytest.mark.parametrize("bits", [8, 10, 12, 15, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_the_whole_range_of_the_stored_bits_is_kept_value_by_value(bits, signed):
    pixels = ramp(bits, signed)
    found = levels(encode(pixels, bits=bits))
    low = -(2 ** (bits - 1)) if signed else 0
    expected = spread(pixels, low, low + 2**bits - 1, 255 if bits <= 8 else 65_535)
    assert found.dtype == (np.uint8 if bits <= 8 else np.uint16)
    assert np.array_equal(found, expected)
    assert len(np.unique(found)) == len(np.unique(pixels)), "two values became one"


@pytest.mark.parametrize("spelling", NATIVE)
@pytest.mark.parametrize("bits", [12, 16])
def test_native_syntaxes_agree(spelling, bits):
    pixels = ramp(bits, signed=True)
    assert np.array_equal(
        levels(encode(pixels, FAMILY[:-1] + NATIVE[spelling], bits=bits)),
        levels(encode(pixels, bits=bits)),
    )


CODECS = {
    "4.70": lambda a: imagecodecs.ljpeg_encode(a, bitspersample=12),
    "4.57": lambda a: imagecodecs.jpeg8_encode(a, lossless=True, predictor=4, bitspersample=12),
    "4.80": imagecodecs.jpegls_encode,
    "4.90": lambda a: imagecodecs.jpeg2k_encode(a, level=0, codecformat="j2k", reversible=True),
    "4.201": imagecodecs.htj2k_encode,
}


@pytest.mark.parametrize("kind", CODECS)
def test_lossless_compression_loses_nothing(kind):
    pixels = ramp(12)
    data = encode(pixels, FAMILY + kind, bits=12, frames=[CODECS[kind](pixels)])
    assert np.array_equal(levels(data), levels(encode(pixels, bits=12)))


@pytest.mark.parametrize("kind", ["4.80", "4.90"])
def test_compressed_values_with_a_sign_keep_it(kind):
    pixels = ramp(12, signed=True)
    raw = pixels if kind == "4.90" else pixels.view(np.uint16) & 0xFFF  # JPEG-LS has no sign
    data = encode(pixels, FAMILY + kind, bits=12, frames=[CODECS[kind](raw)])
    assert np.array_equal(levels(data), levels(encode(pixels, bits=12)))


@pytest.mark.parametrize("pixels", [ramp(8), ramp(16, True), np.dstack([ramp(8)[::-1]] * 3)])
def test_rle_loses_nothing(pixels):
    data = make(pixels)
    data.compress(RLELossless)
    assert np.array_equal(levels(write(data)), levels(encode(pixels)))


def test_a_gray_jpeg_and_a_12_bit_jpeg_are_what_their_codec_gives():
    small, deep = ramp(8, height=32, width=40), ramp(12, height=32, width=40)
    frame = imagecodecs.jpeg8_encode(small, 90)
    found = levels(encode(small, FAMILY + "4.50", frames=[frame]))
    assert np.array_equal(found, imagecodecs.jpeg8_decode(frame))
    frame = imagecodecs.jpeg8_encode(deep, 95, bitspersample=12)
    found = levels(encode(deep, FAMILY + "4.51", bits=12, frames=[frame]))
    assert np.array_equal(found, spread(imagecodecs.jpeg8_decode(frame), 0, 4095))


def blocks():
    """(32,48,3) uint8 of flat colours that JPEG keeps to a level or two."""
    colours = np.array([[200, 30, 40], [20, 180, 60], [30, 40, 210], [128, 128, 128]], np.uint8)
    return np.kron(colours.reshape(2, 2, 3), np.ones((16, 24, 1), np.uint8))


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "RGB"])
def test_colour_of_a_jpeg_comes_out_as_rgb(photometric):
    file, expected = io.BytesIO(), blocks()
    if photometric == "RGB":  # stored without a colour transform, and without a marker that says so
        frame = imagecodecs.jpeg8_encode(blocks(), 98, colorspace="RGB", outcolorspace="RGB")
        cut = frame.find(b"\xff\xee")
        if cut > 0:
            frame = frame[:cut] + frame[cut + 2 + int.from_bytes(frame[cut + 2 : cut + 4]) :]
    else:
        Image.fromarray(blocks()).save(file, "JPEG", quality=98)
        frame, expected = file.getvalue(), np.asarray(Image.open(file))
    data = encode(blocks(), FAMILY + "4.50", frames=[frame], PhotometricInterpretation=photometric)
    assert abs(levels(data).astype(int) - expected).max() <= 4


def test_jpeg_2000_colour_comes_out_as_rgb():
    frame = imagecodecs.jpeg2k_encode(blocks(), level=0, codecformat="j2k", reversible=True)
    data = encode(blocks(), FAMILY + "4.90", frames=[frame], PhotometricInterpretation="YBR_RCT")
    assert np.array_equal(levels(data), blocks())


def ybr(rgb):
    """PS3.3 C.7.6.3.1.2, rounded."""
    r, g, b = np.moveaxis(rgb.astype(float), -1, 0)
    planes = [
        0.299 * r + 0.587 * g + 0.114 * b,
        128 - 0.1687 * r - 0.3313 * g + 0.5 * b,
        128 + 0.5 * r - 0.4187 * g - 0.0813 * b,
    ]
    return np.stack(planes, -1).round().clip(0, 255).astype(np.uint8)


def test_native_ybr_is_converted_whole_and_halved():
    stored = ybr(blocks())
    data = encode(stored, PhotometricInterpretation="YBR_FULL")
    assert abs(levels(data).astype(int) - blocks()).max() <= 2
    pairs = stored.reshape(-1, 2, 3)
    halved = np.stack([pairs[:, 0, 0], pairs[:, 1, 0], pairs[:, 0, 1], pairs[:, 0, 2]], -1)
    data = encode(stored, PhotometricInterpretation="YBR_FULL_422", PixelData=halved.tobytes())
    assert abs(levels(data).astype(int) - blocks()).max() <= 2


def test_planes_of_colours_are_interleaved_and_deep_colours_stay_deep():
    planes = np.moveaxis(blocks(), -1, 0).copy()
    data = encode(blocks(), PlanarConfiguration=1, PixelData=planes.tobytes())
    assert np.array_equal(levels(data), blocks())
    deep = blocks().astype(np.uint16) * 16
    found = levels(encode(deep, bits=12))
    assert found.dtype == np.uint16 and np.array_equal(found, spread(deep, 0, 4095))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_is_looked_up(bits):
    pixels = np.arange(240, dtype=np.uint8).reshape(12, 20)
    table = np.random.default_rng(1).integers(0, 2**bits, (3, 200)).astype(f"<u{bits // 8}")
    extra = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, row in zip(("Red", "Green", "Blue"), table, strict=True):
        extra[f"{colour}PaletteColorLookupTableDescriptor"] = [200, 10, bits]
        extra[f"{colour}PaletteColorLookupTableData"] = row.tobytes()
    place = np.clip(pixels.astype(int) - 10, 0, 199)
    assert np.array_equal(levels(encode(pixels, **extra)), np.moveaxis(table[:, place], 0, -1))


def test_a_segmented_palette_is_looked_up():
    pixels = np.arange(240, dtype=np.uint8).reshape(12, 20)
    run = np.array([0, 2, 7, 9, 1, 254, 9 + 254 * 3], "<u2")  # 2 values, then 254 steps of 3
    extra = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour in ("Red", "Green", "Blue"):
        extra[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        extra[f"Segmented{colour}PaletteColorLookupTableData"] = run.tobytes()
    table = np.array([7, *(9 + 3 * np.arange(255))])
    assert np.array_equal(levels(encode(pixels, **extra))[:, :, 1], table[pixels])


def test_single_bits_become_black_and_white():
    mask = ramp(8) > 100
    packed = np.packbits(mask.ravel(), bitorder="little").tobytes()
    data = encode(mask.astype(np.uint8), BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=packed)
    assert np.array_equal(levels(data), mask * np.uint8(255))


def test_bits_beside_the_stored_ones_are_not_read():
    pixels = ramp(12)
    overlaid = pixels | np.uint16(0xA000)
    assert np.array_equal(levels(encode(overlaid, bits=12)), levels(encode(pixels, bits=12)))
    shifted = (pixels << 4) | np.uint16(3)
    assert np.array_equal(
        levels(encode(shifted, bits=12, HighBit=15)), levels(encode(pixels, bits=12))
    )


CT = dict(Modality="CT", RescaleSlope=1, RescaleIntercept=-1024)


def test_hounsfield_is_the_same_number_whatever_the_file_stores():
    hu = np.array([[-1024, -1000, 0, 40], [1, 80, 1000, 3071]])
    unsigned = encode((hu + 1024).astype(np.uint16), bits=12, **CT)
    signed = encode(hu.astype(np.int16), **(CT | {"RescaleIntercept": 0}))
    assert np.array_equal(levels(unsigned), hu + 32_768)
    assert np.array_equal(levels(signed), hu + 32_768)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
def test_the_file_s_first_window_is_applied_after_the_rescale(function):
    pixels = ramp(12)
    extra = CT | {"WindowCenter": [40, 400], "WindowWidth": [350, 2000]}
    extra |= {"VOILUTFunction": function} if function else {}
    x, c, w = pixels - 1024.0, 40.0, 350.0
    if function == "SIGMOID":
        share = 1 / (1 + np.exp(-4 * (x - c) / w))
    elif function == "LINEAR_EXACT":
        share = (x - c) / w + 0.5
    else:
        share = (x - c + 0.5) / (w - 1) + 0.5
    expected = np.floor(share.clip(0, 1) * 65_535 + 0.5)
    data = make(pixels, bits=12, **extra)
    found = levels(write(data), "file")
    assert np.array_equal(found, expected)
    theirs = apply_windowing(apply_modality_lut(pixels, data), data)  # to the range of the units
    low, high = -1024.0, 3071.0
    assert abs((theirs - low) / (high - low) * 65_535 - found).max() <= 0.5 + 1e-6


def test_a_window_of_the_recipe_is_in_units_and_always_16_bits():
    pixels = ramp(12)
    own = levels(encode(pixels, bits=12, **CT), (40.0, 350.0))
    extra = CT | {"WindowCenter": 40, "WindowWidth": 350}
    assert np.array_equal(own, levels(encode(pixels, bits=12, **extra), "file"))
    assert levels(encode(ramp(8)), (100.0, 50.0)).dtype == np.uint16


def test_without_a_window_of_its_own_a_file_s_whole_range_is_taken_to_16_bits():
    assert np.array_equal(levels(encode(ramp(8)), "file"), ramp(8) * np.uint16(257))


def test_lookup_tables_of_modality_and_window_are_applied_in_turn():
    pixels = np.arange(240, dtype=np.uint8).reshape(12, 20)
    first = (np.arange(256)[::-1] ** 2 % 4096).astype(np.uint16)
    second = (np.arange(4000) * 3 % 65_536).astype(np.uint16)
    lut = item(LUTDescriptor=[256, 0, 12], ModalityLUTType="US", LUTData=first.tobytes())
    lut["LUTData"].VR = "OW"
    data = make(pixels, ModalityLUTSequence=[lut])
    units = first[pixels].astype(int)
    assert np.array_equal(levels(write(data)), spread(units, 0, 4095))
    lut.LUTDescriptor = [256, 0, 16]  # pydicom's own knows 8 and 16
    assert np.array_equal(levels(write(data)), apply_modality_lut(pixels, data))
    lut = item(LUTDescriptor=[4000, 50, 16], LUTData=second.tobytes())
    lut["LUTData"].VR = "OW"
    data.VOILUTSequence = [lut]
    data.WindowCenter, data.WindowWidth = 5, 5  # the table comes first
    assert np.array_equal(levels(write(data), "file"), second[np.clip(units - 50, 0, 3999)])


@pytest.mark.parametrize("bits", [8, 12])
def test_monochrome1_is_inverted(bits):
    pixels = ramp(bits)
    upright = levels(encode(pixels, bits=bits))
    found = levels(encode(pixels, bits=bits, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(found, np.iinfo(upright.dtype).max - upright)
    assert found.dtype == upright.dtype


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("written", [-2000, 63536])
def test_padding_becomes_the_lowest_value_and_moves_no_other(photometric, written):
    pixels = ramp(12).astype(np.int16)
    plain = levels(encode(pixels, PhotometricInterpretation=photometric))
    pixels[0, :3] = (-2000, -1995, -1990)
    data = make(pixels, PhotometricInterpretation=photometric)
    data.add_new(0x00280120, "US" if written > 0 else "SS", written)
    data.add_new(0x00280121, "SS", -1995)
    found = levels(write(data))
    assert found[0, 0] == found[0, 1] == 0 != found[0, 2]
    assert np.array_equal(found.ravel()[3:], plain.ravel()[3:])


def test_every_frame_is_read_with_its_own_scale():
    pixels = np.stack([ramp(12), ramp(12)[::-1], ramp(12)[:, ::-1]])
    groups = [
        item(PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=b)])
        for b in (0, -1000, 10)
    ]
    voi = item(FrameVOILUTSequence=[item(WindowCenter=100, WindowWidth=200)])
    data = make(
        pixels, bits=12, Modality="CT",
        PerFrameFunctionalGroupsSequence=groups, SharedFunctionalGroupsSequence=[voi],
    )  # fmt: skip
    frames = decode_frames(write(data))
    for frame, own, intercept in zip(frames, pixels, (0, -1000, 10), strict=True):
        assert np.array_equal(frame[:, :, 0], own.astype(int) + intercept + 32_768)
    windowed = decode_frames(write(data), "file")[1][:, :, 0]
    share = ((pixels[1] - 1000.0 - 99.5) / 199 + 0.5).clip(0, 1)
    assert np.array_equal(windowed, np.floor(share * 65_535 + 0.5))


def test_compressed_frames_are_told_apart_and_counted():
    pixels = np.stack([ramp(8), ramp(8)[::-1]])
    frames = [imagecodecs.jpegls_encode(one) for one in pixels]
    whole = encode(pixels, FAMILY + "4.80", frames=frames)
    assert np.array_equal(np.stack(decode_frames(whole))[..., 0], pixels)
    with pytest.raises(Unreadable, match="where one image is wanted"):
        decode(whole)
    with pytest.raises(Unreadable):
        decode_frames(encode(pixels, FAMILY + "4.80", frames=frames, NumberOfFrames=3))
