"""Which machine, packages and code a result comes from. No host name, no user, no secret."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = (
    "foveate", "torch", "torchvision", "numpy", "numba", "triton", "simplejpeg", "imagecodecs",
    "tifffile", "safetensors", "timm", "nvidia-dali-cuda130", "deepspeed", "mlflow-skinny",
)  # fmt: skip


def identify(threads: int) -> dict[str, Any]:
    """The facts that a number depends on, as plain values."""
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "cuda": torch.version.cuda or "none",
        "threads": threads,
        "load": round(os.getloadavg()[0], 2),
        "commit": _commit(),
    }


def _cpu() -> str:
    """The model name as the kernel tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    """Commit of the checkout that this code runs from; "+" where files were changed since."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return "not a checkout"
    try:
        commit = _git(here, "rev-parse", "--short=12", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return commit + ("+" if changed else "")


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()
