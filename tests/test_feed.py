"""What every feed promises, as a class of tests that a back end subclasses in one line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trees import CLASSES, draw, encode, list_tree, write_tree

from foveate.dataloaders.batch import Batch
from foveate.dataloaders.decoders.contract import Decoder
from foveate.dataloaders.decoders.dali import DaliDecoder
from foveate.dataloaders.errors import DataError
from foveate.dataloaders.feed.feed import Feed, Shuffle
from foveate.dataloaders.feed.members import Members, choose_members
from foveate.dataloaders.feed.ring import Ring
from foveate.dataloaders.feed.store import Packed, Resident, Store
from foveate.dataloaders.feed.stream import Stream
from foveate.dataloaders.folder import scan
from foveate.dataloaders.manifest import Manifest
from foveate.dataloaders.pack.build import find_or_build, pack_arrays
from foveate.dataloaders.pack.layout import Pack
from foveate.kernels.sample.augment import Augment
from foveate.kernels.sample.checks import check_images
from foveate.kernels.sample.columns import COLUMNS

TRAIN, BATCH, EPOCHS = 13, 6, 3  # a batch straddles epochs, and 13 is divided by nothing
AUGMENT = Augment(area=(0.3, 1.0), flip=0.5, rotate=10, brightness=0.2)
TINY, HUGE = 24, 300  # outputs that read a coarse level, and full size


class LoaderTests:
    """The contract. `make` builds the feed under test; what it yields is compared with Pillow."""

    @staticmethod
    def store(manifest: Manifest, pack: Pack) -> Store:
        """The store under test."""
        raise NotImplementedError

    @pytest.fixture
    def make(self, place):
        """A feed over the store, which is closed in the end."""
        stores: list[Store] = []

        def open_feed(members: Members, seed: int = 5, **words: object) -> Feed:
            stores.append(self.store(*place))
            return Feed(stores[-1], members, AUGMENT, seed, **words)

        yield open_feed
        for store in stores:
            store.close()

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory):
        """The folder, its manifest and its pack: gray and RGB; JPEG, PNG and TIFF; 17 sizes."""
        root = write_tree(tmp_path_factory.mktemp("tree"), train=TRAIN, test=4)
        manifest = list_tree(root)
        return manifest, find_or_build(manifest, tmp_path_factory.mktemp("cache"), threads=2)

    @pytest.fixture
    def feed(self, place, make):
        """The training split; nothing in it is damaged."""
        manifest, pack = place
        members = manifest.members("train")
        return make(choose_members(pack.unreadable, manifest.label, members, train=True))

    def test_every_sample_comes_exactly_once_per_epoch_over_any_number_of_ranks(self, feed):
        for world in (1, 2, 3):
            steps = range(0, EPOCHS * TRAIN * BATCH, BATCH)
            parts = [b for start in steps for b in share(feed, start, world)]
            seen = torch.cat([b.index for b in parts]).reshape(-1, TRAIN)
            assert (seen.sort(dim=1).values == torch.tensor(sorted(feed.members.number))).all()

    def test_global_batches_do_not_depend_on_world_or_micro_batch(self, feed):
        for start in (0, 6, 12, 600):
            whole = keep(feed.train(start, BATCH, TINY))
            for world in (2, 3, 6):
                assert_same(join(share(feed, start, world)), whole)

    def test_a_run_resumes_at_any_position(self, feed, make):
        straight = [keep(feed.train(at, BATCH, TINY)) for at in range(0, 60, BATCH)]
        again = make(feed.members)
        for step in (7, 2, 9):
            assert_same(keep(again.train(step * BATCH, BATCH, TINY)), straight[step])

    def test_draws_belong_to_the_sample_and_the_epoch_alone(self, feed):
        drawn = feed.train(0, EPOCHS * TRAIN, TINY)
        rows = {}
        for n in range(EPOCHS * TRAIN):
            rows[n // TRAIN, int(drawn.index[n])] = drawn.params[n].tolist()
        for at, length in ((3, 1), (11, 7), (20, 19)):
            batch = feed.train(at, length, TINY)
            for n, index in enumerate(batch.index.tolist()):
                assert batch.params[n].tolist() == rows[(at + n) // TRAIN, index]
        assert len({tuple(row) for row in rows.values()}) > 0.9 * len(rows)

    def test_draws_do_not_depend_on_what_else_is_in_the_split(self, feed, make):
        every, odd = feed.train(0, TRAIN, TINY), feed.members
        odd = Members(odd.number[1::2], odd.pixels_of[1::2], odd.label[1::2])
        few = make(odd).train(0, TRAIN // 2, TINY)
        for n, index in enumerate(few.index.tolist()):
            same = every.index.tolist().index(index)
            assert torch.equal(few.params[n], every.params[same])

    def test_another_seed_gives_another_order_and_other_draws(self, feed, make):
        one, other = (make(feed.members, s).train(0, 13, 9) for s in (5, 6))
        assert one.index.tolist() != other.index.tolist()
        assert not torch.equal(one.params[one.index.argsort()], other.params[other.index.argsort()])

    @pytest.mark.parametrize("length", [1, 5, TRAIN, 40])
    def test_once_gives_every_sample_once_in_order_and_marks_the_padding(self, feed, length):
        batches = [keep(batch) for batch in feed.once(length, TINY)]
        whole = join(batches)
        assert {len(b.index) for b in batches} == {length}
        assert whole.valid.tolist() == [True] * TRAIN + [False] * (len(whole.valid) - TRAIN)
        assert whole.index[:TRAIN].tolist() == feed.members.number.tolist()
        assert whole.target["label"][:TRAIN].tolist() == feed.members.label.tolist()

    def test_once_draws_nothing_and_depends_on_no_seed(self, feed, make):
        other = make(feed.members, 99)
        assert_same(join(feed.once(4, TINY)), join(other.once(4, TINY)))

    def test_labels_are_those_of_the_folder(self, place, feed):
        manifest, _ = place
        batch = feed.train(0, TRAIN, TINY)
        for index, label in zip(batch.index.tolist(), batch.target["label"].tolist(), strict=True):
            assert manifest.files[index].split("/")[1] == CLASSES[label]

    def test_images_at_full_size_equal_the_reference_decoder(self, place, feed):
        manifest, _ = place
        batch = join(feed.once(4, HUGE))
        for n in range(TRAIN):
            wanted = read(manifest.root / manifest.files[int(batch.index[n])])
            found = image(batch, n)
            assert found.shape == wanted.shape
            assert np.abs(found - wanted).max() <= 1  # two builds of libjpeg may round apart

    def test_a_coarse_level_is_the_mean_of_the_boxes_it_stands_for(self, place, feed):
        manifest, _ = place
        batch, coarse = join(feed.once(4, TINY)), 0
        for n in range(TRAIN):
            wanted, level = read(manifest.root / manifest.files[int(batch.index[n])]), 0
            while wanted.shape != image(batch, n).shape:
                wanted, level = halve(wanted), level + 1
                assert level < 6
            assert np.abs(image(batch, n) - wanted).max() <= 1 + 0.5 * level
            coarse += level > 0
        assert coarse > 8

    def test_the_sample_kernel_takes_every_batch(self, feed):
        for batch in [feed.train(0, 20, TINY), feed.train(7, 20, HUGE), *feed.once(5, TINY)]:
            check_images(batch.pixels.cpu(), batch.start, batch.shape, batch.params)
            assert batch.params.shape == (len(batch.index), COLUMNS)
            assert batch.index.dtype == batch.target["label"].dtype == torch.int64
            assert batch.valid.dtype == torch.bool and batch.image is None

    def test_an_unreadable_image_keeps_its_place_and_shows_another_ones_pixels(self, feed, make):
        number, stand_in = feed.members.number, feed.members.pixels_of.copy()
        stand_in[3] = number[4]
        hurt = make(replace(feed.members, pixels_of=stand_in))
        assert_same(join(share(hurt, 6, 3)), keep(hurt.train(6, BATCH, TINY)))
        for batch in (keep(hurt.train(0, TRAIN, HUGE)), join(hurt.once(TRAIN, HUGE))):
            index = batch.index.tolist()
            assert sorted(index) == number.tolist()
            lent, own = (image(batch, index.index(number[n])) for n in (3, 4))
            assert np.array_equal(lent, own)

    def test_every_store_gives_the_batches_of_the_pack_to_the_bit(self, place, feed, make):
        weight = np.arange(1.0, TRAIN + 1)
        for words in ({}, {"shuffle": Shuffle(window=4)}, {"shuffle": Shuffle(weight=weight)}):
            plain = Feed(Packed(place[1]), feed.members, AUGMENT, 5, **words)
            mine = make(feed.members, **words)
            mine.ahead((at, BATCH) for at in range(0, 60, BATCH))
            for at in (*range(0, 60, BATCH), 3):
                expected = keep(plain.train(at, BATCH, TINY))
                assert_same(keep(mine.train(at, BATCH, TINY)), expected)
            assert_same(join(mine.once(4, HUGE)), join(plain.once(4, HUGE)))


class TestPacked(LoaderTests):
    """The memory map itself."""

    store = staticmethod(lambda manifest, pack: Packed(pack))


class TestRing(LoaderTests):
    """The pack through ring slots."""

    store = staticmethod(lambda manifest, pack: Packed(pack, Ring(torch.device("cpu"))))


class TestResident(LoaderTests):
    """The whole pack in memory."""

    store = staticmethod(lambda manifest, pack: Resident(pack, torch.device("cpu")))


class TestStream(LoaderTests):
    """No pack: files decoded ahead by two threads."""

    store = staticmethod(lambda manifest, pack: stream(manifest))


class TestStreamOfDali(LoaderTests):
    """No pack: DALI decodes batches on the CPU."""

    @staticmethod
    def store(manifest, pack):
        pytest.importorskip("nvidia.dali", reason="DALI is not installed")
        return stream(manifest, decoder=DaliDecoder("cpu", threads=2))


@pytest.mark.gpu
class TestRingOnCard(LoaderTests):
    """Pinned slots, copied to the card."""

    store = staticmethod(lambda manifest, pack: Packed(pack, Ring(torch.device("cuda"))))


@pytest.mark.gpu
class TestResidentOnCard(LoaderTests):
    """The whole pack on the card."""

    store = staticmethod(lambda manifest, pack: Resident(pack, torch.device("cuda")))


def stream(manifest: Manifest, decoder: Decoder | None = None, budget: int = 10**9) -> Stream:
    """A stream on the CPU."""
    cpu = torch.device("cpu")
    return Stream(manifest, device=cpu, threads=2, budget=budget, decoder=decoder)


def share(feed: Feed, start: int, world: int) -> list[Batch]:
    """One global batch as `world` ranks load it: each its own stretch of positions."""
    local = BATCH // world
    return [keep(feed.train(start + rank * local, local, TINY)) for rank in range(world)]


def keep(batch: Batch) -> Batch:
    """The batch with its images side by side in memory of its own: ring slots are used again."""
    images = [image(batch, n, float).ravel() for n in range(len(batch.index))]
    start = np.cumsum([0, *map(len, images[:-1])])
    pixels = torch.from_numpy(np.concatenate(images))
    return replace(batch, pixels=pixels, start=torch.from_numpy(start))


def join(batches: Iterable[Batch]) -> Batch:
    """Batches one after the other, as one."""
    parts = [keep(batch) for batch in batches]
    names = ("shape", "params", "index", "valid", "pixels")
    joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    sizes = joined["shape"].prod(dim=1)
    label = torch.cat([part.target["label"] for part in parts])
    start = sizes.cumsum(0) - sizes
    return replace(parts[0], target={"label": label}, start=start, **joined)


def assert_same(one: Batch, other: Batch) -> None:
    """Every number and every pixel of two kept batches is equal."""
    for name in ("shape", "params", "index", "valid", "pixels"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert torch.equal(one.target["label"], other.target["label"])


def image(batch: Batch, n: int, kind: type = np.float64) -> np.ndarray:
    """(H,W,C) float64: the pixels that row n points at."""
    first, shape = int(batch.start[n]), batch.shape[n].tolist()
    flat = batch.pixels[first : first + int(np.prod(shape))]
    return flat.cpu().numpy().reshape(shape).astype(kind)


def read(path: Path) -> np.ndarray:
    """(H,W,C) float64: what Pillow decodes."""
    pixels = np.asarray(Image.open(path), np.float64)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def halve(pixels: np.ndarray) -> np.ndarray:
    """(H,W,C) -> means of 2x2 boxes, without rounding."""
    pixels = np.pad(pixels, [(0, n % 2) for n in pixels.shape[:2]] + [(0, 0)], mode="edge")
    height, width, channels = pixels.shape
    return pixels.reshape(height // 2, 2, width // 2, 2, channels).mean(axis=(1, 3))


def small_pack(count: int, bad: dict[int, str] | None = None) -> Pack:
    """Images of one pixel, some of which could not be read."""
    images = [np.full((1, 1, 1), n % 256, np.uint8) for n in range(count)]
    return replace(pack_arrays(images), folder=Path("packs/ab"), unreadable=bad or {})


def test_the_next_readable_image_of_the_class_stands_in_and_the_first_follows_the_last():
    label = np.arange(60) % 2
    pack = small_pack(60, {10: "cut", 12: "cut", 59: "cut"})
    members = choose_members(pack.unreadable, label, np.arange(60), train=True)
    changed = np.flatnonzero(members.number != members.pixels_of)
    assert changed.tolist() == [10, 12, 59]
    assert members.pixels_of[changed].tolist() == [14, 14, 1]
    assert np.array_equal(label[members.pixels_of], members.label)


def test_three_percent_of_damage_is_listed_by_hash_and_costs_no_sample(tmp_path):
    good = encode(draw(0, 40, 40), "jpeg")
    frame = good.index(b"\xff\xc0") + 5
    huge = good[:frame] + b"\x70\0\x70\0" + good[frame + 4 :]
    damage = [b"", good[:-9], b"GIF89a", b"\0" * 500, huge, good[:200] + b"\0" * 900]
    for n in range(200):
        path = tmp_path / "train" / CLASSES[n % 2] / f"jones-{n:03d}.jpeg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(damage[n // 33] if n % 33 == 5 else encode(draw(n, 40, 40), "jpeg"))
    manifest = scan(tmp_path, CLASSES, ("train",))
    pack = find_or_build(manifest, tmp_path / "cache", threads=2)
    hashes = {pack.sha256[number].tobytes() for number in pack.unreadable}
    assert hashes == {sha256(data).digest() for data in damage}
    assert "jones" not in str(pack.unreadable)
    members = choose_members(pack.unreadable, manifest.label, np.arange(200), train=True)
    feed = Feed(Packed(pack), members, AUGMENT, 0)
    assert sorted(feed.train(0, 200, 16).index.tolist()) == list(range(200))
    assert (feed.train(0, 200, 16).start >= 0).all()


def test_stand_ins_come_from_the_same_split():
    pack = small_pack(80, {40: "cut"})
    split = np.arange(0, 80, 4)
    members = choose_members(pack.unreadable, np.zeros(80, np.int64), split, train=True)
    assert set(members.pixels_of.tolist()) == set(split.tolist()) - {40}


def test_evaluation_leaves_unreadable_images_out():
    pack = small_pack(60, {10: "cut"})
    members = choose_members(pack.unreadable, np.arange(60) % 2, np.arange(60), train=False)
    assert members.number.tolist() == [n for n in range(60) if n != 10]
    assert np.array_equal(members.pixels_of, members.number)


@pytest.mark.parametrize("train", [True, False])
def test_up_to_five_percent_go_and_more_stop_the_run(train):
    label, members = np.zeros(100, np.int64), np.arange(100)
    choose_members(dict.fromkeys(range(5), "cut"), label, members, train=train)
    with pytest.raises(DataError, match=r"6 of 100 images .* \(6.0%, limit 5%; the first: cut\)"):
        choose_members(dict.fromkeys(range(6), "cut"), label, members, train=train)


@pytest.mark.parametrize("train", [True, False])
def test_a_class_of_which_nothing_can_be_read_is_named(train):
    label = np.array([1] * 2 + [0] * 98)
    pack = small_pack(100, {0: "cut", 1: "cut"})
    with pytest.raises(DataError, match="none of the 2 images of class number 1 can be read"):
        choose_members(pack.unreadable, label, np.arange(100), train=train)
    with pytest.raises(DataError, match="class DME can be read"):
        choose_members(pack.unreadable, label, np.arange(100), train=train, classes=("CNV", "DME"))


def test_a_split_of_nothing_is_refused_by_the_feed():
    nothing = np.empty(0, np.int64)
    members = choose_members({}, np.zeros(3, np.int64), nothing, train=True)
    with pytest.raises(ValueError, match="1 sample or more"):
        Feed(Packed(small_pack(3)), members, AUGMENT, 0)


def test_a_batch_moves_without_its_pixels():
    numbers = np.arange(3)
    feed = Feed(Packed(small_pack(3)), Members(numbers, numbers, numbers), Augment(), 0)
    batch = feed.train(0, 3, 8)
    moved = batch.to(torch.device("meta"))
    assert moved.pixels is batch.pixels and moved.size == 8
    assert moved.target["label"].is_meta and moved.start.is_meta and moved.image is None
