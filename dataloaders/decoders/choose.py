"""Which decoder a machine gets: the quickest on files of the data set itself, and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..errors import DataError
from .contract import Decoder
from .cpu import CpuDecoder
from .dali import DaliDecoder
from .nvjpeg import NvjpegDecoder

LEAST = 64
"""Files: fewer say nothing about a card that decodes them by the batch."""


def choose_decoder(
    device: str, sample: Sequence[bytes] = (), *, threads: int, exact: bool = True, card: int = 0
) -> tuple[Decoder, str]:
    """(decoder, one sentence that says why). `device` "cpu" or "cuda": where pixels are wanted.

    For a card every decoder that is installed decodes `sample` (64 files or more) twice, and the
    one that was quickest the second time is taken. With `exact` off, damage inside a scan is only
    found by the CPU: for files whose soundness is known. Packages that are missing are no error.
    """
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'cpu' or 'cuda', got {device!r}")
    cpu = CpuDecoder(threads)
    plain = f"libjpeg-turbo in {threads} threads decodes"
    if device == "cpu":
        return cpu, f"{plain}, because pixels are wanted in host memory"
    if len(sample) < LEAST:
        return cpu, f"{plain}, because {len(sample)} files are too few to time a card on"
    made, missing = _make_all(
        [
            lambda: DaliDecoder("mixed", threads=threads, exact=exact, card=card),
            lambda: NvjpegDecoder(threads=threads, exact=exact, card=card),
        ]
    )
    candidates: list[Decoder] = [cpu, *made]
    rates = [_rate(decoder, sample) for decoder in candidates]
    best = rates.index(max(rates))
    for decoder in candidates[:best] + candidates[best + 1 :]:
        decoder.close()
    said = ", ".join(f"{d.name} {r:,.0f}" for d, r in zip(candidates, rates, strict=True))
    why = f"{candidates[best].name} decodes {len(sample)} of these files fastest (images/s: {said})"
    return candidates[best], "; ".join([why, *missing])


def make_decoder(asked: str, sample: Sequence[bytes], threads: int) -> tuple[Decoder | None, str]:
    """What `data.decoder` names -> (decoder, why); None: `decode` in the caller's own threads.

    Raises DataError where its package or its card is missing.
    """
    if asked == "cpu":
        return None, ""
    if asked == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        decoder, why = choose_decoder(device, sample, threads=threads)
        return (None if isinstance(decoder, CpuDecoder) else decoder), why
    if asked == "nvjpeg":
        return NvjpegDecoder(threads=threads), "asked for"
    return DaliDecoder("mixed" if asked == "dali-mixed" else "cpu", threads=threads), "asked for"


def _make_all(makers: Sequence[Callable[[], Decoder]]) -> tuple[list[Decoder], list[str]]:
    """(what can be made here, why the others cannot)."""
    made, missing = [], []
    for make in makers:
        try:
            made.append(make())
        except DataError as error:
            missing.append(str(error).partition(";")[0])
    return made, missing


def _rate(decoder: Decoder, sample: Sequence[bytes]) -> float:
    """Images a second, the second time; the counts begin anew."""
    decoder.decode_many(sample)
    began = time.perf_counter()
    decoder.decode_many(sample)
    seconds = time.perf_counter() - began
    decoder.counts.clear()
    return len(sample) / max(seconds, 1e-9)
