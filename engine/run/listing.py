"""What images a run is about: folders, the synthetic twin, splits and what they share."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...dataloaders.errors import DataError, StorageError
from ...dataloaders.folder import scan
from ...dataloaders.manifest import Manifest
from ...dataloaders.phantoms.oct import find_encoder
from ...dataloaders.phantoms.twins import TWINS
from ...dataloaders.split.hold_out import hold_out, overlap, pair_splits
from ...dataloaders.split.table import Table, read_table
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
    weight: np.ndarray = field(default_factory=lambda: np.empty(0))
    """(M,) float64 of the table, where the recipe draws by it."""

    @property
    def grouped(self) -> bool:
        """Whether anything says whose an image is; else `overlaps` says nothing."""
        return bool(_known(self.manifest).any())

    def counts(self) -> dict[str, dict[str, int]]:
        """Split -> class -> images."""
        return {name: self.manifest.counts(found) for name, found in self.members.items()}


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
    manifest = replace(manifest, flatfield=data.flatfield)
    table = read_table(expand(data.table)) if data.table else None
    manifest = table.apply_groups(manifest) if table else manifest
    _check_use(data, manifest, table)
    members = _cut(recipe, manifest, table)
    overlaps = {name: overlap(manifest, *pair) for name, pair in pair_splits(members).items()}
    if data.split == "group" and overlaps["train and val"]:
        raise DataError("the cut by groups left a patient on both sides; this must not be trained")
    found = Listing(manifest, members, _differences(data, manifest, table), overlaps)
    weigh = data.balance == "table" and table
    return replace(found, weight=table.weights(manifest)) if weigh and table else found


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


def _check_use(data: Data, manifest: Manifest, table: Table | None) -> None:
    """Raise DataError where the split that was asked for would be another one in silence."""
    if data.split == "group" and data.holdout and not _known(manifest).any():
        raise DataError(
            "data.split is group, and nothing says whose an image is: give --data.group PATTERN "
            "that finds the patient in a file name, a --data.table with a column group, or "
            "--data.split label, which cuts image by image"
        )
    if table and table.part and data.split != "table":
        raise DataError(
            f"{table.path} says which part an image is in, and data.split is {data.split}; give "
            "--data.split table, or a table without the column part"
        )


def _known(manifest: Manifest) -> np.ndarray:
    """(M,) bool: whether anything says whose an image is."""
    return manifest.group != np.array(manifest.files)


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
    nobody = len(manifest) - int(_known(manifest).sum())
    if data.split == "group" and nobody:
        lines.append(
            f"{nobody:,} of {len(manifest):,} images are of nobody known (data.group): each counts "
            "as a patient of its own"
        )
    if manifest.strangers:
        lines.append(f"{manifest.strangers} files that are no images were passed over")
    return (*lines, *manifest.notes)
