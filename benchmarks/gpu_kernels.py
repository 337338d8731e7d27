"""Stages of gpu_check for kernels/: right on this card by the tolerance rule, then how quick.

`kernels` runs every example of every operation on each back end that a card has (triton, cuda)
against the reference. `speed` times `sample` on pixels that lie on the card, beside the copy
bandwidth of the stage `copy`, torchvision v2 on the same card, and a ResNet-50 step. Without a card
a rehearsal does the same with the back end of the CPU, tiny.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from gpu_timing import Report, rate, run_stage

from foveate.kernels.op import Example, Op, load
from foveate.kernels.sample.augment import Augment
from foveate.kernels.sample.op import SAMPLE
from foveate.kernels.sample.params import resolve

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CROP = Augment(area=(0.5, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5, brightness=0.2, contrast=0.2)
TURNED = replace(CROP, area=(0.08, 1.0), rotate=15.0)


@dataclass(frozen=True)
class Case:
    """One kind of batch."""

    name: str
    shape: tuple[int, int, int]
    augment: Augment


CASES = (
    Case("gray 256 x 256, shrink about 1", (256, 256, 1), CROP),
    Case("gray 496 x 768, turned by up to 15 degrees", (496, 768, 1), TURNED),
    Case("RGB 512 x 512", (512, 512, 3), CROP),
)


def kernels(report: Report) -> None:
    """Every example, back end and dtype; a row counts them, failures are named."""
    for op in load().values():
        for backend in backends(report, op):
            with report.attempt(f"{op.name} on {backend}"):
                wrong = [
                    why for one in op.examples() for why in differences(report, op, backend, one)
                ]
                total = len(op.examples()) * len(dtypes(op))
                report.row(
                    f"{op.name} on {backend}: examples as exact as the reference",
                    total - len(wrong), "runs", None, "of", total,
                )  # fmt: skip
                report.found["failed"] += wrong
                report.write()


def backends(report: Report, op: Op) -> list[str]:
    """Those to try here; the others are named with the reason."""
    if report.device.type != "cuda":
        for name in set(op.backends) - {"cpu"}:
            report.skip(f"{op.name} on {name}: no card")
        return ["cpu"] if report.rehearse and "cpu" in op.backends else []
    found = [name for name in ("triton", "cuda") if name in op.backends]
    for name in {"triton", "cuda"} - set(found):
        report.skip(f"{op.name} has no back end {name}")
    return found


def differences(report: Report, op: Op, backend: str, example: Example) -> Iterator[str]:
    """What breaks the rule, in words: one for each dtype that does or raises.

    Operations on integers have no dtype to choose and give the same bits.
    """
    args = [one.to(report.device) for one in example.args]
    settings = {name: _placed(value, report.device) for name, value in example.settings.items()}
    for wanted in dtypes(op):
        what = " ".join([f"{op.name} on {backend}, {example.name}", *map(str, wanted.values())])
        try:
            ours = op.run(*args, backend=backend, **settings, **wanted).cpu()
        except (RuntimeError, ValueError, ImportError, NotImplementedError) as error:
            yield f"{what}: {type(error).__name__}: {' '.join(str(error).split())[:120]}"
            continue
        if why := distance(op, example, ours, wanted):
            yield f"{what}: {why}"


def dtypes(op: Op) -> list[dict[str, torch.dtype]]:
    """The settings that every example is tried with."""
    return [{}] if op.exact else [{"dtype": dtype} for dtype in DTYPES]


def distance(op: Op, example: Example, ours: torch.Tensor, wanted: dict[str, torch.dtype]) -> str:
    """Why a result is not good enough, or nothing."""
    same = op.reference(*example.args, **example.settings, **wanted)
    if ours.dtype != same.dtype or ours.shape != same.shape:
        return f"error, {ours.dtype} {tuple(ours.shape)} for {same.dtype} {tuple(same.shape)}"
    if op.exact or not ours.numel():
        return "" if torch.equal(ours, same) else "error, not the same bits"
    exact = op.reference(*example.args, **example.settings, dtype=torch.float64)
    error, theirs = (float((one.double() - exact).abs().max()) for one in (ours, same))
    bound = 2 * theirs + torch.finfo(ours.dtype).eps * float(exact.abs().max())
    return "" if error <= bound else f"error {error:.2e}, {bound:.2e} allowed"


def _placed(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value


def speed(report: Report) -> None:
    """us a batch, GB/s and share of a copy; torchvision beside it; share of a ResNet-50 step."""
    count = 4 if report.rehearse else 256
    size = 32 if report.rehearse else 224
    copied = report.before.get("bandwidth") or 0.0
    if not copied:
        report.skip("shares of the copy bandwidth: the stage copy did not measure it")
    step_us = time_step(report, count)
    for case in CASES:
        if report.rehearse:
            case = replace(case, shape=(40, 48, case.shape[2]))
        for backend in backends(report, SAMPLE):
            with report.attempt(f"sample on {backend}, {case.name}"):
                time_case(report, case, backend, count, size, copied, step_us)


def time_case(
    report: Report, case: Case, backend: str, count: int, size: int, copied: float, step_us: float
) -> None:
    """Rows of one kind of batch on one back end."""
    args, settings = make_batch(report, case, count, size)
    moved = SAMPLE.traffic(*[one.cpu() for one in args], **settings)
    out = SAMPLE.run(*args, backend=backend, **settings)
    us, bounds = time_us(report, lambda: SAMPLE.run(*args, backend=backend, out=out, **settings))
    what = f"sample on {backend}, {case.name} to {size}, batch {count}"
    report.row(what, us, "us", bounds)
    if copied:
        found = moved / us / 1e3
        report.row(f"{what}: traffic", found, "GB/s", None, "copy", copied / 1e9)
    if step_us:
        report.row(f"{what}: of a ResNet-50 step", us / step_us, "share")
    with report.attempt(f"torchvision, {case.name}"):
        theirs, bounds = time_us(report, with_torchvision(report, case, count, size))
        report.row(
            f"torchvision v2, {case.name} to {size}, batch {count}", theirs, "us", bounds, what, us
        )


def make_batch(
    report: Report, case: Case, count: int, size: int
) -> tuple[list[torch.Tensor], dict[str, Any]]:
    """A resident pack of noise and its rows, on the device; bf16 out."""
    length, channels = int(np.prod(case.shape)), case.shape[2]
    pixels = torch.randint(0, 256, (count * length + 8,), dtype=torch.uint8)
    shape = torch.tensor([case.shape] * count, dtype=torch.int32)
    start = torch.arange(count, dtype=torch.int64) * length
    index = np.arange(count)
    rows = resolve(case.augment, shape.numpy(), size, seed=0, epoch=0, index=index)
    args = [pixels, start, shape, torch.from_numpy(rows)]
    settings: dict[str, Any] = {"size": size, "channels": channels, "dtype": torch.bfloat16}
    settings |= {"mean": MEAN[:channels], "std": STD[:channels]}
    return [one.to(report.device) for one in args], settings


def with_torchvision(report: Report, case: Case, count: int, size: int) -> Callable[[], Any]:
    """transforms.v2 on uint8 tensors on the device, image by image: each draws its own."""
    from torchvision.transforms import InterpolationMode, v2

    height, width, channels = case.shape
    augment, device = case.augment, report.device
    ratio = tuple(end * width / height for end in augment.ratio)
    steps: list[Any] = [
        v2.RandomResizedCrop(size, augment.area, ratio, antialias=True),
        v2.RandomHorizontalFlip(augment.flip),
    ]
    if augment.rotate:
        steps.append(v2.RandomRotation(augment.rotate, InterpolationMode.BILINEAR))
    steps += [
        v2.ColorJitter(augment.brightness, augment.contrast),
        v2.ToDtype(torch.bfloat16, scale=True),
        v2.Normalize(MEAN[:channels], STD[:channels]),
    ]
    chain = v2.Compose(steps)
    images = torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8)
    images = images.to(device)
    return lambda: torch.stack([chain(image) for image in images])


def time_step(report: Report, count: int) -> float:
    """us of a training step of ResNet-50 on a batch that is there; 0 where it does not run."""
    from gpu_resnet import Step

    with report.attempt("the step beside it"):
        return time_us(report, Step(report, count))[0]
    return 0.0


def time_us(report: Report, work: Callable[[], Any]) -> tuple[float, tuple[float, float]]:
    """(us a call, bounds of the median)."""
    found, (slow, fast) = rate(work, 1.0, report.device, report.rehearse)
    return 1e6 / found, (1e6 / fast, 1e6 / slow)


if __name__ == "__main__":
    run_stage({"kernels": kernels, "speed": speed})
