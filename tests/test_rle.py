"""Run lengths are pycocotools', to the letter."""

from __future__ import annotations

import numpy as np
import pytest

from foveate.dataloaders.annotations import rle

DISC = [41, 3, 7, 7, 5, 7, 4, 9, 3, 9, 3, 9, 4, 7, 5, 7, 7, 3, 28]
NOISE = [1, 1, 3, 3, 1, 5, 2, 1, 2, 1]
# height, width, counts, and what pycocotools 2.0.11 makes of them: text, area, (x, y, w, h).
VECTORS = [
    (3, 4, [12], "<", 0, (0, 0, 0, 0)),
    (3, 4, [0, 12], "0<", 12, (0, 0, 4, 3)),
    (5, 6, [11, 3, 2, 3, 2, 3, 6], ";320004", 9, (2, 1, 3, 3)),
    (2000, 1, [33, 1067, 400, 1, 489, 10], "Q1[Q1`<fnNi29", 1078, (0, 33, 1, 1967)),
    (4, 5, NOISE, "1132N21L00", 11, (0, 0, 5, 4)),
    (12, 14, DISC, "Y1374N0O2O0001N102Le0", 61, (3, 2, 9, 9)),
    (6, 4, [10, 4, 10], ":4:", 4, (1, 0, 2, 6)),
]


@pytest.mark.parametrize(("height", "width", "counts", "text", "area", "box"), VECTORS)
def test_text_area_and_box_are_pycocotools(height, width, counts, text, area, box):
    runs = np.array(counts)
    assert rle.encode_texts(runs, np.array([0, len(runs)])) == [text]
    assert rle.decode_texts([text])[0].tolist() == counts
    assert rle.measure_area(runs) == area
    x0, y0, x1, y1 = rle.find_bounds(runs, height)
    assert (x0, y0, x1 - x0, y1 - y0) == box
    mask = rle.decode_mask(runs, height, width)
    assert mask.shape == (height, width) and mask.sum() == area
    assert rle.encode_mask(mask).tolist() == counts


def test_many_masks_at_once_are_each_alone():
    texts = ["", *(row[3] for row in VECTORS), ""]
    counts, start = rle.decode_texts(texts)
    assert counts.tolist() == [run for row in VECTORS for run in row[2]]
    assert np.diff(start).tolist() == [0, *(len(row[2]) for row in VECTORS), 0]
    assert rle.encode_texts(counts, start) == texts


def test_any_mask_comes_back():
    noise = np.random.default_rng(0)
    for share in (0, 0.02, 0.5, 0.98, 1):
        for _ in range(20):
            mask = noise.random(noise.integers(1, 60, 2)) < share
            counts = rle.encode_mask(mask)
            (text,) = rle.encode_texts(counts, np.array([0, len(counts)]))
            again = rle.decode_texts([text])[0]
            assert np.array_equal(rle.decode_mask(again, *mask.shape), mask)


@pytest.mark.parametrize("text", ["P", "0p", "0\x7f", "0\u00e9", "o" * 11 + "0"])
def test_what_is_no_text_is_refused(text):
    with pytest.raises(ValueError, match="run-length text"):
        rle.decode_texts(["0<", text])


def test_runs_that_miss_the_size_are_found():
    counts, start = np.array([3, 9, 5, -1, 8, 12]), np.array([0, 2, 5, 6])
    assert rle.check_counts(counts, start, np.array([12, 12, 12])) == 1
    assert rle.check_counts(counts[:2], start[:2], np.array([12])) == -1
    with pytest.raises(ValueError, match="do not add up"):
        rle.decode_mask(np.array([3, 8]), 3, 4)
