"""nvJPEG through torchvision, which a machine with a card and little else has.

torchvision has one decoder a process behind a lock, writes on a stream of its own, and waits for it
before it returns. It takes its output memory from the current stream without telling either, so
memory that the current stream is still reading could be written: decoding runs under a stream that
has nothing else to do. Chroma is repeated, not interpolated as libjpeg-turbo does.
"""

from __future__ import annotations

import warnings
from typing import Any

from .dali import check_card, to_card
from .vetting import VettingDecoder


class NvjpegDecoder(VettingDecoder):
    """Tensors on card number `card`. Raises DataError where torch sees no card.

    `threads` vet files and decode those that are not for the card.
    """

    name = "nvJPEG"

    def __init__(self, *, threads: int, batch: int = 64, exact: bool = True, card: int = 0) -> None:
        check_card()
        import torch

        super().__init__(threads, batch, exact)
        self.device = torch.device("cuda", card)
        self._stream = torch.cuda.Stream(self.device)

    def _place(self, pixels: Any) -> Any:
        return to_card(pixels, self.device.index)

    def _decode_batch(self, files: list[memoryview], channels: int) -> list[Any]:
        import torch
        from torchvision.io import ImageReadMode, decode_jpeg

        mode = ImageReadMode.GRAY if channels == 1 else ImageReadMode.RGB
        sources = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]
        caller = torch.cuda.current_stream(self.device)
        self._stream.synchronize()  # its last copies have to be over before their memory is reused
        with torch.cuda.stream(self._stream), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TorchCodec is to follow it
            planes = decode_jpeg(sources, mode, device=self.device)
            found = [one.permute(1, 2, 0).contiguous() for one in planes]
        caller.wait_stream(self._stream)
        for one in found:
            one.record_stream(caller)
        return found
