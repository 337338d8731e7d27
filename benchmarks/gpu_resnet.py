"""Stages of gpu_check: ResNet-50 at 224 px in bf16, channels-last, data on the card.

Eager, compiled and as a CUDA graph at several batch sizes, each beside the roofline that this
card's own copy bandwidth and matrix rate allow (roofline.py). Nothing here is our code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from gpu_timing import Report, rate, run_stage
from roofline import images_per_s, limited_by, operations, traffic
from torch import nn

BATCHES = (16, 64, 256, 512)
CLASSES = 4


class Step:
    """One training step on images that are there: forward, backward, fused SGD."""

    def __init__(self, report: Report, batch: int, channels_last: bool = True) -> None:
        self.name, self.side = ("resnet18", 32) if report.rehearse else ("resnet50", 224)
        self.device = report.device
        torch.manual_seed(0)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        model = make(self.name).to(self.device)
        self.model: nn.Module = model.to(memory_format=layout).train()
        image = torch.randn(batch, 3, self.side, self.side, device=self.device)
        self.image = image.to(torch.bfloat16, memory_format=torch.channels_last)
        self.label = torch.arange(batch, device=self.device) % CLASSES
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9, fused=True)
        self.forward: Callable[..., Any] = self.model

    def __call__(self) -> torch.Tensor:
        """Returns the () loss, still on the device."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False):
            answer = self.forward(self.image)
        loss = nn.functional.cross_entropy(answer.float(), self.label)
        loss.backward()
        self.optimizer.step()
        return loss


def make(name: str) -> nn.Module:
    """torchvision's model with four classes."""
    from torchvision import models

    return models.get_model(name, num_classes=CLASSES)


def eager(report: Report) -> None:
    """Every batch size; then what the Trainer does: contiguous weights, deterministic cuDNN."""
    for batch in batches(report):
        with report.attempt(f"eager {batch}"):
            show(report, f"batch {batch}, eager", Step(report, batch), batch)
    batch = 2 if report.rehearse else 256
    with report.attempt("contiguous weights"):
        step = Step(report, batch, channels_last=False)
        show(report, f"batch {batch}, eager, contiguous weights", step, batch)
        del step
    with report.attempt("deterministic"):
        torch.backends.cudnn.deterministic = True
        show(report, f"batch {batch}, eager, deterministic", Step(report, batch), batch)


def compiled(report: Report) -> None:
    """torch.compile, the large batch first: compiling takes tens of seconds."""
    kind = "aot_eager" if report.rehearse else "inductor"
    for batch in sorted(batches(report), reverse=True):
        with report.attempt(f"compiled {batch}"):
            step = Step(report, batch)
            step.forward = torch.compile(step.model, backend=kind, dynamic=False)
            show(report, f"batch {batch}, compiled", step, batch)
            torch.compiler.reset()


def graph(report: Report) -> None:
    """The whole step as one CUDA graph."""
    if report.device.type != "cuda":
        report.skip("CUDA graphs: no card")
        return
    for batch in batches(report):
        with report.attempt(f"graph {batch}"):
            step = Step(report, batch)
            show(report, f"batch {batch}, CUDA graph", capture(step), batch, step)


def capture(step: Step) -> Callable[[], None]:
    """A captured step; three on a side stream first, as capturing wants it. Checks the loss."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    step.optimizer.zero_grad(set_to_none=True)
    whole = torch.cuda.CUDAGraph()
    with torch.cuda.graph(whole):
        loss = step()
    whole.replay()
    before = float(loss)
    for _ in range(20):
        whole.replay()
    if not float(loss) < before:
        raise RuntimeError(f"20 replays took the loss from {before:.4f} to {float(loss):.4f}")
    return whole.replay


def batches(report: Report) -> Iterator[int]:
    """Batch sizes to try."""
    yield from (2,) if report.rehearse else BATCHES


def show(
    report: Report, how: str, work: Callable[[], Any], batch: int, step: Step | None = None
) -> None:
    """Measure, and put it beside the roofline where bandwidth and matrix rate are known."""
    step = step or (work if isinstance(work, Step) else None)
    found, bounds = rate(work, batch, report.device, report.rehearse)
    bandwidth, peak = (report.before.get(name) for name in ("bandwidth", "rate_bf16"))
    floor = None
    if step and bandwidth and peak:
        passes = operations(make(step.name), 3, step.side)
        floor = images_per_s(passes, peak, bandwidth)
        limit = limited_by(passes, peak, bandwidth)
        print(f"roofline {floor:.0f} images/s, {traffic(passes) / 1e6:.0f} MB an image, {limit}")
    name = f"{step.name} {step.side} px bf16 train, {how}" if step else how
    report.row(name, found, "images/s", bounds, "roofline" if floor else None, floor)


if __name__ == "__main__":
    run_stage({"eager": eager, "compiled": compiled, "graph": graph})
