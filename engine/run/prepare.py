"""From a recipe's data field to packed, split, checked images; every stage restartable."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...dataloaders.errors import DataError, StorageError
from ...dataloaders.feed import Feed, Members, choose_members
from ...dataloaders.folder import scan
from ...dataloaders.manifest import Manifest
from ...dataloaders.order import permutation
from ...dataloaders.pack import Pack
from ...dataloaders.packing import find_or_build
from ...dataloaders.phantoms.oct import find_encoder
from ...dataloaders.phantoms.twins import TWINS
from ...dataloaders.splits import hold_out, overlap
from ..recipe import Data, Recipe, Twin, expand, window_of
from .console import Console

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Listing:
    """What is on the disk, before a pixel is read: enough to plan a run."""

    manifest: Manifest
    members: dict[str, np.ndarray]
    """Split -> (n,) int64 manifest numbers; "val" and "test" may be empty."""
    differences: tuple[str, ...]
    """Where the counts are not those the recipe expects."""
    overlaps: dict[str, int]
    """Split pair -> groups (patients) that are on both sides."""

    def counts(self) -> dict[str, dict[str, int]]:
        """Split -> class -> images."""
        return {name: self.manifest.counts(found) for name, found in self.members.items()}


@dataclass(frozen=True)
class Prepared:
    """A listing with its pack open: feeds can be made."""

    listing: Listing
    pack: Pack
    label: np.ndarray
    """(M,) int64 labels to train on; shuffled for a negative control."""
    splits: dict[str, Members]

    def feed(self, split: str, recipe: Recipe) -> Feed:
        """Batches of one split."""
        return Feed(self.pack, self.splits[split], recipe.augment, recipe.seed)

    def quarantined(self) -> list[dict[str, str]]:
        """What could not be read, by hash: file names may carry patient ids."""
        lines = []
        for split, members in self.listing.members.items():
            for number in sorted(set(members.tolist()) & self.pack.unreadable.keys()):
                digest = self.pack.sha256[number].tobytes().hex()
                reason = self.pack.unreadable[number]
                lines.append({"sha256": digest, "reason": reason, "split": split})
        return lines


@dataclass
class Clock:
    """Seconds per stage of a run, over all its restarts."""

    seconds: dict[str, float] = field(default_factory=dict)
    _began: float = field(default_factory=time.perf_counter)

    def add(self, stage: str, began: float) -> None:
        """Count the seconds since `began` to a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began

    def go_on(self, before: dict[str, float]) -> None:
        """Add what earlier processes spent on this run, up to the checkpoint it goes on from."""
        for stage, spent in before.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent

    def read(self) -> dict[str, float]:
        """Every stage and "total_s", the time from one `fit` to now and in the processes before."""
        here = time.perf_counter() - self._began
        return self.seconds | {"total_s": self.seconds.get("total_s", 0.0) + here}


def cache_folder() -> Path:
    """Where packs, twins and compiled kernels lie: FOVEATE_CACHE or ~/.cache/foveate."""
    try:
        return Path(os.environ.get("FOVEATE_CACHE") or "~/.cache/foveate").expanduser()
    except RuntimeError:  # a container with a bare user id
        raise StorageError("there is no home folder for the cache; set FOVEATE_CACHE") from None


def locate(data: Data, console: Console) -> Path:
    """The data folder; a synthetic twin is drawn first where the recipe names one."""
    if data.root:
        return expand(data.root).absolute()
    if data.twin.kind == "none":
        raise DataError("no data: give --data.root FOLDER, the unpacked data set")
    folder = twin_folder(data.twin)
    write_twin(data.twin, folder, console)
    return folder


def parts_of(data: Data, root: Path) -> tuple[str, ...]:
    """The part folders to read: without the test folder where it is missing and not needed."""
    tested = data.need_test or (root / data.test).is_dir()
    return tuple(part for part in (data.train, data.test if tested else "") if part)


def twin_folder(twin: Twin) -> Path:
    """Where a synthetic twin lies in the cache; one that Pillow encoded is another twin."""
    name = f"{twin.kind}-{twin.train}-{twin.test}-{twin.seed}"
    with_pillow = "" if find_encoder() == "simplejpeg" else "-pillow"
    return cache_folder() / "twins" / (name + with_pillow)


def write_twin(twin: Twin, folder: Path, console: Console) -> None:
    """Draw a synthetic twin, or finish one that was begun. Raises StorageError on a full disk."""
    write = TWINS[twin.kind]
    try:
        with console.stage("drawing synthetic images") as progress:
            write(folder, train=twin.train, test=twin.test, seed=twin.seed, progress=progress)
    except OSError as error:
        raise StorageError(
            f"cannot write {folder}: {error.strerror}; free space, or give another folder "
            "(--out, --cache)"
        ) from None


def list_data(recipe: Recipe, console: Console) -> Listing:
    """Scan and split, after drawing the twin if there is one.

    Raises DataError where the folder is not what the recipe needs.
    """
    data = recipe.data
    root = locate(data, console)
    manifest = scan(
        root,
        recipe.task.classes,
        parts_of(data, root),
        data.group,
        window=window_of(data),
        allow_phi=data.allow_phi,
        cache=cache_folder(),
    )
    train, val = hold_out(
        manifest, manifest.members(data.train), data.split, data.holdout, recipe.seed
    )
    test = manifest.members(data.test)
    members = {"train": train, "val": val, "test": test}
    pairs = {"train and val": (train, val), "train and test": (np.union1d(train, val), test)}
    overlaps = {name: overlap(manifest, *pair) for name, pair in pairs.items()}
    return Listing(manifest, members, _differences(data, manifest), overlaps)


def prepare(recipe: Recipe, listing: Listing, threads: int, console: Console) -> Prepared:
    """Pack what is listed, or open the pack; choose what stands in for unreadable images."""
    with console.stage("decoding once into a pack") as progress:
        pack = find_or_build(listing.manifest, cache_folder(), threads, progress)
    label = listing.manifest.label
    if recipe.data.shuffle_labels:
        label = _shuffle(label, listing, recipe.seed)
    splits = {
        name: choose_members(
            pack, label, found, train=name == "train", classes=listing.manifest.classes
        )
        for name, found in listing.members.items()
        if len(found)
    }
    return Prepared(listing, pack, label, splits)


def _shuffle(label: np.ndarray, listing: Listing, seed: int) -> np.ndarray:
    """Labels of everything but the test split, permuted."""
    fitted = np.concatenate([listing.members["train"], listing.members["val"]])
    shuffled = label.copy()
    shuffled[fitted] = label[fitted][permutation(seed, 2**32 - 1, len(fitted))]
    return shuffled


def _differences(data: Data, manifest: Manifest) -> tuple[str, ...]:
    lines = []
    for part, expected in ((data.train, data.expect_train), (data.test, data.expect_test)):
        members = manifest.members(part)
        if part and not len(members):  # a part that is there and empty was refused
            lines.append(f"no folder {part}: nothing is tested, scores are of the held-out part")
            continue
        found = manifest.counts(members)
        for name, wanted in zip(manifest.classes, expected, strict=False):
            if part and found[name] != wanted:
                lines.append(f"{part}/{name}: {found[name]:,} images, {wanted:,} expected")
    if manifest.strangers:
        lines.append(f"{manifest.strangers} files that are no images were passed over")
    return (*lines, *manifest.notes)
