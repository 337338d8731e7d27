"""From a listing to pixels at hand: packed or streamed, checked, with stand-ins for bad images."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch

from ...dataloaders.decoders.choose import make_decoder, name_of
from ...dataloaders.decoders.contract import Decoder
from ...dataloaders.feed.choose import STREAM_SHARE, choose_feed, survey
from ...dataloaders.feed.feed import Feed, Shuffle
from ...dataloaders.feed.members import Members, choose_members, refuse_many
from ...dataloaders.feed.ring import Ring
from ...dataloaders.feed.store import Packed, Resident, Store
from ...dataloaders.feed.stream import Stream
from ...dataloaders.order import balance, permutation
from ...dataloaders.pack.build import find_or_build
from ...dataloaders.verify.quarantine import hold_to_record
from ...dataloaders.verify.record import read_record
from ..plan import Machine, host_memory
from ..ranks.world import World
from ..recipe import Recipe
from .console import Console
from .leaks import Leaks, find_leaks
from .listing import Listing, cache_folder

ALONE = World()


@dataclass(frozen=True)
class Prepared:
    """A listing with its pixels at hand: feeds can be made."""

    listing: Listing
    store: Store
    label: np.ndarray
    """(M,) int64 labels to train on; shuffled for a negative control."""
    splits: dict[str, Members]

    @property
    def leaks(self) -> Leaks:
        """What splits have in common. A stream knows its copies once it has read every file."""
        listing = self.listing
        overlaps = listing.overlaps if listing.grouped else None
        return find_leaks(overlaps, self.store, listing.members)

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
        found = np.zeros(len(self.listing.manifest))
        found[list(self.store.unreadable)] = 1
        self.recall(np.flatnonzero(world.sum(found.tolist())).tolist())

    def recall(self, unreadable: list[int]) -> None:
        """Note images that another rank, or this run before it was stopped, could not read.

        Raises DataError where that is more than 5 % of a split: the same on every rank.
        """
        news = [number for number in unreadable if number not in self.store.unreadable]
        if news:
            self.store.branch().take(np.array(news))  # reading them is what notes why
        known = self.store.unreadable
        for members in self.splits.values():
            bad = [number for number in members.number.tolist() if number in known]
            refuse_many(bad, members, known)

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
    if data.feed in ("pack", "stream"):  # nothing to find out
        return data.feed, "asked for"
    found = survey(listing.manifest, cache_folder(), data.reduce, name_of(data.decoder))
    return choose_feed(
        data.feed,
        found,
        threads=machine.threads,
        memory=host_memory(),
        card=machine.memory_bytes if machine.device == "cuda" else 0,
    )


def prepare(
    recipe: Recipe,
    listing: Listing,
    machine: Machine,
    console: Console,
    mode: str = "",
    world: World = ALONE,
) -> Prepared:
    """Open the store of a listing, packed first if need be; choose stand-ins for bad images."""
    mode = mode or decide_feed(recipe, listing, machine)[0]
    store = _open(recipe, listing, machine, console, mode, world)
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
    return Prepared(listing, store, label, splits)


def is_same_data(prepared: Prepared, data_sha256: str, listing_sha256: str) -> bool:
    """Whether a run began with these images. A stream never reads them all: it knows names, sizes
    and times alone, and where either side is one, those are compared."""
    content = prepared.store.content_sha256
    if content and not data_sha256.startswith("listing-"):
        return content == data_sha256
    return prepared.listing.manifest.listing_sha256 == listing_sha256


def _open(
    recipe: Recipe, listing: Listing, machine: Machine, console: Console, mode: str, world: World
) -> Store:
    manifest, side = listing.manifest, recipe.data.reduce
    device = where_pixels_go(machine, world)
    record = read_record(manifest.root, cache_folder())
    decoder = make_decoder(recipe.data.decoder, machine.threads, world.local)
    if mode == "stream":
        return Stream(
            manifest,
            device=device,
            threads=machine.threads,
            budget=int(STREAM_SHARE * host_memory()) // world.local_size,
            side=side,
            record=record,
            decoder=decoder,
        )
    with console.stage("decoding once into a pack") as progress, _closing(decoder):
        pack = find_or_build(
            manifest,
            cache_folder(),
            machine.threads,
            progress,
            side=side,
            say=console.say,
            decoder=decoder,
        )
    pack = hold_to_record(pack, manifest, record)
    if mode == "resident":
        return Resident(pack, device)
    return Packed(pack, Ring(device) if device.type == "cuda" else None)


def where_pixels_go(machine: Machine, world: World) -> torch.device:
    """Where images are cut: on this process's card, else in the host's memory."""
    if machine.device != "cuda":
        return torch.device(machine.device)
    return torch.device("cuda", world.local)


def _closing(decoder: Decoder | None) -> AbstractContextManager[object]:
    return closing(decoder) if decoder else nullcontext()


def _shuffle(label: np.ndarray, listing: Listing, seed: int) -> np.ndarray:
    """Labels of everything but the test split, permuted."""
    fitted = np.concatenate([listing.members["train"], listing.members["val"]])
    shuffled = label.copy()
    shuffled[fitted] = label[fitted][permutation(seed, 2**32 - 1, len(fitted))]
    return shuffled
