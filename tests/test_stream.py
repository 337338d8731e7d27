"""Streams: what is decoded ahead, what it may hold, and damage that nobody saw before."""

from __future__ import annotations

import itertools
import os
import threading
import time
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pictures import small_recipe, write_pictures
from test_feed import AUGMENT, TINY, assert_same, join, keep, stream
from trees import CLASSES, draw, encode, list_tree, write_tree

from foveate.dataloaders import sources
from foveate.dataloaders.errors import DataError
from foveate.dataloaders.feed import stream as streaming
from foveate.dataloaders.feed.feed import Feed, Shuffle
from foveate.dataloaders.feed.members import Members, choose_members
from foveate.dataloaders.feed.ring import SLOTS, Ring
from foveate.dataloaders.feed.store import Packed
from foveate.dataloaders.feed.stream import DEEPEST, Gate, Stream, Tuner
from foveate.dataloaders.folder import scan
from foveate.dataloaders.manifest import Manifest
from foveate.dataloaders.pack.build import find_or_build
from foveate.engine.plan import this_machine
from foveate.engine.run.console import Logged
from foveate.engine.run.listing import list_data
from foveate.engine.run.prepare import prepare


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return list_tree(write_tree(tmp_path_factory.mktemp("tree"), train=12, test=4))


def hurt_tree(root: Path, damaged: tuple[int, ...], count: int = 100) -> Manifest:
    """`count` small images of two classes, of which some are cut short."""
    for n in range(count):
        path = root / "train" / CLASSES[n % 2] / f"{n:03d}.jpeg"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = encode(draw(n, 30 + n % 7, 40), "jpeg")
        path.write_bytes(data[:-60] if n in damaged else data)
    return scan(root, CLASSES, ("train",))


def everyone(manifest: Manifest) -> Members:
    numbers = np.arange(len(manifest))
    return Members(numbers, numbers.copy(), manifest.label)


def test_damage_found_on_the_way_gives_the_batches_of_a_pack_that_knew_it(tmp_path):
    manifest = hurt_tree(tmp_path, (3, 5, 99, 40))
    pack = find_or_build(manifest, tmp_path / "cache", 2)
    assert len(pack.unreadable) == 4
    knowing = choose_members(pack.unreadable, manifest.label, np.arange(100), train=True)
    packed = Feed(Packed(pack), knowing, AUGMENT, 1)
    streamed = Feed(stream(manifest), everyone(manifest), AUGMENT, 1)
    for at in range(0, 300, 30):
        assert_same(keep(streamed.train(at, 30, TINY)), keep(packed.train(at, 30, TINY)))
    assert streamed.store.unreadable == pack.unreadable
    assert np.array_equal(streamed.store.sha256, pack.sha256)


def test_evaluation_marks_what_cannot_be_read_as_padding(tmp_path):
    manifest = hurt_tree(tmp_path, (3, 98))
    feed = Feed(stream(manifest), everyone(manifest), AUGMENT, 1)
    whole = join(feed.once(16, TINY))
    bad = whole.index[:100][~whole.valid[:100]].tolist()
    assert bad == sorted(feed.store.unreadable) and len(bad) == 2
    assert whole.valid.sum() == 98


def test_more_than_five_percent_of_damage_stop_a_stream(tmp_path):
    manifest = hurt_tree(tmp_path, tuple(range(0, 60, 10)))
    feed = Feed(stream(manifest), everyone(manifest), AUGMENT, 1)
    with pytest.raises(DataError, match=r"of 100 images cannot be read \(.*limit 5%; the first: "):
        list(feed.once(10, TINY))


def test_a_class_of_which_nothing_can_be_read_stops_a_stream(tmp_path):
    manifest = hurt_tree(tmp_path, (), 60)
    for number in np.flatnonzero(manifest.label == 1)[2:]:
        (tmp_path / manifest.files[number]).unlink()
    for name in manifest.files:
        if CLASSES[1] in name and (tmp_path / name).exists():
            (tmp_path / name).write_bytes(b"")
    manifest = scan(tmp_path, CLASSES, ("train",))
    feed = Feed(stream(manifest), everyone(manifest), AUGMENT, 1)
    with pytest.raises(DataError, match="cannot be read"):
        feed.train(0, len(manifest), TINY)


def test_a_file_that_went_away_stops_a_stream_with_one_line(tmp_path):
    manifest = hurt_tree(tmp_path, (), 8)
    (tmp_path / manifest.files[3]).unlink()
    with pytest.raises(DataError, match="cannot be opened: No such file"):
        Feed(stream(manifest), everyone(manifest), AUGMENT, 1).train(0, 8, TINY)


def test_what_ahead_named_is_decoded_before_it_is_taken(manifest, monkeypatch):
    done, whole = threading.Semaphore(0), streaming.load

    def load(*words):
        found = whole(*words)
        done.release()
        return found

    monkeypatch.setattr(streaming, "load", load)
    feed = Feed(stream(manifest), everyone(manifest), AUGMENT, 1)
    feed.ahead((at, 4) for at in range(0, 100, 4))
    for _ in range(4):
        assert done.acquire(timeout=20)
    assert keep(feed.train(0, 4, TINY)).valid.all()
    feed.store.close()


def test_what_is_held_ahead_stays_within_its_bytes(manifest, monkeypatch):
    monkeypatch.setattr(Tuner, "TOLERATED", -1.0)  # it always wants more
    made = streaming.load(manifest, 0)
    batch_bytes = 4 * sum(level.nbytes for level in made.levels)
    for budget, most in ((0, 1), (3 * batch_bytes, 4), (10**12, DEEPEST)):
        store = stream(manifest, budget=budget)
        numbers = np.zeros(4, np.int64)
        store.ahead(itertools.repeat(numbers))
        for _ in range(300):
            store.take(numbers)
            assert len(store._ready) <= max(1, min(most, DEEPEST))
        assert len(store._ready) == max(1, min(DEEPEST, budget // batch_bytes))
        store.close()


def test_ring_slots_are_used_in_turn_and_hold_no_more_than_the_largest_batch():
    ring, images = Ring(torch.device("cpu")), [np.arange(600, dtype=np.uint8).reshape(20, 30, 1)]
    kept = [ring.gather([images[0] + n])[0] for n in range(SLOTS)]
    assert [int(pixels[5]) for pixels in kept] == [5 + n for n in range(SLOTS)]
    for _ in range(50):
        ring.gather(images * 3)
    assert ring.bytes <= SLOTS * 1.125 * (3 * 600 + 8)


def test_a_gate_lets_no_more_through_than_its_limit_and_may_be_widened():
    gate, inside, most = Gate(2), [], []

    def work() -> None:
        with gate:
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    for limit in (2, 4):
        gate.limit = limit
        most.clear()
        threads = [threading.Thread(target=work) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(most) == 12 and max(most) <= limit


def run(tuner: Tuner, batches: int, waited: float, ready: bool, clock: list[float]) -> None:
    for _ in range(batches):
        clock[0] += 1.0
        tuner.note(waited, ready, clock[0])


def test_threads_grow_while_the_training_waits_and_shrink_while_it_never_does():
    tuner, clock = Tuner(8), [0.0]
    assert (tuner.threads, tuner.depth) == (4, 2)
    run(tuner, 27, 0.3, False, clock)
    assert (tuner.threads, tuner.depth) == (7, 5)
    run(tuner, 90, 0.3, False, clock)
    assert (tuner.threads, tuner.depth) == (8, 15)
    tuner = Tuner(8)
    run(tuner, 90, 0.0, True, clock)
    assert (tuner.threads, tuner.depth) == (1, 2)


def test_threads_that_were_too_few_once_are_not_tried_again():
    tuner, clock = Tuner(8), [0.0]
    run(tuner, 18, 0.0, True, clock)
    assert tuner.threads == 2
    run(tuner, 9, 0.5, False, clock)
    run(tuner, 90, 0.0, True, clock)
    assert tuner.threads == 3


def test_a_stream_of_reduced_images_is_the_reduced_pack(manifest, tmp_path):
    pack = find_or_build(manifest, tmp_path, 2, side=48)
    cpu = torch.device("cpu")
    small = Stream(manifest, device=cpu, threads=2, budget=10**9, side=48)
    one, other = (Feed(store, everyone(manifest), AUGMENT, 1) for store in (small, Packed(pack)))
    assert_same(keep(one.train(0, 12, TINY)), keep(other.train(0, 12, TINY)))


def test_branches_have_orders_of_their_own_and_findings_in_common(tmp_path):
    manifest = hurt_tree(tmp_path, (3, 98))
    root = stream(manifest)
    train, val = (Feed(root.branch(), everyone(manifest), AUGMENT, 1) for _ in range(2))
    train.ahead((at, 10) for at in range(0, 1000, 10))
    assert_same(keep(train.train(0, 10, TINY)), keep(val.train(0, 10, TINY)))
    waiting = [numbers.tolist() for numbers, _ in train.store._ready]
    assert len(join(val.once(16, TINY)).index) == 112
    assert [numbers.tolist() for numbers, _ in train.store._ready] == waiting != []
    assert len(root.unreadable) == 2 and root.sha256.any(axis=1).all()
    root.close()


@pytest.mark.parametrize("together", [1, 8])
def test_eight_and_sixteen_bits_in_one_stream_are_refused_as_in_a_pack(tmp_path, together):
    for n in range(8):
        path = tmp_path / "train" / CLASSES[n % 2] / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(draw(n, 40, 40, deep=n >= 4), "png"))
    manifest = scan(tmp_path, CLASSES, ("train",))
    store = stream(manifest)
    train, val = (Feed(store.branch(), everyone(manifest), AUGMENT, 1) for _ in range(2))
    with pytest.raises(DataError, match="mixes uint16 and uint8 images"):
        [train.train(at, together, TINY) for at in range(0, 8, together)]
    with pytest.raises(DataError, match="mixes uint16 and uint8 images"):
        val.train(0, 1, TINY)
    store.close()


def test_a_queue_goes_on_after_an_image_in_it_was_found_unreadable(tmp_path):
    manifest = hurt_tree(tmp_path, (3,), 40)
    weight = np.ones(40)
    weight[["003" in name for name in manifest.files]] = 4  # comes again while it is ahead
    store = stream(manifest)
    feed = Feed(store, everyone(manifest), AUGMENT, 1, Shuffle(weight=weight))
    feed.ahead((at, 10) for at in range(0, 400, 10))
    for at in range(0, 400, 10):
        wanted = feed.members.pixels_of[feed.order.at(at, 10)[0]]
        assert np.array_equal(store._ready[0][0], wanted)
        feed.train(at, 10, TINY)
    assert len(store.unreadable) == 1
    store.close()


def test_what_one_rank_of_a_stream_found_unreadable_the_others_learn(tmp_path):
    root = write_pictures(tmp_path, train=24, test=40)
    hurt = sorted((root / "test").rglob("*.jpeg"))[30]
    hurt.write_bytes(hurt.read_bytes()[:-100])
    recipe = small_recipe(root)
    found = list_data(recipe, Logged())
    words = (recipe, found, this_machine(), Logged(), "stream")
    reader, leader = prepare(*words), prepare(*words)
    list(reader.feed("test", recipe).once(8, 32))
    theirs = np.zeros(len(found.manifest))
    theirs[list(reader.store.unreadable)] = 1
    world = SimpleNamespace(size=2, sum=lambda own: (theirs + own).tolist())
    leader.pool_findings(world)
    assert leader.quarantined() == reader.quarantined() != []
    for prepared in (reader, leader):
        prepared.store.close()


def test_contents_that_change_between_epochs_stop_a_stream(tmp_path):
    manifest = hurt_tree(tmp_path, (), 8)
    feed = Feed(stream(manifest), everyone(manifest), AUGMENT, 1)
    feed.train(0, 8, TINY)
    path = tmp_path / manifest.files[3]
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(DataError, match="other contents than in the epoch before"):
        feed.train(8, 8, TINY)


def test_a_file_larger_than_any_image_is_quarantined_unread(tmp_path, monkeypatch):
    manifest = hurt_tree(tmp_path, (), 40)
    large = max(manifest.bytes.tolist())
    chosen = manifest.bytes.tolist().index(large)
    monkeypatch.setattr(sources, "LARGEST", large - 1)
    monkeypatch.setattr(sources, "read_source", None)
    loaded = sources.load(manifest, chosen)
    assert loaded.reason == sources.TOO_LARGE and not loaded.levels
    assert loaded.sha256 == sha256((tmp_path / manifest.files[chosen]).read_bytes()).digest()
