"""Verbs about data; they show on standard output."""

from __future__ import annotations

from argparse import Namespace
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from .. import catalog
from ..failure import RecipeError, UsageError
from ..recipe import expand
from ..run.listing import cache_folder
from .answer import write_answer
from .asked import console_of, named_recipe, show_fields


def help(known: Namespace) -> int:
    """`foveate data` alone."""
    verbs = "synth, fetch, verify, split, pack or annotations"
    raise UsageError(f"`foveate data` needs a verb: {verbs}")


def pack_ls(known: Namespace) -> int:
    """`foveate data pack ls`"""
    from ...dataloaders.pack.shelf import describe_packs, list_packs

    packs = list_packs(cache_folder())
    if not write_answer(known.json, {"format": 1, "packs": [asdict(pack) for pack in packs]}):
        print(describe_packs(packs))
    return 0


def pack_rm(known: Namespace) -> int:
    """`foveate data pack rm NAME...`"""
    from ...dataloaders.pack.shelf import remove_pack

    for name in known.names:
        print(f"removed {name}: {remove_pack(cache_folder(), name) / 1e9:.2f} GB")
    return 0


def pack_check(known: Namespace) -> int:
    """`foveate data pack check NAME`; 50 where an image is not stored as it was written."""
    from ...dataloaders.pack.shelf import check_pack

    pack, damaged = check_pack(cache_folder(), known.name)
    print(f"{pack.name}  {damaged:,} of {pack.images:,} images damaged")
    return 50 if damaged else 0


def synth(known: Namespace) -> int:
    """`foveate data synth RECIPE [--out DIR]`"""
    twin = _find_twin(known.recipe)
    asked = {name: getattr(known, name) for name in ("train", "test", "seed")}
    twin = replace(twin, **{name: value for name, value in asked.items() if value is not None})
    from ..run.listing import twin_folder, write_twin

    folder = known.out or twin_folder(twin)
    write_twin(twin, folder, console_of(known))
    print(folder)
    return 0


def pack_build(known: Namespace) -> int:
    """`foveate data pack build RECIPE [--field value ...]`, or `... ROOT`"""
    if Path(known.recipe).is_dir():
        return _pack_folder(known)
    if known.help:
        return show_fields(known)
    recipe = named_recipe(known)
    from ...dataloaders.feed.store import Packed
    from ..plan import this_machine
    from ..run.listing import list_data
    from ..run.prepare import prepare

    console = console_of(known)
    listing = list_data(recipe, console)
    prepared = prepare(recipe, listing, this_machine(), console, mode="pack")
    assert isinstance(prepared.store, Packed)
    pack = prepared.store.pack
    print(f"{pack.folder}  {len(listing.manifest):,} images  {pack.pixels.nbytes / 1e9:.2f} GB")
    for line in (*listing.differences, *(f"unreadable: {q}" for q in prepared.quarantined())):
        print(line)
    return 0


def _pack_folder(known: Namespace) -> int:
    """Any folder of images, before a recipe names it: the recipe then finds the pack."""
    if known.rest:
        raise UsageError(f"{known.rest[0]} is a recipe's field, and {known.recipe} is a folder")
    from ...dataloaders.pack.build import find_or_build
    from ...dataloaders.verify.listing import as_manifest, list_images
    from ..plan import this_machine

    manifest = as_manifest(list_images(expand(known.recipe).absolute()))
    console = console_of(known)
    with closing(console), console.stage("decoding once into a pack") as progress:
        pack = find_or_build(
            manifest, cache_folder(), this_machine().threads, progress, say=console.say
        )
    print(f"{pack.folder}  {len(manifest):,} images  {pack.pixels.nbytes / 1e9:.2f} GB")
    for number, reason in pack.unreadable.items():
        print(f"unreadable: {pack.sha256[number].tobytes().hex()}  {reason}")
    return 0


def _find_twin(name: str) -> Any:
    """The recipe's twin, or the first that its file has."""
    stem, variant = catalog.split(name)
    asked = catalog.find(name)
    others = catalog.variants(catalog.locate(stem)).values() if variant == "recipe" else ()
    for recipe in (asked, *others):
        if recipe.data.twin.kind != "none":
            return recipe.data.twin
    raise RecipeError(f"{name} has no synthetic twin; set data.twin in a copy of it")
