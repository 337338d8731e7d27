"""`data.flatfield`: from the field of a recipe to the pack's name, its pixels and the receipt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pictures import small_recipe, write_pictures
from PIL import Image

from foveate.dataloaders.decoders.cpu import CpuDecoder
from foveate.dataloaders.decoders.decode import decode_frames
from foveate.dataloaders.pack.build import find_or_build
from foveate.engine.fit import fit
from foveate.engine.recipe import identity, recipe_hash
from foveate.engine.run.console import Logged
from foveate.engine.run.listing import list_data
from foveate.engine.scoring import _chances, open_run, predict_files
from foveate.kernels.flatfield.correct import flatfield
from foveate.kernels.shrink import shrink


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Pictures with light that falls to a half from left to right."""
    root = write_pictures(tmp_path_factory.mktemp("pictures"))
    for path in root.rglob("*.jpeg"):
        pixels = np.asarray(Image.open(path)).astype(float)
        Image.fromarray((pixels * np.linspace(1, 0.5, pixels.shape[1])).astype(np.uint8)).save(path)
    return root


def even(root, **changes):
    recipe = small_recipe(root, epochs=1)
    return replace(recipe, data=replace(recipe.data, flatfield=True, **changes))


def levels(pack, number):
    height, width, channels = pack.shape[number, 0]
    first = pack.start[number, 0]
    return pack.pixels[first : first + height * width * channels].reshape(height, width, channels)


@pytest.mark.parametrize("side", [0, 40])
@pytest.mark.parametrize("decoder", [None, "cpu in batches"])
def test_the_field_decides_the_packs_name_and_its_pixels(root, tmp_path, side, decoder):
    plain = list_data(small_recipe(root), Logged()).manifest
    manifest = list_data(even(root), Logged()).manifest
    batches = CpuDecoder(2) if decoder else None
    pack = find_or_build(manifest, tmp_path, 2, side=side, decoder=batches)
    other = find_or_build(plain, tmp_path, 2, side=side)
    assert pack.folder.name[:32] != other.folder.name[:32]
    assert pack.content_sha256 == other.content_sha256, "the files are the same"
    for number, name in enumerate(manifest.files):
        (pixels,) = decode_frames((root / name).read_bytes())
        flat = flatfield(pixels[:, :, 0])[:, :, None]
        assert np.array_equal(levels(pack, number), shrink(flat, side) if side else flat)
        assert not np.array_equal(levels(pack, number), levels(other, number))


def test_a_stream_trains_on_the_pixels_of_the_pack(root, tmp_path):
    receipts = [fit(even(root, feed=feed), out=tmp_path / feed) for feed in ("pack", "stream")]
    assert receipts[0].weights_sha256 == receipts[1].weights_sha256
    plain = fit(small_recipe(root, epochs=1), out=tmp_path / "plain")
    assert plain.weights_sha256 != receipts[0].weights_sha256


def test_what_was_trained_on_even_light_predicts_on_even_light(root, tmp_path):
    receipt = fit(even(root), out=tmp_path / "run")
    files = sorted((root / "test").rglob("*.jpeg"))
    answers = predict_files(receipt.folder_path, files)["images"]
    right = [answer["class"] in answer["path"].rsplit("/", 1)[1] for answer in answers]
    assert sum(right) / len(right) == pytest.approx(receipt.accuracy("test"))
    trainer, _ = open_run(receipt.folder_path)
    images = [decode_frames(file.read_bytes())[0] for file in files]
    flat = [flatfield(pixels[:, :, 0])[:, :, None] for pixels in images]
    asked = [list(answer["chance"].values()) for answer in answers]
    assert asked == _chances(trainer, flat).tolist() != _chances(trainer, images).tolist()


def test_it_is_another_run_and_leaving_it_out_is_the_run_it_was(root):
    plain = small_recipe(root, epochs=1)
    assert recipe_hash(even(root)) != recipe_hash(plain)
    assert "flatfield" not in identity(plain)["data"] and identity(even(root))["data"]["flatfield"]


@pytest.mark.parametrize("batches", [False, True])
def test_colours_are_quarantined_with_the_reason(tmp_path, batches):
    root = write_pictures(tmp_path / "pictures", train=8, test=2)
    path = next(root.rglob("train/flat/*.jpeg"))
    Image.open(path).convert("RGB").save(path)
    manifest = list_data(even(root), Logged()).manifest
    pack = find_or_build(manifest, tmp_path, 2, decoder=CpuDecoder(2) if batches else None)
    (reason,) = pack.unreadable.values()
    assert reason == "data.flatfield is for gray images, this has 3 colours"
