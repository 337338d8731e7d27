"""A JPEG's header says which decoder may have it, and damage makes it say no."""

from __future__ import annotations

import numpy as np
import pytest
from jpegs import COLOUR, GRAY, QUICK, SLOW, hurt, save

from foveate.dataloaders.decoders import header as reading
from foveate.dataloaders.decoders.decode import Unreadable, decode
from foveate.dataloaders.decoders.header import find_end, jpeg_header, why_slow
from foveate.dataloaders.decoders.vetting import Vetted, vet


@pytest.mark.parametrize("name", QUICK)
def test_what_quick_decoders_take_is_read_as_it_is(name):
    data = QUICK[name]
    header = jpeg_header(data)
    height, width, channels = decode(data).shape
    assert (header.height, header.width, len(header.components)) == (height, width, channels)
    assert header.bits == 8 and why_slow(header) == ""
    assert data[find_end(data, header) - 2 :][:2] == b"\xff\xd9"


def test_the_end_is_that_of_the_scan_and_not_of_a_trailer():
    data = QUICK["gray, more after its end"]
    assert find_end(data, jpeg_header(data)) == len(save(GRAY))
    assert len(vet(data, exact=False).data) == len(save(GRAY))


def test_a_second_scan_or_anything_else_before_the_end_is_left_to_the_cpu():
    data = QUICK["gray"]
    assert vet(data[:-2] + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + data[-60:], exact=False) == (
        "more after the scan"
    )


def test_sampling_and_colour_are_read():
    assert [p[1:] for p in jpeg_header(QUICK["4:2:2"]).components] == [(2, 1), (1, 1), (1, 1)]
    assert [p[1:] for p in jpeg_header(QUICK["4:2:0"]).components] == [(2, 2), (1, 1), (1, 1)]
    assert jpeg_header(QUICK["4:2:0"]).ycbcr and not jpeg_header(save(COLOUR, keep_rgb=True)).ycbcr


@pytest.mark.parametrize("name", SLOW)
def test_what_they_do_not_take_says_why(name):
    data, why = SLOW[name]
    assert vet(data, exact=False) == why


def without(data: bytes, mark: int) -> bytes:
    """The file less every segment of that kind before its scan."""
    place, kept = 2, data[:2]
    while data[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4])
        kept += data[place:end] if data[place + 1] != mark else b""
        place = end
    return kept + data[place:]


ADOBE_RGB = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"


def test_a_file_without_its_tables_or_with_doubtful_colour_is_left_to_the_cpu():
    colour = QUICK["4:2:0"]
    for mark in (0xC4, 0xDB):
        assert vet(without(colour, mark), exact=False) == "no tables"
    assert isinstance(vet(without(colour, 0xE0), exact=False), Vetted)  # components 1, 2, 3
    renamed = without(colour, 0xE0).replace(b"\x01\x22\0", b"\x52\x22\0")
    assert vet(renamed, exact=False) == "not surely YCbCr"
    assert vet(colour[:2] + ADOBE_RGB + colour[2:], exact=False) == "not surely YCbCr"
    foreign = ADOBE_RGB.replace(b"Adobe", b"Other")
    assert isinstance(vet(colour[:2] + foreign + colour[2:], exact=False), Vetted)


def test_a_header_is_not_followed_for_ever():
    comment = b"\xff\xfe\0\x02"
    data = QUICK["gray"]
    few, many = (data[:2] + comment * n + data[2:] for n in (900, reading.SEGMENTS))
    assert isinstance(vet(few, exact=False), Vetted)
    with pytest.raises(ValueError, match="too many segments"):
        jpeg_header(many)


def test_two_frames_or_a_scan_without_one_are_refused():
    data = QUICK["gray"]
    frame = data.index(b"\xff\xc0")
    length = 2 + int.from_bytes(data[frame + 2 : frame + 4])
    twice = data[:frame] + data[frame : frame + length] * 2 + data[frame + length :]
    with pytest.raises(ValueError, match="two frames"):
        jpeg_header(twice)
    with pytest.raises(ValueError, match="before its frame"):
        jpeg_header(data[:frame] + data[frame + length :])


@pytest.mark.parametrize("name", ["gray", "4:2:0", "progressive colour"])
def test_damage_to_a_header_is_a_verdict_and_never_another_error(name):
    data = QUICK.get(name) or SLOW[name][0]
    noise = np.random.default_rng(2)
    for _ in range(400):
        changed, place = bytearray(data), int(noise.integers(2, 700))
        changed[place : place + 4] = noise.bytes(4)
        assert isinstance(vet(bytes(changed), exact=False), Vetted | str)
    for left in range(0, len(data), 13):
        assert isinstance(vet(data[:left], exact=False), str)


def test_an_exact_look_gives_the_verdict_of_decode_and_markers_alone_do_not():
    pytest.importorskip("simplejpeg")
    missed = 0
    for name in ("gray", "4:4:4", "4:2:0", "4:2:0, restarts"):
        for seed in range(60):
            data = hurt(QUICK[name], seed)
            try:
                decode(data)
                readable = True
            except Unreadable:
                readable = False
            assert isinstance(vet(data, exact=True), Vetted) == readable
            missed += isinstance(vet(data, exact=False), Vetted) and not readable
    assert missed > 100  # what `exact` is for
