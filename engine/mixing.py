"""MixUp and CutMix of a training batch: its images, and what its task has to know of it."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..dataloaders.batch import Batch
from ..kernels.mix.op import mix
from ..kernels.mix.pair import partners, settle
from ..kernels.sample.columns import ONE, PARTNER, SHARE


def is_mixed(batch: Batch) -> bool:
    """Whether any image has a partner. Ask before the batch leaves the host: no wait there."""
    return bool(batch.params[:, PARTNER].any())


def mixed(batch: Batch) -> Batch:
    """The same batch with `image` (N,C,S,S) mixed as its rows say, but never with padding.

    The target gets "partner" (N,) int64, a place in the batch, and "share" (N,) float32, how much
    of the image's own target counts; the rest of it is the partner's.
    """
    if batch.image is None:
        raise ValueError("only finished images are mixed: batch.image is None")
    rows = settle(batch.params, batch.valid)
    share = rows[:, SHARE].to(torch.float32) / ONE  # 17 bits: exact
    target = batch.target | {"partner": partners(rows), "share": share}
    return replace(batch, params=rows, target=target, image=mix(batch.image, rows))
