"""Imports packages in a process of its own, so that one that crashes or hangs is found out.

Run as a script, with what to do as JSON on standard input; it imports nothing of foveate. Each
line that it writes is one JSON object: which package it is about to import, then how that went.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any, TextIO


def main() -> None:
    """Import each package that standard input names and report on the descriptor it names."""
    asked = json.load(sys.stdin)
    sys.path[:] = asked["path"]
    with open(asked["report"], "w") as report:
        for module in asked["modules"]:
            tell(report, {"begins": module})
            tell(report, {"module": module, **attempt(module)})
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what is said while Python shuts down


def tell(report: TextIO, facts: dict[str, Any]) -> None:
    """One line, at once."""
    report.write(json.dumps(facts) + "\n")
    report.flush()


def attempt(module: str) -> dict[str, Any]:
    """Import one module -> its version and what else it can tell, or the error's first line."""
    began = time.perf_counter()
    try:
        found = importlib.import_module(module)
        facts = LOOKS.get(module, lambda: {})()
    except BaseException as error:
        line = next(iter(str(error).splitlines()), "")
        missing = isinstance(error, ModuleNotFoundError) and error.name == module
        return {"error": f"{type(error).__name__}: {line}"[:300], "missing": missing}
    version = getattr(found, "__version__", "")
    seconds = round(time.perf_counter() - began, 2)
    return {"version": str(version), "seconds": seconds, "facts": facts}


def look_at_torch() -> dict[str, Any]:
    """Builds, CPU capability, and every GPU that torch sees."""
    import torch

    facts: dict[str, Any] = {
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "distributed": torch.distributed.is_available(),
        "gpus": [],
    }
    if torch.version.cuda:  # get_arch_list answers only where there is a GPU
        facts["arch"] = (torch._C._cuda_getArchFlags() or "").split()
    if torch.cuda.is_available():
        facts["cudnn"] = torch.backends.cudnn.version()
        facts["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
        facts["gpus"] = [_look_at_gpu(number) for number in range(torch.cuda.device_count())]
    elif torch.version.cuda:
        facts["why"] = _why_no_gpu()
    return facts


def _look_at_gpu(number: int) -> dict[str, Any]:
    import torch

    card = torch.cuda.get_device_properties(number)
    return {
        "name": card.name,
        "capability": [card.major, card.minor],
        "memory": card.total_memory,
        "processors": card.multi_processor_count,
    }


def _why_no_gpu() -> str:
    """What torch says when CUDA is started and cannot be: its first line."""
    import torch

    try:
        torch.cuda.init()
    except Exception as error:
        return next(iter(str(error).splitlines()), type(error).__name__)
    return "no device is visible"


def look_at_nvml() -> dict[str, Any]:
    """Driver version and free memory of each card; empty where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return {"why": str(error)}
    cards = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]
    free = [pynvml.nvmlDeviceGetMemoryInfo(card).free for card in cards]
    return {"driver": str(pynvml.nvmlSystemGetDriverVersion()), "free": free}


def look_at_apex() -> dict[str, Any]:
    """Whether this is NVIDIA's apex: it has fused optimizers and a compiled amp_C."""
    facts: dict[str, Any] = {}
    for part in ("apex.optimizers", "amp_C"):
        try:
            importlib.import_module(part)
            facts[part] = True
        except Exception:
            facts[part] = False
    return facts


LOOKS = {"torch": look_at_torch, "pynvml": look_at_nvml, "apex": look_at_apex}


if __name__ == "__main__":
    main()
