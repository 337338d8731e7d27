"""A few buffers used in turn: images of a batch side by side, pinned and on their way to a device.

On the CPU a slot is ordinary memory and is itself the answer. On a GPU a slot is pinned, its copy
goes on the current stream, and the slot is written again only after that copy has ended.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..pack.layout import PADDING

SLOTS = 3
"""One in use, one on its way, one being filled."""


class Ring:
    """`gather` copies images into the next slot; slots grow to the largest batch and stay."""

    def __init__(self, device: torch.device, slots: int = SLOTS) -> None:
        self.device = device
        self._slots: list[Tensor] = [torch.empty(0, dtype=torch.uint8)] * slots
        self._away: list[torch.cuda.Event | None] = [None] * slots
        self._next = 0

    def gather(self, images: Sequence[np.ndarray]) -> tuple[Tensor, np.ndarray]:
        """(b,) arrays of one dtype -> ((B,) on the device, (n,) int64 where each begins).

        Good until `slots` - 1 more calls.
        """
        sizes = np.array([image.size for image in images], np.int64)
        dtype = torch.uint16 if images[0].dtype == np.uint16 else torch.uint8
        slot = self._slot(int(sizes.sum()) + PADDING, dtype)
        start = np.cumsum(sizes) - sizes
        room = slot.numpy()
        for first, image in zip(start.tolist(), images, strict=True):
            room[first : first + image.size] = image.reshape(-1)
        return self._send(slot), start

    @property
    def bytes(self) -> int:
        """What the slots take of the host's memory."""
        return sum(slot.nbytes for slot in self._slots)

    def _slot(self, length: int, dtype: torch.dtype) -> Tensor:
        self._next = (self._next + 1) % len(self._slots)
        event = self._away[self._next]
        if event is not None:
            event.synchronize()
        slot = self._slots[self._next]
        if slot.dtype != dtype or len(slot) < length:
            pinned = self.device.type == "cuda"
            slot = torch.empty(length + length // 8, dtype=dtype, pin_memory=pinned)
            self._slots[self._next] = slot
        return slot[:length]

    def _send(self, slot: Tensor) -> Tensor:
        if self.device.type != "cuda":
            return slot
        sent = slot.to(self.device, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._away[self._next] = event
        return sent
