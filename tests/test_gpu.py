"""The one trainer on a card: the same loop, no waiting in it, and what the CPU gives.

Runs wherever torch sees a GPU; imports nothing that a bare machine may lack.
"""

from __future__ import annotations

from dataclasses import replace

import compare
import pytest
import torch
from pictures import small_recipe, write_pictures

from foveate.engine.checkpoint import Checkpointer
from foveate.engine.fit import fit
from foveate.engine.models.library import hash_weights
from foveate.engine.plan import make_plan, this_machine
from foveate.engine.run.console import Logged
from foveate.engine.run.listing import list_data
from foveate.engine.run.meter import matrix_rate
from foveate.engine.run.prepare import prepare
from foveate.engine.run.receipt import read_receipt
from foveate.engine.trainer import Trainer

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


def make(root, device="cuda", **changes):
    recipe = small_recipe(root, **changes)
    listing = list_data(recipe, Logged())
    sizes = {name: len(found) for name, found in listing.members.items()}
    machine = replace(this_machine(), device=device)
    plan = make_plan(recipe, machine, train_images=sizes["train"], held_out_images=sizes["val"])
    return Trainer(plan), prepare(recipe, listing, plan.machine, Logged())


def fed(root, feed):
    return replace(small_recipe(root).data, feed=feed)


def train(trainer, prepared, steps):
    feed = prepared.feed("train", trainer.recipe)
    for report in trainer.steps(feed):
        if report.step == steps:
            return


def test_a_fit_ends_in_a_receipt_that_names_the_card(root, tmp_path):
    receipt = fit(small_recipe(root, precision="auto"), out=tmp_path / "run")
    assert receipt.identity["gpu"] == torch.cuda.get_device_name(0)
    assert receipt.precision == ("bf16" if this_machine().bf16 else "fp32")
    assert receipt.scores["test"]["images"] == 9
    assert read_receipt(tmp_path / "run").weights_sha256 == receipt.weights_sha256


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_a_run_that_was_saved_and_read_ends_in_the_same_weights(root, tmp_path, precision):
    whole, prepared = make(root, precision=precision)
    train(whole, prepared, 6)
    first, _ = make(root, precision=precision)
    train(first, prepared, 3)
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(3, first.state(), {})
    checkpointer.close()
    saved = Checkpointer(tmp_path).restore()
    second, _ = make(root, precision=precision)
    second.load(saved.tensors, saved.step)
    train(second, prepared, 6)
    assert hash_weights(second.weights()) == hash_weights(whole.weights())
    assert hash_weights(second.weights()) != hash_weights(first.weights())


def test_evaluation_gives_what_the_cpu_gives(root):
    """In float64, where no convolution takes a shortcut."""
    card, prepared = make(root, precision="fp64")
    train(card, prepared, 2)
    cpu, _ = make(root, device="cpu", precision="fp64")
    cpu.adopt(card.weights(scored=True))
    rows = [one.evaluate(prepared.feed("test", one.recipe)) for one in (card, cpu)]
    assert torch.equal(rows[0]["index"], rows[1]["index"])
    assert torch.allclose(rows[0]["logits"], rows[1]["logits"], atol=1e-8, rtol=1e-8)


def test_no_step_waits_for_the_device(root):
    """Three steps warm up; then whatever would make the host wait is an error."""
    trainer, prepared = make(root, precision="auto", epochs=6)
    steps = trainer.steps(prepared.feed("train", trainer.recipe))
    for _ in range(3):
        next(steps)
    torch.cuda.set_sync_debug_mode("error")
    try:
        reports = [next(steps) for _ in range(4)]
        with pytest.raises(RuntimeError, match="synchroniz"):
            float(reports[-1].losses["loss"])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(report.losses["loss"].isfinite() for report in reports)


@pytest.mark.parametrize("feed", ["pack", "resident", "stream"])
def test_a_batch_cut_on_the_card_is_the_one_cut_on_the_cpu(root, feed):
    card, prepared = make(root, precision="fp32", data=fed(root, feed))
    cpu, same = make(root, device="cpu", precision="fp32", data=fed(root, feed))
    there = card.prepare(prepared.feed("train", card.recipe).train(0, 8, 32))
    here = cpu.prepare(same.feed("train", cpu.recipe).train(0, 8, 32))
    assert (there.image.cpu() - here.image).abs().max() < 1e-3, "a hundredth of a level, at most"
    assert there.image.is_contiguous(memory_format=torch.channels_last)
    assert there.target["label"].is_cuda and there.valid.is_cuda


def test_the_harness_waits_for_the_card_by_itself():
    torch.cuda.synchronize()
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def run() -> int:
        began.record()
        torch.cuda._sleep(400_000_000)  # cycles: about 0.2 s
        ended.record()
        return 1

    sample = compare.measure(compare.Side("asleep on the card", run))
    assert sample.seconds >= 0.99 * began.elapsed_time(ended) / 1e3


def test_the_matrix_rate_is_of_this_card():
    rate = matrix_rate(torch.device("cuda"), torch.bfloat16, seconds=0.2)
    assert 1e12 < rate < 1e16
