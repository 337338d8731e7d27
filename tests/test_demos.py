"""The brain MRI and chest X-ray recipes: planned as published, trained on what there is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pictures import draw
from trees import encode

from foveate.dataloaders.errors import DataError
from foveate.dataloaders.folder import find_group
from foveate.engine.catalog import find
from foveate.engine.fit import fit
from foveate.engine.planning import check_model, check_recipe, plan_recipe
from foveate.engine.run.closing import expect_counts
from foveate.engine.run.console import Logged
from foveate.engine.run.listing import list_data
from foveate.engine.run.receipt import read_receipt
from foveate.engine.scoring import score_run
from foveate.engine.verbs.overrides import override
from foveate.recipes import brain_mri, chest_xray


@pytest.mark.parametrize(
    ("name", "images", "held", "steps"),
    [
        # 80 % of 826, 822, 395 and 827, class by class; 15 epochs of 32
        ("brain_mri:faithful", 2297, 573, 1077),
        ("brain_mri", 2297, 573, 1077),
        # 80 % of 1,341 and 3,875: the demo fitted 4,172 and held out 521 + 523
        ("chest_xray:faithful", 4173, 1043, 1956),
        ("chest_xray", 4694, 522, 1100),
    ],
)
def test_the_published_counts_are_planned(name, images, held, steps):
    plan, source = plan_recipe(find(name), 1, Logged())
    assert (plan.train_images, plan.held_out_images, plan.steps) == (images, held, steps)
    assert source == "the counts that the recipe expects"


def test_the_counts_add_up_to_the_published_totals():
    assert sum(brain_mri.data.expect_train) == 2870 and sum(brain_mri.data.expect_test) == 394
    assert sum(chest_xray.data.expect_train) == 5216 and sum(chest_xray.data.expect_test) == 624
    expected = expect_counts(brain_mri.recipe)["test"]
    assert expected["no_tumor"] == 105 and expected["pituitary_tumor"] == 74


def test_the_net_of_the_demo_has_its_layers():
    model = chest_xray.faithful.task.build(1)
    shapes = [tuple(p.shape) for p in model.parameters() if p.ndim > 1]
    assert shapes[:3] == [(32, 1, 3, 3), (64, 32, 3, 3), (128, 64, 3, 3)]
    assert shapes[3:] == [(256, 28 * 28 * 128), (2, 256)]
    dropped = [(n, m.p) for n, m in enumerate(model) if isinstance(m, torch.nn.Dropout)]
    assert dropped == [(6, 0.2), (10, 0.2)]  # after the second and the third pooling
    image = torch.rand(2, 1, 224, 224)
    before = model[:11].eval()(image)
    assert torch.equal(model[11](before), before), "the pool has nothing to do at 224 px"


@pytest.mark.parametrize("name", ["chest_xray", "chest_xray:faithful", "brain_mri"])
def test_every_size_of_the_schedule_fits_the_model(name):
    recipe = find(name)
    check_model(replace(recipe, task=recipe.task.untrained()))


@pytest.mark.parametrize(
    ("file", "patient"),
    [
        ("person133_bacteria_637.jpeg", "person133"),
        ("person133_virus_2.jpeg", "person133"),
        ("person1_virus_13.jpeg", "person1"),
        ("IM-0077-0001.jpeg", "IM-0077"),
        ("IM-0033-0001-0002.jpeg", "IM-0033"),
        ("NORMAL2-IM-0198-0001.jpeg", "IM-0198"),
        ("copied_NORMAL2-IM-0276-0001.jpeg", "IM-0276"),
    ],
)
def test_a_patient_is_read_off_the_name_of_a_film(file, patient):
    assert find_group(chest_xray.data.group, f"train/NORMAL/{file}") == patient


def write_films(root: Path, part: str) -> None:
    """Six patients per class with two films each, named as in the published set."""
    for label, name in enumerate(chest_xray.CLASSES):
        folder = root / part / name
        folder.mkdir(parents=True)
        for number in range(12):
            patient = number // 2 + 1
            stem = f"person{patient}_virus_{number}" if label else f"IM-{patient:04}-{number:04}"
            kind = "progressive" if number == 3 else "jpeg"
            (folder / f"{stem}.jpeg").write_bytes(encode(draw(label, number), kind))


def test_no_patient_is_on_both_sides_and_faithful_says_how_many_are(tmp_path):
    for part in ("train", "test"):
        write_films(tmp_path, part)
    for name, shared in (("chest_xray", 0), ("chest_xray:faithful", 1)):
        recipe = override(find(name), ["--data.root", str(tmp_path)])
        listing = list_data(recipe, Logged())
        assert min(listing.overlaps["train and val"], 1) == shared
    assert listing.overlaps["train and test"] == 12


def test_films_without_a_part_folder_are_trained_on(tmp_path):
    write_films(tmp_path / "films", ".")
    words = "--data.train . --data.test= --data.holdout 0.3 --batch 2 --epochs 1 --size 32"
    words += " --schedule.sizes --schedule.shares --task.model shufflenet_v2_x0_5"
    recipe = override(find("chest_xray"), ["--data.root", str(tmp_path / "films"), *words.split()])
    receipt = fit(recipe, out=tmp_path / "run")
    assert receipt.data["group_overlap"]["train and val"] == 0
    assert receipt.scores["val"]["images"] >= 4


@pytest.fixture(scope="module")
def slices(tmp_path_factory) -> Path:
    """A copy of the brain set with Training alone, eight images a class."""
    root = tmp_path_factory.mktemp("brain")
    for label, name in enumerate(brain_mri.CLASSES):
        folder = root / "Training" / name
        folder.mkdir(parents=True)
        for number in range(8):
            pixels = draw(label % 2, number).repeat(3, axis=2) // (1 + label // 2)
            (folder / f"m ({number}).jpg").write_bytes(encode(pixels, "jpeg"))
    return root


SMALL = "--task.model shufflenet_v2_x0_5 --task.weights none --size 32 --batch 8 --epochs 2".split()


def test_training_alone_is_trained_on_and_the_missing_test_is_said(slices, tmp_path, caplog):
    recipe = override(find("brain_mri"), ["--data.root", str(slices), *SMALL])
    plan, _ = plan_recipe(recipe, 1, Logged())
    told = "no folder Testing: nothing is tested, scores are of the held-out part"
    assert told in plan.notes
    receipt = fit(recipe, out=tmp_path / "run")
    assert set(receipt.scores) == {"val"} and told in receipt.data["differences"]
    assert "Training/no_tumor: 8 images, 395 expected" in receipt.data["differences"]
    assert read_receipt(tmp_path / "run").scored == "best"
    assert told in (tmp_path / "run" / "report.html").read_text()
    with pytest.raises(DataError, match="has no folder 'Testing'"):
        score_run(tmp_path / "run", str(slices), "test", Logged())
    with pytest.raises(DataError, match="no test split"):
        score_run(tmp_path / "run", "", "test", Logged())


def test_a_recipe_that_needs_its_test_folder_still_asks_for_it(slices):
    recipe = override(find("brain_mri"), ["--data.root", str(slices), "--data.need-test", *SMALL])
    with pytest.raises(DataError, match="has no folder 'Testing'"):
        check_recipe(recipe, Logged())
