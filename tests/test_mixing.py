"""Training on mixed images: soft targets, the same on any number of ranks; scores never mixed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pictures import small_recipe, write_pictures
from test_trainer import losses, make
from torch.nn.functional import log_softmax, one_hot

from foveate.engine.classification import Classification
from foveate.engine.failure import RecipeError
from foveate.engine.mixing import mixed
from foveate.engine.plan import make_plan, this_machine
from foveate.engine.recipe import Optimizer
from foveate.engine.run import evidence
from foveate.kernels.mix.op import MIX
from foveate.kernels.sample import columns as p
from foveate.kernels.sample.augment import Augment

MIXED = Augment(flip=0.5, mixup=0.4, cutmix=1.0)
SMOOTHED = Classification(
    classes=("flat", "steep"), model="mobilenet_v3_small", label_smoothing=0.1
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


def soft_cross_entropy(logits, label, rows, smoothing):
    """(N,) by hand: the target is a distribution over the classes, in float64."""
    count, classes = logits.shape
    hot = (1 - smoothing) * one_hot(label, classes).double() + smoothing / classes
    found = []
    for n in range(count):
        share = int(rows[n, p.SHARE]) / 65536
        target = share * hot[n] + (1 - share) * hot[(n + int(rows[n, p.PARTNER])) % count]
        found.append(-(target * log_softmax(logits[n].double(), 0)).sum())
    return torch.stack(found)


def test_the_loss_is_the_cross_entropy_of_the_soft_target(root, monkeypatch):
    trainer, prepared = make(root, monkeypatch, task=SMOOTHED, augment=MIXED, precision="fp64")
    raw = prepared.feed("train", trainer.recipe).train(0, 8, 32)
    label, rows = raw.target["label"], raw.params
    other = label[(torch.arange(8) + rows[:, p.PARTNER]) % 8]
    assert (label != other).any() and (rows[:, p.SHARE] < p.ONE).any(), "or nothing is tested"
    batch = trainer.prepare(raw)
    ours = trainer.task.loss(trainer.forward, batch)["loss"].detach()
    exact = soft_cross_entropy(trainer.forward(batch), label, rows, 0.1).sum().detach()
    assert float(ours) == pytest.approx(float(exact), rel=1e-12)
    plain = replace(batch, target={"label": label})
    assert trainer.task.loss(trainer.forward, plain)["loss"].item() != pytest.approx(float(exact))


def test_the_images_are_those_of_the_sample_kernel_mixed(root, monkeypatch):
    trainer, prepared = make(root, monkeypatch, augment=MIXED, precision="fp64")
    raw = prepared.feed("train", trainer.recipe).train(0, 8, 32)
    unmixed = raw.params.clone()
    unmixed[:, p.PARTNER] = 0
    before = trainer.prepare(replace(raw, params=unmixed))
    assert "share" not in before.target
    found = trainer.prepare(raw).image
    exact = MIX.reference(before.image, raw.params)
    assert torch.allclose(found, exact, atol=1e-12, rtol=0)
    assert not torch.allclose(found, before.image, atol=0.1)


def test_a_step_is_the_mean_over_its_groups_each_mixed_within_itself(root, monkeypatch):
    trainer, prepared = make(root, monkeypatch, augment=MIXED, precision="fp64", norm_group=4)
    assert trainer.plan.accumulate == 2
    feed = prepared.feed("train", trainer.recipe)
    batches = [trainer.prepare(feed.train(first, 4, 32)) for first in (0, 4)]
    parts = [
        soft_cross_entropy(trainer.forward(b), b.target["label"], b.params, 0.0) for b in batches
    ]
    report = next(iter(trainer.steps(prepared.feed("train", trainer.recipe))))
    assert float(report.losses["loss"]) == pytest.approx(
        float(torch.cat(parts).mean().detach()), rel=1e-9
    )


def test_padding_is_nobodys_partner(root, monkeypatch):
    trainer, prepared = make(root, monkeypatch, augment=MIXED, precision="fp64")
    raw = prepared.feed("train", trainer.recipe).train(0, 8, 32)
    padded = replace(raw, valid=torch.arange(8) < 5)
    batch = trainer.prepare(padded)
    assert batch.valid[batch.target["partner"]][batch.valid].all()
    other = raw.target["label"].clone()
    other[5:] = 1 - other[5:]
    changed = replace(batch, target=batch.target | {"label": other})
    changed.image[5:] = 7.0
    again = trainer.task.loss(trainer.forward, changed)["loss"]
    assert float(trainer.task.loss(trainer.forward, batch)["loss"]) == float(again)


def test_a_run_with_both_trains(root, monkeypatch):
    optimizer = Optimizer(kind="adamw", lr=0.02)
    changes = {"epochs": 30, "ema": 0.0, "augment": MIXED, "optimizer": optimizer}
    trainer, prepared = make(root, monkeypatch, **changes)
    found = losses(trainer, prepared)
    assert sum(found[-10:]) < sum(found[:10])
    assert all(torch.isfinite(w).all() for w in trainer.weights().values())


def test_what_is_scored_is_never_mixed(root, monkeypatch):
    rows = []
    for augment in (Augment(), MIXED):
        trainer, prepared = make(root, monkeypatch, augment=augment)
        rows.append(trainer.evaluate(prepared.feed("test", trainer.recipe)))
    assert torch.equal(rows[0]["logits"], rows[1]["logits"])
    assert torch.equal(rows[0]["loss"], rows[1]["loss"])


def test_a_group_of_one_has_nobody_to_mix_with(root):
    recipe = small_recipe(root, augment=MIXED, norm_group=1)
    with pytest.raises(RecipeError, match="give --norm-group 2 or more"):
        make_plan(recipe, this_machine(), train_images=24, held_out_images=0)


def test_raw_batches_are_not_mixed(root, monkeypatch):
    trainer, prepared = make(root, monkeypatch, augment=MIXED)
    with pytest.raises(ValueError, match=r"batch\.image is None"):
        mixed(prepared.feed("train", trainer.recipe).train(0, 8, 32))


def test_the_sheet_of_samples_says_what_was_mixed(root, monkeypatch, tmp_path):
    shown = {}
    monkeypatch.setattr(
        evidence, "write_sheet", lambda path, pictures, names, columns: shown.update(locals())
    )
    trainer, prepared = make(root, monkeypatch, augment=MIXED, norm_group=4)
    feed = prepared.feed("train", trainer.recipe)
    evidence.show_samples(tmp_path, trainer, feed)
    raw = feed.train(4, 4, 32)
    batch = trainer.prepare(raw)
    levels = (batch.image * trainer.recipe.data.std[0] + trainer.recipe.data.mean[0]) * 255
    off = levels[:, 0].numpy() - shown["pictures"][4:]
    assert shown["pictures"].shape == (8, 32, 32) and abs(off).max() <= 0.51
    share = raw.params[:, p.SHARE] / p.ONE
    for name, kept in zip(shown["names"][4:], share.tolist(), strict=True):
        assert (kept == 1) == ("%" not in name) and (kept == 1 or name.startswith(f"{kept:.0%}"))


def test_the_sheet_of_samples_shows_the_mean_where_something_was_erased(
    root, monkeypatch, tmp_path
):
    shown = []
    monkeypatch.setattr(evidence, "write_sheet", lambda *args, **_: shown.append(args[1]))
    data = replace(small_recipe(root).data, mean=(0.3,), std=(0.2,))
    trainer, prepared = make(root, monkeypatch, augment=Augment(erase=1.0), data=data)
    feed = prepared.feed("train", trainer.recipe)
    evidence.show_samples(tmp_path, trainer, feed)
    batch = trainer.prepare(feed.train(0, 8, 32))
    erased = (batch.image[:, 0] == 0).numpy()
    assert erased.mean() > 0.02 and set(shown[0][erased].tolist()) == {round(0.3 * 255)}
