"""NVIDIA DALI as a decoder: its threads on the CPU, or nvJPEG and the card's own engines.

A DALI pipeline is dead once one file has ended a batch, so files are vetted first, and a dead one
is built again. On the CPU it cuts no corner that `decode` does not (same pixels, no quicker), and
it lets damage pass about which libjpeg only warns, on the process's stderr; `exact` keeps such
files from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DataError
from .vetting import VettingDecoder

MISSING = (
    "DALI is not installed; pip install nvidia-dali-cuda130 (CUDA 12: nvidia-dali-cuda120), or "
    "decode on the CPU"
)
HW_LOAD = 0.65  # DALI's own default; `benchmarks/gpu_check.py` tries five


class DaliDecoder(VettingDecoder):
    """`device` "cpu": arrays; "mixed": tensors on the current card (numbered by `card`).

    `hw_load` is the share of a batch that the card's JPEG engines get, if it has them, 0 to 1.
    Raises DataError where DALI is missing or "mixed" finds no card.
    """

    def __init__(
        self,
        device: str = "cpu",
        *,
        threads: int,
        hw_load: float = HW_LOAD,
        batch: int = 64,
        exact: bool = True,
        card: int = 0,
    ) -> None:
        if device not in ("cpu", "mixed") or not 0 <= hw_load <= 1:
            raise ValueError(f"device {device!r} is not 'cpu' or 'mixed', or {hw_load=} not 0 to 1")
        try:
            from nvidia.dali.pipeline import Pipeline  # noqa: F401
        except ImportError:
            raise DataError(MISSING) from None
        if device == "mixed":
            check_card()
        super().__init__(threads, batch, exact)
        self.name, self.device, self.hw_load, self.card = f"DALI {device}", device, hw_load, card
        self._pipes: dict[int, Any] = {}

    def close(self) -> None:
        super().close()
        self._pipes.clear()

    def _place(self, pixels: Any) -> Any:
        return to_card(pixels, self.card) if self.device == "mixed" else pixels

    def _decode_batch(self, files: list[memoryview], channels: int) -> list[Any]:
        if channels not in self._pipes:
            self._pipes[channels] = self._build(channels)
        pipe = self._pipes[channels]
        arrays = [np.frombuffer(data, np.uint8) for data in files]
        try:
            pipe.feed_input("files", arrays)
            if self.device == "mixed":
                return self._collect(pipe)
            (found,) = pipe.run()
            return [np.require(found.at(n), requirements=["C", "O"]) for n in range(len(found))]
        except BaseException:
            del self._pipes[channels]  # DALI calls it no longer valid
            raise

    def _collect(self, pipe: Any) -> list[Any]:
        """Tensors of our own: DALI's die with the next run."""
        import torch
        from nvidia.dali.plugin.pytorch.torch_utils import to_torch_tensor

        stream = torch.cuda.current_stream(self.card)
        (found,) = pipe.run(stream)
        copies = [to_torch_tensor(found[n], copy=True) for n in range(len(found))]
        stream.synchronize()
        return copies

    def _build(self, channels: int) -> Any:
        """One pipeline for gray files, one for colour: DALI's output type is a setting."""
        from nvidia.dali import fn, types
        from nvidia.dali.pipeline import Pipeline

        settings: dict[str, Any] = {}
        if self.device == "mixed":  # affine would tie every rank's threads to the same cores
            settings = {"hw_decoder_load": self.hw_load, "affine": False}
        pipe = Pipeline(
            batch_size=self.batch,
            num_threads=self.threads,
            device_id=self.card if self.device == "mixed" else None,
            prefetch_queue_depth=1,
        )
        with pipe:
            decoded = fn.decoders.image(
                fn.external_source(name="files", no_copy=True),
                device=self.device,
                output_type=types.GRAY if channels == 1 else types.RGB,
                adjust_orientation=False,
                jpeg_fancy_upsampling=True,  # as libjpeg-turbo does
                **settings,
            )
            pipe.set_outputs(decoded)
        pipe.build()
        return pipe


def check_card() -> None:
    """Raise DataError where torch sees no CUDA device."""
    import torch

    if not torch.cuda.is_available():
        raise DataError(
            "decoding on a card needs CUDA, and torch sees no CUDA device here; use "
            "`foveate doctor` to see why, or decode on the CPU"
        )


def to_card(pixels: np.ndarray, card: int) -> Any:
    """(H,W,C) array -> the same as a tensor on that card."""
    import torch

    return torch.from_numpy(pixels).to(torch.device("cuda", card))
