"""From a listing to pixels at hand: packed or streamed, checked, with stand-ins for bad images."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np
import torch

from ...dataloaders.decoders.choose import LEAST, make_decoder
from ...dataloaders.decoders.contract import Decoder
from ...dataloaders.feed.choose import STREAM_SHARE, choose_feed, survey
from ...dataloaders.feed.feed import Feed, Shuffle
from ...dataloaders.feed.members import Members, choose_members
from ...dataloaders.feed.store import Packed, Resident, Store
from ...dataloaders.feed.stream import Stream
from ...dataloaders.order import balance, permutation
from ...dataloaders.pack.build import find_or_build
from ...dataloaders.pack.layout import spread
from ...dataloaders.sources import read_source
from ...dataloaders.verify.quarantine import hold_to_record
from ...dataloaders.verify.record import read_record
from ..plan import Machine
from ..ranks.world import World
from ..recipe import Recipe
from .console import Console
from .leaks import Leaks, find_leaks
from .listing import Listing, cache_folder


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
        members = self.splits[split]
        shuffle = Shuffle(recipe.data.shuffle_window, self._weigh(members, recipe.data.balance))
        members = replace(members, pixels_of=members.pixels_of.copy())  # a feed notes stand-ins
        return Feed(self.store.branch(), members, recipe.augment, recipe.seed, shuffle)

    def _weigh(self, members: Members, how: str) -> np.ndarray | None:
        if how == "classes":
            return balance(members.label)
        return self.listing.weight[members.number] if how == "table" else None

    @property
    def data_sha256(self) -> str:
        """The identity of the data: of contents where all were read, else of the listing."""
        listed = f"listing-{self.listing.manifest.listing_sha256}"
        return self.store.content_sha256 or listed

    def pool_findings(self, world: World) -> None:
        """Let every rank know what another found unreadable: a stream reads its own share only."""
        if world.size == 1:
            return
        found = np.zeros(len(self.listing.manifest))
        found[list(self.store.unreadable)] = 1
        anywhere = np.flatnonzero(world.sum(found.tolist())).tolist()
        news = [number for number in anywhere if number not in self.store.unreadable]
        if news:
            self.store.branch().take(np.array(news))  # reading them is what notes why

    def quarantined(self) -> list[dict[str, str]]:
        """What could not be read, by hash: file names may carry patient ids."""
        lines = []
        for split, members in self.listing.members.items():
            for number in sorted(set(members.tolist()) & self.store.unreadable.keys()):
                digest = self.store.sha256[number].tobytes().hex()
                reason = self.store.unreadable[number]
                lines.append({"sha256": digest, "reason": reason, "split": split})
        return lines


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
    decoder = _make_decoder(recipe, listing, machine, console)
    if mode == "stream":
        budget = int(STREAM_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        return Stream(
            manifest,
            device=cpu,
            threads=machine.threads,
            budget=budget,
            side=side,
            record=record,
            decoder=decoder,
        )
    with console.stage("decoding once into a pack") as progress:
        pack = find_or_build(
            manifest,
            cache_folder(),
            machine.threads,
            progress,
            side=side,
            say=console.say,
            decoder=decoder,
        )
    if decoder:
        decoder.close()
    pack = hold_to_record(pack, manifest, record)
    return Resident(pack, cpu) if mode == "resident" else Packed(pack)


def _make_decoder(
    recipe: Recipe, listing: Listing, machine: Machine, console: Console
) -> Decoder | None:
    asked, manifest = recipe.data.decoder, listing.manifest
    numbers = spread(len(manifest), 2 * LEAST) if asked == "auto" else []
    sample = [read_source(manifest, number) for number in numbers]
    decoder, why = make_decoder(asked, sample, machine.threads)
    if why:
        console.say(f"decoder: {decoder.name if decoder else 'CPU'}: {why}")
    return decoder


def _shuffle(label: np.ndarray, listing: Listing, seed: int) -> np.ndarray:
    """Labels of everything but the test split, permuted."""
    fitted = np.concatenate([listing.members["train"], listing.members["val"]])
    shuffled = label.copy()
    shuffled[fitted] = label[fitted][permutation(seed, 2**32 - 1, len(fitted))]
    return shuffled
