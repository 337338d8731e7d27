"""Stages of gpu_check that need none of our code: identity, copy, matrix products, JPEGs."""

from __future__ import annotations

import importlib.util
import io
import os
from typing import Any

import numpy as np
import torch
from gpu_timing import Report, rate, run_stage

OPTIONAL = {
    "simplejpeg": "JPEGs are decoded and drawn by Pillow",
    "imagecodecs": "16-bit PNGs cannot be read",
    "tifffile": "TIFFs cannot be read",
    "tyro": "the help page of recipe fields is plain",
    "mlflow": "runs are not replayed to MLflow",
    "zarr": "no zarr",
    "deepspeed": "ZeRO is not tried",
    "nvidia.dali": "DALI is not tried",
    "timm": "timm models are not tried",
}


def identity(report: Report) -> None:
    """Packages, driver, card; and what is missing."""
    cuda = torch.cuda.is_available()
    report.fact(cuda=cuda)
    with report.attempt("identity"):
        from foveate.engine.run.identity import identify

        report.found["identity"] = identify(len(os.sched_getaffinity(0)))
        report.write()
    if cuda:
        facts = torch.cuda.get_device_properties(0)
        report.fact(
            memory_gb=round(facts.total_memory / 1e9, 1),
            multiprocessors=facts.multi_processor_count,
            capability=f"{facts.major}.{facts.minor}",
            bf16=torch.cuda.is_bf16_supported(including_emulation=False),
        )
    for package, cost in OPTIONAL.items():
        if not _is_there(package):
            report.skip(f"{package} is not installed: {cost}")


def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:
        return False


def copy(report: Report) -> None:
    """Device to device, bytes read plus bytes written; then host to device, pinned and not."""
    size = 2**22 if report.rehearse else 2**31
    source = torch.empty(size, dtype=torch.uint8, device=report.device).random_(0, 256)
    target = torch.empty_like(source)
    found, bounds = _measure(report, lambda: target.copy_(source), 2 * size / 1e9)
    report.row(f"copy of {size / 1e9:.2f} GB, read and written", found, "GB/s", bounds)
    report.fact(bandwidth=found * 1e9)
    if report.device.type != "cuda":
        report.skip("host to device copies: no card")
        return
    for kind in ("pinned", "pageable"):
        host = torch.empty(size // 8, dtype=torch.uint8, pin_memory=kind == "pinned")
        part = target[: size // 8]
        found, bounds = _measure(
            report, lambda h=host, p=part: p.copy_(h, non_blocking=True), size / 8e9
        )
        report.row(f"{kind} host to device", found, "GB/s", bounds)


def matrix(report: Report) -> None:
    """Square products of random numbers: zeros draw less power and look faster."""
    side = 64 if report.rehearse else 8192
    flops = 2 * side**3 / 1e12
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16, "tf32": torch.float32}
    kinds["fp32"] = torch.float32
    for name, dtype in kinds.items():
        with report.attempt(f"matrix {name}"):
            torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
            a, b = (torch.randn(side, side, device=report.device).to(dtype) for _ in range(2))
            found, bounds = _measure(report, lambda a=a, b=b: a @ b, flops)
            report.row(f"{side} square product, {name}", found, "TFLOP/s", bounds)
            report.fact(**{f"rate_{name}": found * 1e12})
    torch.backends.cuda.matmul.allow_tf32 = False
    if report.device.type != "cuda" or torch.cuda.get_device_capability() < (8, 9):
        report.skip("fp8 products: they need a card of compute capability 8.9 or newer")
        return
    with report.attempt("matrix fp8"):
        _multiply_fp8(report, side, flops)


def _multiply_fp8(report: Report, side: int, flops: float) -> None:
    one = torch.ones((), device=report.device)
    a, b = (torch.randn(side, side, device=report.device).to(torch.float8_e4m3fn) for _ in range(2))
    found, bounds = _measure(
        report,
        lambda: torch._scaled_mm(a, b.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16),
        flops,
    )
    report.row(f"{side} square product, fp8", found, "TFLOP/s", bounds)


def decode(report: Report) -> None:
    """torchvision's decode_jpeg, batched on the card, beside one CPU thread of the same."""
    from torchvision.io import ImageReadMode, decode_jpeg

    torch.set_num_threads(1)
    count = 8 if report.rehearse else 512
    for kind, mode in (("gray", ImageReadMode.GRAY), ("RGB", ImageReadMode.RGB)):
        files = [
            torch.frombuffer(bytearray(draw_jpeg(kind, n)), dtype=torch.uint8) for n in range(8)
        ]
        batch = [files[n % 8] for n in range(count)]
        some = batch[: 8 if report.rehearse else 64]
        cpu, bounds = _measure(
            report, lambda s=some, m=mode: [decode_jpeg(f, m) for f in s], len(some)
        )
        what = f"JPEG 496 x 512 {kind}, {len(files[0]) / 1e3:.0f} kB"
        report.row(f"{what}, one CPU thread", cpu, "images/s", bounds)
        if report.device.type != "cuda":
            report.skip(f"decoding {kind} on the card: no card")
            continue
        for size in (64, count):
            with report.attempt(f"CUDA decode {kind} {size}"):
                part = batch[:size]
                found, bounds = _measure(
                    report, lambda p=part, m=mode: decode_jpeg(p, m, device="cuda"), size
                )
                report.row(
                    f"{what}, card, {size} a call", found, "images/s", bounds, "one CPU thread", cpu
                )
        with report.attempt(f"CUDA decode {kind} against CPU"):
            pair = (
                decode_jpeg(files[0], mode),
                decode_jpeg([files[0]], mode, device="cuda")[0].cpu(),
            )
            apart = float((pair[0].int() - pair[1].int()).abs().max())
            report.row(f"{what}, largest difference card to CPU", apart, "levels")


def draw_jpeg(kind: str, seed: int) -> bytes:
    """A speckled 496 x 512 picture of about 50 kB gray, written by Pillow."""
    from PIL import Image

    noise = np.random.default_rng(seed)
    y = np.linspace(0, 12, 496)[:, None, None]
    light = 90 + 60 * np.sin(y + noise.uniform(0, 6)) * np.ones((1, 512, 3))
    light = light + noise.normal(0, 14, light.shape)
    pixels = light.clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if kind == "gray" else pixels)
    image.save(file, "JPEG", quality=75)
    return file.getvalue()


def _measure(report: Report, work: Any, amount: float) -> tuple[float, tuple[float, float]]:
    return rate(work, amount, report.device, report.rehearse)


if __name__ == "__main__":
    run_stage({"identity": identity, "copy": copy, "matrix": matrix, "decode": decode})
