"""Areas, bounds and overlaps of boxes, polygons and masks."""

from __future__ import annotations

import numpy as np

from .rle import decode_mask, find_bounds
from .table import NONE, POLYGON, Annotations, Masks

OVERSIZED = 16_777_216
"""Pixels of the union of two boxes, or rows times values of their rings, above which masks are
not drawn: 4096 x 4096."""


def measure_polygon(ring: np.ndarray) -> float:
    """(2n,) x0 y0 x1 y1 ... -> area in square pixels, without sign (the shoelace formula)."""
    x, y = ring[0::2] - ring[0], ring[1::2] - ring[1]  # near 0 products lose fewer bits
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y))) / 2


def bound_polygons(masks: Masks) -> np.ndarray:
    """(A,4) float64: the box around all rings of each polygon, NaN for every other object."""
    found = np.full((len(masks.kind), 4), np.nan)
    rings = np.diff(masks.first)
    chosen = np.flatnonzero((masks.kind == POLYGON) & (rings > 0))
    if not len(chosen):
        return found
    begin, end = masks.start[masks.first[chosen]], masks.start[masks.first[chosen + 1]]
    for axis in (0, 1):
        # Every second value from each object's first to its last, objects one after another.
        values = masks.values[_every_second(begin + axis, end)]
        cuts = np.cumsum((end - begin) // 2) - (end - begin) // 2
        found[chosen, axis] = np.minimum.reduceat(values, cuts)
        found[chosen, axis + 2] = np.maximum.reduceat(values, cuts)
    return found


def scale_of(found: Annotations) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of one share of the image: of each box's corners (A,4), and of each value (V,).

    Values of run lengths have 1: they are counts.
    """
    sides = found.size[found.image][:, ::-1].astype(np.float64)  # width, height
    length = np.diff(found.masks.start)
    owner = np.repeat(np.repeat(np.arange(len(found)), np.diff(found.masks.first)), length)
    place = np.arange(len(owner)) - np.repeat(found.masks.start[:-1], length)
    point = sides[owner, place % 2]
    point[found.masks.kind[owner] != POLYGON] = 1
    return np.concatenate([sides, sides], axis=1), point


def bound_object(found: Annotations, number: int) -> tuple[float, float, float, float]:
    """The box around the run lengths of one object."""
    height, _ = found.mask_size(number)
    return find_bounds(found.masks.rings(number)[0].astype(np.int64), height)


def _every_second(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    length = (end - begin + 1) // 2
    place = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    return np.repeat(begin, length) + 2 * place


def fill_ring(ring: np.ndarray, left: int, top: int, width: int, height: int) -> np.ndarray:
    """(2n,) ring -> (height,width) bool: pixels whose centre is inside, by the even-odd rule."""
    x, y = ring[0::2] - left, ring[1::2] - top
    x1, y1 = np.roll(x, -1), np.roll(y, -1)
    first = np.ceil(np.minimum(y, y1) - 0.5).clip(0, height).astype(np.int64)
    count = np.ceil(np.maximum(y, y1) - 0.5).clip(0, height).astype(np.int64) - first
    edge = np.repeat(np.arange(len(y)), count)  # each edge once per row whose centre it crosses
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    share = (row + 0.5 - y[edge]) / (y1[edge] - y[edge])
    crossing = np.ceil(x[edge] + share * (x1[edge] - x[edge]) - 0.5).clip(0, width)
    flips = np.zeros((height, width + 1), np.int32)
    np.add.at(flips, (row, crossing.astype(np.int64)), 1)
    return np.cumsum(flips[:, :width], axis=1) % 2 == 1


def draw_object(found: Annotations, number: int, frame: tuple[int, int, int, int]) -> np.ndarray:
    """The mask of one object inside `frame` (x0, y0, x1, y1) -> (H,W) bool.

    A box where it has none. Rings are joined, as COCO does: a hole needs run lengths.
    """
    x0, y0, x1, y1 = frame
    kind, rings = found.masks.kind[number], found.masks.rings(number)
    if kind == NONE or not rings:
        a, b, c, d = found.box[number].tolist()
        rings = [np.array([a, b, c, b, c, d, a, d])]
        kind = POLYGON
    if kind == POLYGON:
        drawn = np.zeros((y1 - y0, x1 - x0), bool)
        for ring in rings:
            drawn |= fill_ring(ring, x0, y0, x1 - x0, y1 - y0)
        return drawn
    height, width = found.mask_size(number)
    whole = decode_mask(rings[0], height, width)
    drawn = np.zeros((y1 - y0, x1 - x0), bool)
    a, b, c, d = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if c > a and d > b:
        drawn[b - y0 : d - y0, a - x0 : c - x0] = whole[b:d, a:c]
    return drawn


def pair_boxes(box: np.ndarray, least: float) -> np.ndarray:
    """(n,4) boxes of one image -> (P,2) int64: pairs i < j in the order of x0 with IoU > `least`.

    Sorted by x0, a box is held only against those that could share enough of its width:
    IoU <= overlap / width. 3,000 cells of 25 pixels give 200,000 pairs to hold, not 4.5 million.
    """
    order = np.argsort(box[:, 0], kind="stable")
    x0, y0, x1, y1 = box[order].T
    reach = np.searchsorted(x0, x1 - least * (x1 - x0), side="right")
    count = np.maximum(reach - np.arange(len(box)) - 1, 0)
    one = np.repeat(np.arange(len(box)), count)
    other = one + 1 + np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    wide = np.minimum(x1[one], x1[other]) - np.maximum(x0[one], x0[other])
    high = np.minimum(y1[one], y1[other]) - np.maximum(y0[one], y0[other])
    shared = wide.clip(0) * high.clip(0)
    area = (x1 - x0) * (y1 - y0)
    near = shared > least * (area[one] + area[other] - shared)
    pairs = np.stack([order[one[near]], order[other[near]]], axis=1)
    return np.sort(pairs, axis=1)


def overlap(found: Annotations, one: int, other: int) -> float:
    """IoU of two objects' masks (boxes where they have none), on pixels; 0.0 where too large."""
    boxes = found.box[[one, other]]
    x0, y0 = (int(v) for v in np.floor(boxes[:, :2].min(axis=0)))
    x1, y1 = (int(v) for v in np.ceil(boxes[:, 2:].max(axis=0)))
    values = sum(len(ring) for n in (one, other) for ring in found.masks.rings(n))
    if (y1 - y0) * max(x1 - x0, values) > OVERSIZED:
        return 0.0
    here, there = (draw_object(found, n, (x0, y0, x1, y1)) for n in (one, other))
    union = (here | there).sum()
    return float((here & there).sum() / union) if union else 0.0
