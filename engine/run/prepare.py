"""From a recipe's data field to packed, split, checked images; every stage restartable."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ...dataloaders.choose import choose_feed, survey
from ...dataloaders.errors import DataError, StorageError
from ...dataloaders.feed import Feed, Shuffle
from ...dataloaders.folder import scan
from ...dataloaders.manifest import Manifest
from ...dataloaders.members import Members, choose_members
from ...dataloaders.order import permutation
from ...dataloaders.packing import find_or_build
from ...dataloaders.phantoms.oct import find_encoder
from ...dataloaders.phantoms.twins import TWINS
from ...dataloaders.quarantine import hold_to_record
from ...dataloaders.record import read_record
from ...dataloaders.splits import hold_out, overlap, pair_splits
from ...dataloaders.store import Packed, Resident, Store
from ...dataloaders.stream import Stream
from ...dataloaders.table import Table, read_table
from ..plan import Machine
from ..recipe import Data, Recipe, Twin, expand, window_of
from .console import Console
from .leaks import Leaks, find_leaks

SPLITS = ("train", "val", "test")
STREAM_SHARE = 0.05
"""Of the host's memory, for what a stream decodes ahead, in each of its queues."""


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

    @property
    def grouped(self) -> bool:
        """Whether anything says whose an image is; else `overlaps` says nothing."""
        return bool((self.manifest.group != np.array(self.manifest.files)).any())

    def counts(self) -> dict[str, dict[str, int]]:
        """Split -> class -> images."""
        return {name: self.manifest.counts(found) for name, found in self.members.items()}


@dataclass(frozen=True)
class Prepared:
    """A listing with its pixels at hand: feeds can be made."""

    listing: Listing
    store: Store
    label: np.ndarray
    """(M,) int64 labels to train on; shuffled for a negative control."""
    splits: dict[str, Members]
    leaks: Leaks

    def feed(self, split: str, recipe: Recipe) -> Feed:
        """Batches of one split; only the training split is ever shuffled."""
        shuffle = Shuffle(recipe.data.shuffle_window, recipe.data.balance == "classes")
        members = self.splits[split]
        members = replace(members, pixels_of=members.pixels_of.copy())  # a feed notes stand-ins
        return Feed(self.store.branch(), members, recipe.augment, recipe.seed, shuffle)

    @property
    def data_sha256(self) -> str:
        """The identity of the data: of contents where all were read, else of the listing."""
        listed = f"listing-{self.listing.manifest.listing_sha256}"
        return self.store.content_sha256 or listed

    def quarantined(self) -> list[dict[str, str]]:
        """What could not be read, by hash: file names may carry patient ids."""
        lines = []
        for split, members in self.listing.members.items():
            for number in sorted(set(members.tolist()) & self.store.unreadable.keys()):
                digest = self.store.sha256[number].tobytes().hex()
                reason = self.store.unreadable[number]
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
    needed = data.need_test and data.split != "table"  # a table may take its test part anywhere
    tested = needed or (root / data.test).is_dir()
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
    table = read_table(expand(data.table)) if data.table else None
    manifest = table.apply_groups(manifest) if table else manifest
    members = _cut(recipe, manifest, table)
    overlaps = {name: overlap(manifest, *pair) for name, pair in pair_splits(members).items()}
    if data.split == "group" and overlaps["train and val"]:
        raise DataError("the cut by groups left a patient on both sides; this must not be trained")
    return Listing(manifest, members, _differences(data, manifest, table), overlaps)


def _cut(recipe: Recipe, manifest: Manifest, table: Table | None) -> dict[str, np.ndarray]:
    """Split -> (n,) int64 manifest numbers. Raises DataError where a class is not to be learned."""
    data = recipe.data
    if data.split == "table" and table:
        members = table.members(manifest)
        for name, count in manifest.counts(members["train"]).items():
            if not count:
                raise DataError(f"{table.path} puts no image of class {name} into train; mend it")
        return members
    train, val = hold_out(
        manifest, manifest.members(data.train), data.split, data.holdout, recipe.seed
    )
    return {"train": train, "val": val, "test": manifest.members(data.test)}


def decide_feed(recipe: Recipe, listing: Listing, machine: Machine) -> tuple[str, str]:
    """(pack, resident or stream; why), from the recipe, a look at the disk and a few images."""
    data = recipe.data
    found = survey(listing.manifest, cache_folder(), data.reduce)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return choose_feed(
        data.feed,
        found,
        threads=machine.threads,
        memory=memory,
        resident=False,  # batches are made on the CPU, from the page cache
    )


def prepare(
    recipe: Recipe, listing: Listing, machine: Machine, console: Console, mode: str = ""
) -> Prepared:
    """Open the store of a listing, packed first if need be; choose stand-ins for bad images."""
    mode = mode or decide_feed(recipe, listing, machine)[0]
    store = _open(recipe, listing, machine, console, mode)
    label = listing.manifest.label
    if recipe.data.shuffle_labels:
        label = _shuffle(label, listing, recipe.seed)
    splits = {
        name: choose_members(
            store.unreadable, label, found, train=name == "train", classes=listing.manifest.classes
        )
        for name, found in listing.members.items()
        if len(found)
    }
    leaks = find_leaks(listing.overlaps if listing.grouped else None, store, listing.members)
    return Prepared(listing, store, label, splits, leaks)


def is_same_data(prepared: Prepared, data_sha256: str, listing_sha256: str) -> bool:
    """Whether a run began with these images. A stream never reads them all: it knows names, sizes
    and times alone, and where either side is one, those are compared."""
    content = prepared.store.content_sha256
    if content and not data_sha256.startswith("listing-"):
        return content == data_sha256
    return prepared.listing.manifest.listing_sha256 == listing_sha256


def _open(recipe: Recipe, listing: Listing, machine: Machine, console: Console, mode: str) -> Store:
    manifest, side, cpu = listing.manifest, recipe.data.reduce, torch.device("cpu")
    record = read_record(manifest.root, cache_folder())
    if mode == "stream":
        budget = int(STREAM_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        return Stream(
            manifest,
            device=cpu,
            threads=machine.threads,
            budget=budget,
            side=side,
            record=record,
        )
    with console.stage("decoding once into a pack") as progress:
        pack = find_or_build(
            manifest, cache_folder(), machine.threads, progress, side=side, say=console.say
        )
    pack = hold_to_record(pack, manifest, record)
    return Resident(pack, cpu) if mode == "resident" else Packed(pack)


def _shuffle(label: np.ndarray, listing: Listing, seed: int) -> np.ndarray:
    """Labels of everything but the test split, permuted."""
    fitted = np.concatenate([listing.members["train"], listing.members["val"]])
    shuffled = label.copy()
    shuffled[fitted] = label[fitted][permutation(seed, 2**32 - 1, len(fitted))]
    return shuffled


def _differences(data: Data, manifest: Manifest, table: Table | None) -> tuple[str, ...]:
    lines = []
    if table and (absent := table.count_absent(manifest)):
        lines.append(f"{absent:,} lines of the split table name files that are not there")
    for part, expected in ((data.train, data.expect_train), (data.test, data.expect_test)):
        members = manifest.members(part)
        if part and not len(members) and data.split == "table":
            continue  # the table says what is tested
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
