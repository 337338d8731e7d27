"""Pictures that back a run's numbers: what the model saw, and what it got wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...dataloaders.batch import Batch
from ...dataloaders.feed.feed import Feed
from ...kernels.mix.op import mix
from ...kernels.mix.pair import partners
from ...kernels.sample.columns import ONE, SHARE
from ...kernels.sample.op import sample
from ..mixing import is_mixed
from ..report.figures import write_sheet
from ..task import Rows
from ..trainer import Trainer
from .prepare import Prepared

SHOWN = 24


def show(folder: Path, trainer: Trainer, feed: Feed) -> None:
    """What a run is, before its first step: the images as the model sees them, and the model."""
    show_samples(folder, trainer, feed)
    show_model(folder, trainer)


def show_samples(folder: Path, trainer: Trainer, feed: Feed) -> None:
    """`evidence/samples.png`: the first images of the run, augmented as the model sees them."""
    path = folder / "evidence" / "samples.png"
    if path.exists():
        return
    plan, count = trainer.plan, min(SHOWN, trainer.recipe.batch)
    size = plan.resolutions[-1][1]
    groups = range(-(-count // plan.micro))  # whole ones: images are mixed within theirs
    batches = [feed.train(*plan.stretch(0, group), size) for group in groups]
    channels = max(_depth(batch) for batch in batches)
    mean = trainer.recipe.data.mean
    pictures = np.concatenate([_pictures(batch, channels, mean) for batch in batches])[:count]
    names = [name for batch in batches for name in _names(batch, trainer.task.classes)][:count]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sheet(path, pictures, names, columns=8)


def show_model(folder: Path, trainer: Trainer) -> None:
    """`evidence/model.txt`: every layer of the model, and how many numbers it learns."""
    path = folder / "evidence" / "model.txt"
    count = sum(value.numel() for value in trainer.plain.parameters())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{count:,} parameters\n{trainer.plain}\n")


def show_wrong(folder: Path, split: str, trainer: Trainer, prepared: Prepared, rows: Rows) -> None:
    """`evidence/wrong-<split>.png`: the most confident mistakes, named by content hash."""
    chance = rows["logits"].double().softmax(1)
    confidence, guess = chance.max(1)
    wrong = torch.nonzero(guess != rows["label"]).flatten()
    worst = wrong[confidence[wrong].argsort(descending=True, stable=True)][:SHOWN]
    path = folder / "evidence" / f"wrong-{split}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if not len(worst):
        return
    numbers = rows["index"][worst]
    batch = _find(prepared.feed(split, trainer.recipe), numbers, trainer.recipe.size)
    names = trainer.task.classes
    captions = [
        f"{names[rows['label'][i]]} as {names[guess[i]]}\n{confidence[i]:.0%}  "
        f"{prepared.store.sha256[n].tobytes().hex()[:8]}"
        for i, n in zip(worst.tolist(), numbers.tolist(), strict=True)
    ]
    pictures = _pictures(batch, _depth(batch), trainer.recipe.data.mean)
    write_sheet(path, pictures, captions, columns=8)


def _find(feed: Feed, numbers: Tensor, size: int) -> Batch:
    """A plainly resized batch of just these manifest numbers."""
    places = np.searchsorted(feed.members.number, numbers.numpy())
    chosen = replace(
        feed.members,
        number=feed.members.number[places],
        pixels_of=feed.members.pixels_of[places],
        label=feed.members.label[places],
    )
    return next(Feed(feed.store.branch(), chosen, feed.augment, feed.seed).once(len(places), size))


def _names(batch: Batch, classes: tuple[str, ...]) -> list[str]:
    """What each image is of; where it was mixed, how much of it, and what else."""
    label, share = batch.target["label"], batch.params[:, SHARE] / ONE
    other = label[partners(batch.params)].tolist()
    return [
        classes[own] if kept == 1 else f"{kept:.0%} {classes[own]}\n{1 - kept:.0%} {classes[rest]}"
        for own, rest, kept in zip(label.tolist(), other, share.tolist(), strict=True)
    ]


def _depth(batch: Batch) -> int:
    return int(batch.shape[:, 2].max())


def _pictures(batch: Batch, channels: int, mean: tuple[float, ...]) -> np.ndarray:
    """(N,S,S) or (N,S,S,3) uint8 of what the kernels make of a batch, the normalisation undone.

    What is erased becomes 0 after `mean` is taken off, so that is taken off and put back.
    """
    if len(mean) != channels:  # gray images for a model of three channels, or one mean for three
        mean = (sum(mean) / len(mean),) * channels
    mixing, batch = is_mixed(batch), batch.to(batch.pixels.device)
    image = sample(
        batch.pixels,
        batch.start,
        batch.shape,
        batch.params,
        size=batch.size,
        channels=channels,
        mean=mean,
        std=(1.0,) * channels,
    )
    if mixing:
        image = mix(image, batch.params)
    image = image + torch.tensor(mean, device=image.device)[:, None, None]
    levels = (image * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return levels[..., 0] if channels == 1 else levels
