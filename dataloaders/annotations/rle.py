"""COCO run lengths: text, counts and masks, bit by bit what pycocotools makes of them.

Runs go down the columns and begin with background. The text is base 32 from '0' on, 5 bits a
letter, bit 6 says that more follow; from the fourth run on the difference to the run two before is
written. Everything works on many masks at once: a Python loop per letter is 100 times slower.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

LETTERS = 48, 112
"""The text's letters are bytes from the first up to, not with, the second."""
LONGEST = 10
"""Letters of one number: 50 bits hold any run of an image we take."""


def decode_texts(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """T texts -> counts (n,) int64 of all, one after another, and where each begins, (T+1,) int64.

    Raises ValueError where a text has other letters, ends in the middle of a number or has one of
    more than 50 bits; counts may come out negative, which `check_counts` refuses.
    """
    try:
        joined = "".join(texts).encode("ascii")
    except UnicodeEncodeError:
        raise ValueError("a run-length text has a letter that none of them uses") from None
    letters = np.frombuffer(joined, np.uint8).astype(np.int64) - LETTERS[0]
    if len(letters) and not 0 <= letters.min() <= letters.max() < 64:
        raise ValueError("a run-length text has a letter that none of them uses")
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    last = letters & 32 == 0
    if len(letters) and not last[ends[np.diff(ends, prepend=0) > 0] - 1].all():
        raise ValueError("a run-length text ends in the middle of a number")
    begin = np.flatnonzero(np.concatenate([[True], last[:-1]])) if len(letters) else ends[:0]
    length = np.diff(begin, append=len(letters))
    if len(length) and length.max() > LONGEST:
        raise ValueError("a run-length text has a number of more than 50 bits")
    place = np.arange(len(letters)) - np.repeat(begin, length)
    numbers = np.add.reduceat((letters & 31) << 5 * place, begin) if len(begin) else begin
    negative = letters[begin + length - 1] & 16 > 0
    numbers = numbers - (negative.astype(np.int64) << 5 * length)
    start = np.concatenate([[0], np.searchsorted(begin, ends)]).astype(np.int64)
    return _undo_differences(numbers, start), start


def encode_texts(counts: np.ndarray, start: np.ndarray) -> list[str]:
    """Counts (n,) int64 and where each mask begins, (T+1,) int64 -> T texts."""
    if not len(counts):
        return [""] * (len(start) - 1)
    numbers = counts.astype(np.int64)
    place = np.arange(len(counts)) - np.repeat(start[:-1], np.diff(start))
    later = np.flatnonzero(place > 2)
    numbers[later] -= counts[later - 2].astype(np.int64)
    # Letters of a number: the fewest k whose 5k bits hold it with its sign.
    magnitude = np.where(numbers < 0, ~numbers, numbers)
    length = np.ones(len(numbers), np.int64)
    for k in range(1, 13):
        length += magnitude >> (5 * k - 1) > 0
    begin = np.cumsum(length) - length
    step = np.arange(length.sum()) - np.repeat(begin, length)
    letters = np.repeat(numbers, length) >> 5 * step & 31
    letters[step < np.repeat(length, length) - 1] |= 32
    text = (letters + LETTERS[0]).astype(np.uint8).tobytes().decode()
    cuts = np.concatenate([begin, [len(text)]])[start].tolist()
    return [text[a:b] for a, b in itertools.pairwise(cuts)]


def check_counts(counts: np.ndarray, start: np.ndarray, pixels: np.ndarray) -> int:
    """The first mask whose runs are negative or do not add up to its `pixels` (T,); -1: none."""
    total = np.concatenate([[0], np.cumsum(counts)])
    below = np.concatenate([[0], np.cumsum(counts < 0)])
    bad = (np.diff(total[start]) != pixels) | (np.diff(below[start]) > 0)
    return int(np.flatnonzero(bad)[0]) if bad.any() else -1


def decode_mask(counts: np.ndarray, height: int, width: int) -> np.ndarray:
    """Counts (n,) that add up to height * width -> (H,W) bool. Raises ValueError elsewhere."""
    runs = counts.astype(np.int64)
    if (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"run lengths do not add up to {height} x {width} pixels")
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T


def encode_mask(mask: np.ndarray) -> np.ndarray:
    """(H,W) bool or 0 and 1 -> counts (n,) int64."""
    flat = np.asarray(mask, bool).T.reshape(-1)
    change = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], change, [len(flat)]])
    runs = np.diff(edges)
    return np.concatenate([[0], runs]) if len(flat) and flat[0] else runs


def measure_area(counts: np.ndarray) -> int:
    """Pixels inside."""
    return int(counts[1::2].sum())


def find_bounds(counts: np.ndarray, height: int) -> tuple[float, float, float, float]:
    """Counts -> the box (x0, y0, x1, y1) around the mask; four zeros where it is empty."""
    edges = np.cumsum(counts.astype(np.int64))
    first, end = edges[0::2][: len(counts) // 2], edges[1::2]
    some = end > first
    first, last = first[some], end[some] - 1
    if not len(first):
        return 0.0, 0.0, 0.0, 0.0
    wraps = (first // height != last // height).any()  # a run over a column's end touches both
    y0 = 0 if wraps else (first % height).min()
    y1 = height if wraps else (last % height).max() + 1
    return float(first[0] // height), float(y0), float(last[-1] // height + 1), float(y1)


def _undo_differences(numbers: np.ndarray, start: np.ndarray) -> np.ndarray:
    """From its fourth number on, a mask's numbers are differences to the one two before."""
    place = np.arange(len(numbers)) - np.repeat(start[:-1], np.diff(start))
    counts = numbers.copy()
    for parity in (0, 1):  # 1, 3, 5, ... and 2, 4, 6, ...; number 0 stands alone
        chosen = np.flatnonzero((place % 2 == parity) & (place > 0))
        if not len(chosen):
            continue
        total = np.cumsum(numbers[chosen])
        fresh = place[chosen] <= 2
        before = (total - numbers[chosen])[fresh]
        counts[chosen] = total - before[np.cumsum(fresh) - 1]
    return counts
