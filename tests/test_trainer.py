"""One loop: accumulation changes nothing, padding counts nowhere, the order decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pictures import small_recipe, write_pictures
from torch import nn

from foveate.engine.classification import Classification
from foveate.engine.plan import make_plan, this_machine
from foveate.engine.ranks.rows import gather
from foveate.engine.ranks.world import World
from foveate.engine.recipe import Optimizer
from foveate.engine.run.console import Logged
from foveate.engine.run.listing import list_data
from foveate.engine.run.prepare import prepare
from foveate.engine.trainer import Trainer


class Smooth(nn.Module):
    """A tiny net without batch statistics: what is left is the loop's own arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 5, stride=4)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.stem(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


def make(root, monkeypatch=None, **changes):
    recipe = small_recipe(root, **changes)
    if monkeypatch:
        monkeypatch.setattr(Classification, "build", lambda self, channels: Smooth())
    listing = list_data(recipe, Logged())
    sizes = {name: len(found) for name, found in listing.members.items()}
    plan = make_plan(
        recipe, this_machine(), train_images=sizes["train"], held_out_images=sizes["val"]
    )
    prepared = prepare(recipe, listing, plan.machine, Logged())
    return Trainer(plan), prepared


def losses(trainer, prepared):
    return [float(r.losses["loss"]) for r in trainer.steps(prepared.feed("train", trainer.recipe))]


def test_accumulation_changes_nothing(root, monkeypatch):
    """12 steps in float64: one forward of 12, 3 of 4 and 12 of 1 give the same run to 1e-9."""
    runs = []
    for group in (12, 4, 1):
        changes = {"batch": 12, "norm_group": group, "epochs": 8, "precision": "fp64", "ema": 0.0}
        optimizer = Optimizer(lr=0.5, momentum=0.9, clip=1.0)
        trainer, prepared = make(root, monkeypatch, optimizer=optimizer, **changes)
        assert trainer.plan.accumulate == 12 // group and trainer.plan.steps == 12
        run = losses(trainer, prepared)
        runs.append((run, torch.cat([p.flatten() for p in trainer.model.parameters()])))
    for run, weights in runs[1:]:
        assert run == pytest.approx(runs[0][0], abs=1e-9)
        assert torch.allclose(weights, runs[0][1], atol=1e-9, rtol=0)
    torch.manual_seed(0)
    start = torch.cat([p.flatten() for p in Smooth().parameters()])
    assert (runs[0][1] - start).norm() > 0.1, "it has to move, or equality means little"


def test_the_gradient_is_that_of_the_mean_loss(root, monkeypatch):
    trainer, prepared = make(root, monkeypatch, precision="fp64", batch=6, norm_group=2)
    feed = prepared.feed("train", trainer.recipe)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    norms = [r.grad_norm for r, _ in zip(trainer.steps(feed), range(1), strict=False)]
    plain = Smooth().double()
    plain.load_state_dict(before)
    batch = trainer.prepare(feed.train(0, 6, 32))
    nn.functional.cross_entropy(plain(batch.image), batch.target["label"]).backward()
    total = torch.stack([p.grad.norm() for p in plain.parameters()]).norm()
    assert float(norms[0]) == pytest.approx(float(total), rel=1e-12)


def test_padding_counts_nowhere(root, monkeypatch):
    trainer, prepared = make(root, monkeypatch, precision="fp64")
    batch = trainer.prepare(next(prepared.feed("test", trainer.recipe).once(16, 32)))
    assert batch.valid.sum() == 9
    whole = trainer.task.loss(trainer.forward, batch)["loss"]
    cut = replace(
        batch,
        image=batch.image[:9],
        target={"label": batch.target["label"][:9]},
        valid=batch.valid[:9],
    )
    again = trainer.task.loss(trainer.forward, cut)["loss"]
    assert whole.item() == pytest.approx(again.item(), rel=1e-12)
    assert int(trainer.task.count(batch)["loss"]) == 9


def test_rows_do_not_depend_on_how_the_images_were_batched(root, monkeypatch):
    trainer, prepared = make(root, monkeypatch, precision="fp64")
    feed = prepared.feed("test", trainer.recipe)
    found = []
    for micro in (1, 4, 50):
        trainer.plan = replace(trainer.plan, micro=micro)
        found.append(trainer.evaluate(feed))
    assert found[0]["index"].tolist() == sorted(feed.members.number.tolist())
    for rows in found[1:]:
        assert torch.allclose(rows["logits"], found[0]["logits"], atol=1e-6)
        assert torch.equal(rows["label"], found[0]["label"])


def test_gather_drops_padding_and_keeps_each_index_once():
    rows = {
        "index": torch.tensor([5, 2, 2]),
        "valid": torch.tensor([True, True, False]),
        "logits": torch.tensor([[1.0], [2.0], [3.0]]),
    }
    again = {name: value.clone() for name, value in rows.items()}
    kept = gather([rows, again], World())
    assert kept["index"].tolist() == [2, 5]
    assert kept["logits"].flatten().tolist() == [2.0, 1.0]


def test_dropout_depends_on_the_step_and_not_on_what_ran_before(root):
    """mobilenet has dropout and batch norm: other draws in between change nothing."""
    one, prepared = make(root, epochs=1)
    quiet = losses(one, prepared)
    other, _ = make(root, epochs=1)
    noisy = []
    for report in other.steps(prepared.feed("train", other.recipe)):
        torch.rand(17)
        np.random.rand(3)
        other.evaluate(prepared.feed("test", other.recipe))
        noisy.append(float(report.losses["loss"]))
    assert noisy == quiet


def test_the_scored_weights_are_the_average_and_training_goes_on_from_the_last(root):
    trainer, prepared = make(root, epochs=1)
    for _ in trainer.steps(prepared.feed("train", trainer.recipe)):
        pass
    last, scored = trainer.weights(), trainer.weights(scored=True)
    name = next(name for name, _ in trainer.model.named_parameters())
    assert not torch.equal(last[name], scored[name])
    assert torch.equal(trainer.weights()[name], last[name])


def test_a_learning_rate_is_a_device_scalar_that_follows_the_table(root):
    trainer, prepared = make(root, epochs=1)
    for report in trainer.steps(prepared.feed("train", trainer.recipe)):
        used = {float(group["lr"]) for group in trainer.optimizer.param_groups}
        assert used == {float(torch.tensor(trainer.plan.lr[report.step - 1]))}
        assert isinstance(trainer.optimizer.param_groups[0]["lr"], torch.Tensor)
