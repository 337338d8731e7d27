"""Builds packs and is killed: at every step of a build, at random moments, two at a time.

    python tests/interrupted.py {steps,random,twins} ROOT CACHE

Children are forked from a process without threads or torch, so that a hundred builds take seconds.
Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from unittest import mock

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from trees import list_tree

from foveate.dataloaders.pack import build as packing
from foveate.dataloaders.pack.writer import Writer
from foveate.kernels.halve import halve

STEPS = (
    *((Writer, name) for name in ("add", "sync", "close")),
    *((Path, name) for name in ("mkdir", "rename", "write_text")),
    *((np, "save"), (packing, "_sync"), (packing, "open_pack")),
)


@contextmanager
def at_step(number: int, happen: Callable[[], None]) -> Iterator[list[str]]:
    """Let something happen before the number-th step of a build; yields the steps taken."""
    halve(np.zeros((2, 2, 1), np.uint8))  # a kernel's first call makes its folder: no step of ours
    taken: list[str] = []

    def watch(name: str, function: Callable) -> Callable:
        def step(*args: object, **words: object) -> object:
            taken.append(name)
            if len(taken) == number:
                happen()
            return function(*args, **words)

        return step

    patches = [
        mock.patch.object(owner, name, watch(name, getattr(owner, name))) for owner, name in STEPS
    ]
    for patch in patches:
        patch.start()
    try:
        yield taken
    finally:
        mock.patch.stopall()


def fingerprint(cache: Path) -> dict[str, str]:
    """Every file of the finished packs in a cache and its hash; the source's place is left out."""
    found = [path for path in sorted(cache.glob("packs/*/*")) if path.is_file()]
    return {
        path.name: sha256(_placeless(path)).hexdigest()
        for path in found
        if path.parent.suffix != ".building"
    }


def _placeless(path: Path) -> bytes:
    if path.name != "pack.json":
        return path.read_bytes()
    return json.dumps(json.loads(path.read_text()) | {"source": ""}).encode()


def build(root: Path, cache: Path, threads: int = 2, tell: Callable = lambda *_: None) -> int:
    """Build in a child; returns its process id."""
    if child := os.fork():
        return child
    try:
        packing.find_or_build(list_tree(root), cache, threads, tell)
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)


def wait(child: int) -> int:
    """0 for a child that came through, -9 for one that was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at_steps(root: Path, cache: Path) -> dict[str, object]:
    """For each step: kill there, look at what is left, build again, compare."""
    ends, left, after = [], [], []
    while not ends or ends[-1]:
        own = cache / str(len(ends))
        with at_step(len(ends) + 1, lambda: os.kill(os.getpid(), signal.SIGKILL)):
            ends.append(wait(build(root, own)))
        left.append(fingerprint(own))
        after.append((wait(build(root, own)), fingerprint(own)))
    return {"ends": ends, "left": left, "after": after}


def kill_at_random(root: Path, cache: Path) -> dict[str, object]:
    """Kill builds in one cache at random moments, then let one come through."""
    began = time.monotonic()
    whole = wait(build(root, cache / "timed"))
    lasted, left, ends = time.monotonic() - began, [], []
    for turn in range(12):
        own = cache / str(turn % 3)
        if turn > 2 and left[turn - 3]:  # that one came through: start over
            shutil.rmtree(own)
        child = build(root, own)
        time.sleep(random.Random(turn).uniform(0, lasted))
        os.kill(child, signal.SIGKILL)
        ends.append(wait(child))
        left.append(fingerprint(own))
    after = [(wait(build(root, cache / str(n))), fingerprint(cache / str(n))) for n in range(3)]
    return {"ends": [whole, *ends], "left": left, "after": after}


def build_twice(root: Path, cache: Path) -> dict[str, object]:
    """Three processes want the same pack at once; each that builds says so."""
    said, saying = os.pipe()

    def tell(done: int, _: int) -> None:
        time.sleep(0.01)
        if done == 1:
            os.write(saying, b"built ")

    ends = [wait(child) for child in [build(root, cache, 2, tell) for _ in range(3)]]
    os.close(saying)
    return {"ends": ends, "said": os.read(said, 99).decode(), "left": fingerprint(cache)}


if __name__ == "__main__":
    halve(np.zeros((2, 2, 1), np.uint8))  # loads numba here, once, and not in each of 100 children
    act = {"steps": kill_at_steps, "random": kill_at_random, "twins": build_twice}[sys.argv[1]]
    print(json.dumps(act(Path(sys.argv[2]), Path(sys.argv[3]))))
