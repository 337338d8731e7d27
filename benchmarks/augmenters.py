"""How the field makes a batch from pixels in memory: the other sides of kernels.py and feed.py.

A maker takes a `Job` and returns a function that makes one batch from a list of (H,W,C) uint8
arrays: (N,C,S,S) float32, normalised. It raises ImportError where its package is missing. All
draw their own parameters for each image from the same ranges. What is not equal is said in NAMES
and here: ColorJitter draws the order of its steps, albumentations applies colour by a table,
DALI's contrast turns around mid-gray, Kornia does not anti-alias.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from foveate.kernels.sample.augment import Augment

Make = Callable[[Sequence[np.ndarray]], Any]
AHEAD = 2
"""Batches that DALI works on at once: its own default."""


@dataclass(frozen=True)
class Job:
    """What is done to every image."""

    augment: Augment
    """Its crop, flip, rotation, brightness and contrast; ratios are of the image's own aspect."""
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    aspect: float = 1.0
    """Width over height of the images: others give the crop's ratio in pixels."""
    threads: int = 1

    @property
    def ratio(self) -> tuple[float, float]:
        """Of crops, width over height in pixels."""
        return self.augment.ratio[0] * self.aspect, self.augment.ratio[1] * self.aspect

    @property
    def is_coloured(self) -> bool:
        """Whether brightness or contrast change."""
        return bool(self.augment.brightness or self.augment.contrast)


def with_torchvision(job: Job) -> Make:
    """transforms.v2 on uint8 tensors, one image at a time, as its documentation advises."""
    from torchvision.transforms import InterpolationMode, v2

    augment = job.augment
    steps: list[Any] = [
        v2.RandomResizedCrop(job.size, augment.area, job.ratio, antialias=True),
        v2.RandomHorizontalFlip(augment.flip),
    ]
    if augment.rotate:
        steps.append(v2.RandomRotation(augment.rotate, InterpolationMode.BILINEAR))
    if job.is_coloured:
        steps.append(v2.ColorJitter(augment.brightness, augment.contrast))
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(job.mean, job.std)]
    chain = v2.Compose(steps)
    return lambda images: torch.stack(
        [chain(torch.from_numpy(image).permute(2, 0, 1)) for image in images]
    )


def albumentations_chain(job: Job) -> Any:
    """Compose from (H,W[,C]) uint8 to (C,S,S) float32 tensors; area-averaging where it shrinks."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for its version
    import albumentations as A
    import cv2
    from albumentations.pytorch import ToTensorV2

    cv2.setNumThreads(0)
    augment, pair = job.augment, (job.size, job.size)
    steps: list[Any] = [
        A.RandomResizedCrop(pair, augment.area, job.ratio, interpolation=cv2.INTER_AREA),
        A.HorizontalFlip(p=augment.flip),
    ]
    if augment.rotate:
        steps.append(A.Rotate(augment.rotate, cv2.INTER_LINEAR, p=1.0))
    if job.is_coloured:
        spread = augment.brightness, augment.contrast
        steps.append(A.RandomBrightnessContrast(*spread, brightness_by_max=False, p=1.0))
    steps += [A.Normalize(job.mean, job.std, max_pixel_value=255.0), ToTensorV2()]
    return A.Compose(steps)


def with_albumentations(job: Job) -> Make:
    """One image at a time; OpenCV keeps to the calling thread."""
    chain = albumentations_chain(job)
    return lambda images: torch.stack([chain(image=image)["image"] for image in images])


def with_kornia(job: Job) -> Make:
    """Batches of images of one size, each with its own draws; bilinear without anti-aliasing."""
    import kornia.augmentation as K

    augment, pair = job.augment, (job.size, job.size)
    steps: list[Any] = [
        K.RandomResizedCrop(pair, augment.area, job.ratio),
        K.RandomHorizontalFlip(augment.flip),
    ]
    if augment.rotate:
        steps.append(K.RandomRotation(augment.rotate, p=1.0))
    for step, most in (
        ("RandomBrightness", augment.brightness),
        ("RandomContrast", augment.contrast),
    ):
        if most:
            steps.append(getattr(K, step)((1 - most, 1 + most), p=1.0))
    steps.append(K.Normalize(torch.tensor(job.mean), torch.tensor(job.std)))
    chain = torch.nn.Sequential(*steps)

    def make(images: Sequence[np.ndarray]) -> torch.Tensor:
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        with torch.no_grad():
            return chain(batch.float() / 255)

    return make


def dali_steps(job: Job, image: Any) -> Any:
    """DALI's graph from decoded (H,W,C) uint8 to (C,S,S) float32, anti-aliased (its default)."""
    from nvidia.dali import fn, types

    augment, uniform = job.augment, fn.random.uniform
    image = fn.random_resized_crop(
        image, size=job.size, random_area=augment.area, random_aspect_ratio=job.ratio
    )
    if augment.rotate:
        angle = uniform(range=(-augment.rotate, augment.rotate))
        image = fn.rotate(image, angle=angle, keep_size=True, fill_value=0)
    if job.is_coloured:
        spreads = augment.brightness, augment.contrast
        brightness, contrast = (uniform(range=(1 - s, 1 + s)) for s in spreads)
        image = fn.brightness_contrast(image, brightness=brightness, contrast=contrast)
    return fn.crop_mirror_normalize(
        image,
        mirror=fn.random.coin_flip(probability=augment.flip),
        mean=[255 * level for level in job.mean],
        std=[255 * level for level in job.std],
        dtype=types.FLOAT,
    )


def begin_drained(pipe: Any, feed: Callable[[], None] = lambda: None) -> None:
    """Build a pipeline and empty it: its first `schedule_run` begins with AHEAD batches at once."""
    pipe.build()
    for _ in range(AHEAD):
        feed()
    pipe.schedule_run()
    for _ in range(AHEAD):
        pipe.share_outputs()
        pipe.release_outputs()


def run_drained(pipe: Any, turns: int, feed: Callable[[], None] = lambda: None) -> Iterator[Any]:
    """So many batches of a DALI pipeline, AHEAD of them at work at a time, none when it ends.

    `Pipeline.run` begins with the next batches before it returns: they would be made while the
    clock of another side runs.
    """
    for turn in range(turns + AHEAD):
        if turn >= AHEAD:
            (found, *_) = pipe.share_outputs()
            yield found
            pipe.release_outputs()
        if turn < turns:
            feed()
            pipe.schedule_run()


def with_dali(job: Job, batch: int) -> Callable[[Sequence[Sequence[np.ndarray]]], Iterator[Any]]:
    """A function from batches to DALI's batches; each is good until the next is asked for."""
    from nvidia.dali import fn
    from nvidia.dali.pipeline import Pipeline

    pipe = Pipeline(
        batch_size=batch, num_threads=job.threads, device_id=None, seed=0,
        prefetch_queue_depth=AHEAD,
    )  # fmt: skip
    with pipe:
        image = fn.external_source(name="images", layout="HWC", no_copy=True)
        pipe.set_outputs(dali_steps(job, image))
    blank = [np.zeros((64, 64, len(job.mean)), np.uint8)] * batch
    begin_drained(pipe, lambda: pipe.feed_input("images", blank))

    def make(batches: Sequence[Sequence[np.ndarray]]) -> Iterator[Any]:
        feeding = iter(batches)
        return run_drained(pipe, len(batches), lambda: pipe.feed_input("images", next(feeding)))

    return make
