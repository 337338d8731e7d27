"""Writing a drawn twin: whole files, nothing mixed in, and a killed call is completed by the next.

`twin.json` is written last: a folder that has it is finished.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ..errors import DataError

FORMAT = 1

Card = dict[str, object]
"""What `twin.json` says: kind, counts and seed, all that a twin depends on."""


@dataclass(frozen=True)
class Picture:
    """One file of a twin: its name, "part/class/file", and the drawing that makes its bytes."""

    name: str
    draw: Callable[[], bytes]


def random_stream(*words: object) -> np.random.Generator:
    """A generator keyed by the words alone: same words, same numbers, in any process."""
    digest = blake2b("/".join(map(str, words)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def make_card(kind: str, train: int, test: int, seed: int) -> Card:
    """The card of a twin."""
    return dict(format=FORMAT, kind=kind, train=train, test=test, seed=seed)


def write_tree(
    root: Path,
    card: Card,
    pictures: Sequence[Picture],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the pictures below `root`, then `root/twin.json`.

    A call that was killed is completed by the next one; a finished tree is left as it is.
    `progress(done, total)` is called from the calling thread. One call per folder at a time.
    Raises DataError where the folder holds another twin or other images.
    """
    if is_complete(root, card):
        return
    refuse_strangers(root, {picture.name for picture in pictures})
    root.mkdir(parents=True, exist_ok=True)
    for folder in {(root / picture.name).parent for picture in pictures}:
        folder.mkdir(parents=True, exist_ok=True)
    for done in write_pictures(root, pictures):
        if progress is not None:
            progress(done, len(pictures))
    write_whole(root / "twin.json", (json.dumps(card) + "\n").encode())


def write_pictures(root: Path, pictures: Sequence[Picture]) -> Iterator[int]:
    """Draw on every core this process may use; yields how many images are there."""
    # Threads do: drawing and encoding spend their time outside the interpreter lock.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        jobs = pool.map(lambda picture: write_picture(root, picture), pictures)
        for done, _ in enumerate(jobs, 1):
            yield done


def write_picture(root: Path, picture: Picture) -> None:
    """Draw and write one image unless it is there already."""
    path = root / picture.name
    if not path.exists() or not path.stat().st_size:
        write_whole(path, picture.draw())


def write_whole(path: Path, data: bytes) -> None:
    """Write under another name and rename, so `path` is never seen half written.

    The other name is always the same, so what a killed call left behind is used up by the next.
    """
    part = path.with_suffix(".part")
    part.write_bytes(data)
    os.replace(part, path)


def is_complete(root: Path, card: Card) -> bool:
    """Whether `root/twin.json` says that this very twin is there. Another twin is refused."""
    path = root / "twin.json"
    if not path.exists():
        return False
    try:
        found = json.loads(path.read_text())
    except ValueError:
        raise DataError(f"{path} is not JSON: delete it and run again") from None
    if found != card:
        raise DataError(
            f"{root} holds another twin ({json.dumps(found)}, wanted {json.dumps(card)}): "
            "choose an empty folder, or delete this one"
        )
    return True


def refuse_strangers(root: Path, names: set[str]) -> None:
    """Never mix drawn images into a folder that holds real ones, or those of another seed."""
    for part in sorted({name.partition("/")[0] for name in names}):
        for path in sorted((root / part).glob("*/*.jp*g")):
            if path.relative_to(root).as_posix() not in names:
                raise DataError(  # its name may be a patient's
                    f"{path.parent} holds images of another set: choose an empty folder"
                )


def share_out(total: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers that add up to `total`, in the given shares as nearly as can be."""
    ends = np.rint(np.cumsum(shares) / np.sum(shares) * total).astype(int)
    return np.diff(ends, prepend=0).tolist()
