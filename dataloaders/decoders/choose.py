"""Which decoder a machine gets: the quickest on files of the data set itself, and why."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence

from ..errors import DataError
from .contract import Decoder
from .cpu import CpuDecoder
from .dali import DaliDecoder
from .nvjpeg import NvjpegDecoder

HW_LOADS = (0.5, 0.65, 0.8)
"""Shares of a batch for the card's JPEG engines that are tried; which is best is the card's."""
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
            *(functools.partial(_dali, load, threads, exact, card) for load in HW_LOADS),
            lambda: NvjpegDecoder(threads=threads, exact=exact, card=card),
        ]
    )
    candidates: list[Decoder] = [cpu, *made]
    rates = [_rate(decoder, sample) for decoder in candidates]
    best = rates.index(max(rates))
    for decoder in candidates[:best] + candidates[best + 1 :]:
        decoder.close()
    said = ", ".join(f"{_name(d)} {r:,.0f}" for d, r in zip(candidates, rates, strict=True))
    why = (
        f"{_name(candidates[best])} decodes {len(sample)} of these files fastest (images/s: {said})"
    )
    return candidates[best], "; ".join([why, *missing])


NAMES = {"cpu": "", "dali": "DALI cpu", "dali-mixed": "DALI mixed", "nvjpeg": "nvJPEG"}
"""`data.decoder` -> the decoder's own name; empty: `decode` in the caller's threads."""


def name_of(asked: str) -> str:
    """What a pack by the decoder that `data.decoder` asks for is called after."""
    return NAMES[asked]


def make_decoder(asked: str, threads: int, card: int = 0) -> Decoder | None:
    """What `data.decoder` names, on that card; None: `decode` in the caller's own threads.

    Raises DataError where its package or its card is missing.
    """
    if asked == "cpu":
        return None
    if asked == "nvjpeg":
        return NvjpegDecoder(threads=threads, card=card)
    return DaliDecoder("mixed" if asked == "dali-mixed" else "cpu", threads=threads, card=card)


def _dali(hw_load: float, threads: int, exact: bool, card: int) -> DaliDecoder:
    return DaliDecoder("mixed", threads=threads, hw_load=hw_load, exact=exact, card=card)


def _make_all(makers: Sequence[Callable[[], Decoder]]) -> tuple[list[Decoder], list[str]]:
    """(what can be made here, why the others cannot)."""
    made, missing = [], []
    for make in makers:
        try:
            made.append(make())
        except DataError as error:
            missing.append(str(error).partition(";")[0])
    return made, missing


def _name(decoder: Decoder) -> str:
    share = f" with hw_load {decoder.hw_load}" if isinstance(decoder, DaliDecoder) else ""
    return decoder.name + share


def _rate(decoder: Decoder, sample: Sequence[bytes]) -> float:
    """Images a second, the second time; the counts begin anew."""
    decoder.decode_many(sample)
    began = time.perf_counter()
    decoder.decode_many(sample)
    seconds = time.perf_counter() - began
    decoder.counts.clear()
    return len(sample) / max(seconds, 1e-9)
