"""Image files hurt in the six ways in which disks, networks and people hurt them; seeded."""

from __future__ import annotations

import random
from pathlib import Path

KINDS = ("truncated", "zeroed", "flipped", "wrong type", "empty", "huge")


def hurt(data: bytes, kind: str, seed: int) -> bytes:
    """The bytes of a JPEG, damaged in one of `KINDS`; always other bytes than before."""
    chance = random.Random(f"{kind}/{seed}")
    scan = data.index(b"\xff\xda") + 14  # where the compressed pixels begin
    end = len(data) - 2
    if kind == "truncated":
        return data[: chance.randrange(scan, end)]
    if kind == "zeroed":
        length = min(512, (end - scan) // 2)
        first = chance.randrange(scan, end - length)
        return data[:first] + bytes(length) + data[first + length :]
    if kind == "flipped":
        place = chance.choice([n for n in range(scan, end) if data[n] not in (0, 255)])
        bit = data[place] ^ 1 << chance.randrange(6)
        return data[:place] + bytes([bit]) + data[place + 1 :]
    if kind == "wrong type":
        return b"an error page where an image was wanted\n" * 9
    if kind == "empty":
        return b""
    return _claim(data, 60_000)


def _claim(data: bytes, side: int) -> bytes:
    """The same JPEG, its header claiming `side` x `side` pixels."""
    frame = min(n for mark in (b"\xff\xc0", b"\xff\xc2") if (n := data.find(mark)) >= 0)
    return data[: frame + 5] + side.to_bytes(2) * 2 + data[frame + 9 :]


def hurt_files(paths: list[Path], count: int, seed: int = 0) -> dict[Path, str]:
    """Damage `count` of these files in turn in each of the six ways -> which, and how."""
    chosen = random.Random(seed).sample(sorted(paths), count)
    hurts = {path: KINDS[n % len(KINDS)] for n, path in enumerate(chosen)}
    for path, kind in hurts.items():
        path.write_bytes(hurt(path.read_bytes(), kind, seed))
    return hurts
