"""Curves take their looks from the page; sheets show any images; numbers carry their units."""

import re

import numpy as np
import pytest
from PIL import Image

from foveate.engine.report.figures import POINTS, Mark, curve, thin, write_sheet
from foveate.engine.report.markup import plain, seconds, wilson


@pytest.mark.parametrize("shape", [(0, 8, 8), (1, 28, 28), (9, 300, 200, 3), (64, 20, 30)], ids=str)
def test_a_sheet_takes_any_size_and_up_to_64_tiles(tmp_path, shape):
    images = np.full(shape, 200, np.uint8)
    captions = ["DRUSEN, said NORMAL with 61 %\n\u03b1 unbreakablyverylongclassnameindeed"] * shape[
        0
    ]
    write_sheet(tmp_path / "a" / "sheet.png", images, captions, ["#f0b060"] * shape[0])
    with Image.open(tmp_path / "a" / "sheet.png") as sheet:
        assert sheet.format == "PNG" and sheet.width <= 1500
        assert not shape[0] or sheet.getpixel((12, 12)) == (200, 200, 200)


@pytest.mark.parametrize(
    ("images", "captions", "colours"),
    [
        (np.zeros((2, 4, 4), np.uint8), ["a"], None),
        (np.zeros((65, 4, 4), np.uint8), ["a"] * 65, None),
        (np.zeros((1, 4, 4), np.float32), ["a"], None),
        (np.zeros((1, 4, 4, 4), np.uint8), ["a"], None),
        (np.zeros((1, 4, 4), np.uint8), ["a"], []),
    ],
)
def test_a_sheet_refuses_what_it_cannot_show(tmp_path, images, captions, colours):
    with pytest.raises(ValueError, match=r"tiles|sheet"):
        write_sheet(tmp_path / "sheet.png", images, captions, colours)


def test_a_curve_takes_its_colours_from_the_page_and_has_no_size_of_its_own():
    svg = curve("a < b", range(30), range(30), noisy=True, marks=[Mark(3, "saved")])
    assert svg.startswith('<svg viewBox="0 0 420 190" role="img" aria-label="a &lt; b">')
    assert "var(--accent)" in svg and "xmlns" not in svg and "<metadata" not in svg
    assert not re.search(r"#0[0-9]0[0-9]0[0-9]\b", svg)


def test_a_long_line_keeps_its_spike():
    y = np.zeros(50_000)
    y[31_415] = 9
    x, y = thin(np.arange(50_000), y)
    assert len(y) <= POINTS + 2 and x[y.argmax()] == 31_415
    assert len(curve("long", range(50_000), range(50_000), noisy=True)) < 60_000


def test_numbers_are_written_with_their_units():
    times = [seconds(t).replace("\u202f", " ") for t in (4.25, 193.2, 9000, None)]
    assert times == ["4.2 s", "3 min 13 s", "2 h 30 min", "\u2013"]
    assert plain([[0, 96], [40, 128]]) == "[0, 96], [40, 128]"
    assert wilson(369, 400) == pytest.approx((0.8921, 0.9449), abs=1e-3)
