"""A run that goes on with another number of processes in the middle of an epoch.

python elastic.py OUT DATA, with torchrun's environment and FOVEATE_UNTIL, the step to stop after.
Takes up OUT/state.safetensors where there is one. Not a test itself: test_elastic.py is.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import safetensors.torch
import torch
from ranks import make
from test_trainer import Smooth

from foveate.engine.classification import Classification
from foveate.engine.ranks.world import World, join_world
from foveate.engine.recipe import Optimizer

FIELDS = {
    "size": 64,
    "batch": 24,
    "norm_group": 2,  # 12 groups: for 1, 2, 3 and 4 processes
    "epochs": 8,
    "ema": 0.0,
    "precision": "fp64",
    "optimizer": Optimizer(lr=0.05, momentum=0.9),
}


def go_on(out: Path, root: str, world: World, until: int) -> list[list[int]]:
    """Train from where the last world stopped to `until` -> [step, rank, first position, index...]
    of every batch that this rank loaded."""
    trainer, prepared = make(root, world, **FIELDS)
    kept = out / "state.safetensors"
    if kept.exists():
        done = json.loads((out / "step.json").read_text())
        trainer.load(safetensors.torch.load_file(kept), done)
    feed, seen = prepared.feed("train", trainer.recipe), []
    whole = feed.train

    def train(position: int, length: int, size: int):
        batch = whole(position, length, size)
        seen.append([trainer.step, world.rank, position, *batch.index.tolist()])
        return batch

    feed.train = train
    for report in trainer.steps(feed):
        if report.step == until:
            break
    world.wait()
    if world.leads:
        safetensors.torch.save_file(trainer.state(), kept)
        (out / "step.json").write_text(str(trainer.step))
    return seen


def main() -> None:
    out, root, until = Path(sys.argv[1]), sys.argv[2], int(os.environ["FOVEATE_UNTIL"])
    torch.set_num_threads(1)
    Classification.build = lambda self, channels: Smooth()
    with join_world("cpu") as world:
        seen = go_on(out, root, world, until)
        path = out / f"seen-{until:02}-{world.rank}.json"
        path.write_text(json.dumps(seen))


if __name__ == "__main__":
    main()
