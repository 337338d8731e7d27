"""Run as one of several processes: trains and scores small things, and leaves what came out.

python ranks.py OUT DATA, with torchrun's RANK, WORLD_SIZE, ... in the environment; started alone
it is a world of one. Not a test itself: test_world.py compares the worlds.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from pictures import small_recipe

from foveate.engine.plan import make_plan, this_machine
from foveate.engine.ranks.world import World, join_world
from foveate.engine.recipe import Optimizer
from foveate.engine.run.console import Logged
from foveate.engine.run.listing import list_data
from foveate.engine.run.prepare import prepare
from foveate.engine.trainer import Trainer
from foveate.kernels.sample.augment import Augment

COUNTS = (7, 8, 9)


def make(root: str, world: World, **changes):
    recipe = small_recipe(root, **changes)
    listing = list_data(recipe, Logged())
    sizes = {name: len(found) for name, found in listing.members.items()}
    plan = make_plan(
        recipe, this_machine(world), train_images=sizes["train"], held_out_images=sizes["val"]
    )
    return Trainer(plan, world), prepare(recipe, listing, plan.machine, Logged())


def train(root: str, world: World) -> tuple[dict, dict]:
    """12 steps in float64: batch norm, dropout, clipping, EMA, mixing -> (facts, tensors)."""
    trainer, prepared = make(
        root,
        world,
        size=64,
        batch=24,
        norm_group=4,
        epochs=8,
        precision="fp64",
        augment=Augment(flip=0.5, mixup=0.4, cutmix=1.0, mix_chance=0.8),
        optimizer=Optimizer(lr=0.05, momentum=0.9, clip=1.0),
    )
    facts = {"losses": [], "norms": [], "accumulate": trainer.plan.accumulate}
    for report in trainer.steps(prepared.feed("train", trainer.recipe)):
        facts["losses"] += world.sum([float(report.losses["loss"])])
        facts["norms"].append(float(report.grad_norm))
    return facts, trainer.state()


def score(root: str, world: World) -> dict:
    """Rows of 7, 8 and 9 images."""
    trainer, prepared = make(root, world, batch=12, norm_group=2)
    feed, found = prepared.feed("test", trainer.recipe), {}
    whole = feed.members
    for count in COUNTS:
        feed.members = replace(
            whole,
            number=whole.number[:count],
            pixels_of=whole.pixels_of[:count],
            label=whole.label[:count],
        )
        found |= {f"{count}.{n}": v for n, v in trainer.evaluate(feed).items()}
    return found


def start(world: int, out: Path, root: Path, script: Path = Path(__file__)) -> list:
    """The processes of a world, each with torchrun's environment, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    paths = os.pathsep.join([str(script.parent.parent), str(script.parent)])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONPATH": paths}
    processes = []
    for rank in range(world):
        named = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
        env = os.environ | place | {name: str(value) for name, value in named.items()}
        command = [sys.executable, str(script), str(out), str(root)]
        processes.append(subprocess.Popen(command, env=env))
    return processes


def main() -> None:
    out, root = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    with join_world("cpu") as world:
        facts, state = train(root, world)
        rows = score(root, world)
        if world.rank == world.size - 1:  # any rank must do: the last, not the leader
            safetensors.torch.save_file(state, out / f"state-{world.size}.safetensors")
            safetensors.torch.save_file(rows, out / f"rows-{world.size}.safetensors")
            (out / f"facts-{world.size}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
