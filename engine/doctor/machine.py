"""The machine: cores, memory and vector units, and GPUs with whether torch has kernels for them."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

from .finding import Finding
from .imports import Imported

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")
CGROUP, LISTED = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def check_cpu(imported: Imported) -> list[Finding]:
    """Model, cores that may be used of those that are there, vector units, memory."""
    cpuinfo = _read(Path("/proc/cpuinfo"))
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.M)
    name = model[1] if model else platform.machine()
    return [
        Finding("ok", "CPU", f"{name}, {platform.system()} {platform.machine()}"),
        check_cores(os.cpu_count() or 1, available_cores(), quota()),
        check_vectors(cpuinfo, imported.facts.get("cpu", "")),
        check_memory(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), memory_limit()),
    ]


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota(root: Path = CGROUP, listed: Path = LISTED) -> float:
    """Cores' worth of time that the control groups allow; infinite where none limits."""
    return min((_quota(folder) for folder in groups("cpu", root, listed)), default=inf)


def _quota(folder: Path) -> float:
    words = _read(folder / "cpu.max").split() or [
        _read(folder / "cpu.cfs_quota_us").strip(),
        _read(folder / "cpu.cfs_period_us").strip(),
    ]
    if len(words) < 2 or not words[0].isdigit() or not words[1].isdigit():
        return inf
    return int(words[0]) / max(int(words[1]), 1)


def groups(controller: str, root: Path, listed: Path) -> list[Path]:
    """Folders of this process's control groups, its own and all above: the tightest counts.

    `listed` holds lines `0::/job/step` (version 2) or `4:memory:/job/step` (version 1).
    """
    found = []
    for line in _read(listed).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "" or controller in controllers.split(","):
            top = root / controller if controllers else root
            inner = top / path.lstrip("/")
            found += [inner, *(above for above in inner.parents if above.is_relative_to(top))]
    return [*found, root, root / controller]


def check_cores(present: int, available: int, allowed: float) -> Finding:
    """A quota below the cores that are seen makes threads wait for each other."""
    said = f"{available} of {present} may be used"
    if allowed < available:
        few = max(1, int(allowed))
        return Finding(
            "warn",
            "cores",
            f"{said}, but the control group gives the time of {allowed:g}: threads take turns",
            f"OMP_NUM_THREADS={few}, or a larger limit (docker --cpus, the pod's cpu limit)",
        )
    return Finding("ok", "cores", said)


def check_vectors(cpuinfo: str, capability: str) -> Finding:
    """Whether bf16 is computed in hardware: it decides what `precision auto` takes."""
    has = set(cpuinfo.partition("flags")[2].partition("\n")[0].split())
    found = [flag for flag in FLAGS if flag in has]
    units = f"{', '.join(found) or 'no AVX2'}; torch uses {capability or 'an unknown capability'}"
    if {"avx512_bf16", "amx_bf16"} & has:
        return Finding("ok", "vector units", f"{units}; bf16 in hardware")
    return Finding("note", "vector units", f"{units}; no bf16 in hardware: a CPU run takes fp32")


def memory_limit(root: Path = CGROUP, listed: Path = LISTED) -> float:
    """Bytes that the control groups allow; infinite where none limits."""
    limits = [inf]
    for folder in groups("memory", root, listed):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(folder / name).strip()
            if text.isdigit() and int(text) < 1 << 60:  # version 1 writes 2**63 - 4096 for none
                limits.append(int(text))
    return min(limits)


def check_memory(present: int, allowed: float) -> Finding:
    """Memory of the machine, and of the control group where it is less."""
    said = f"{present / 1e9:.1f} GB"
    if allowed < present:
        said += f", of which the control group allows {allowed / 1e9:.1f} GB"
    if min(present, allowed) < 2e9:
        return Finding("warn", "memory", f"{said}: importing torch takes half a GB of it")
    return Finding("ok", "memory", said)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def check_gpus(torch: Imported, nvml: Imported, cards: int) -> list[Finding]:
    """What torch can do with the GPUs; `cards` is how many the driver's folder lists."""
    if torch.error:
        return []
    facts, found = torch.facts, []
    build = f"CUDA {facts['cuda']}" if facts.get("cuda") else "no GPU support"
    found.append(
        Finding("ok", "torch build", f"{build}, {say_architectures(facts.get('arch', []))}")
    )
    if facts["gpus"]:
        driver = nvml.facts.get("driver") or driver_version()
        stack = f"driver {driver or 'unknown'}, cuDNN {facts['cudnn']}, NCCL {facts['nccl']}"
        found.append(Finding("ok", "GPU libraries", stack))
        free = nvml.facts.get("free", [])
        for number, gpu in enumerate(facts["gpus"]):
            left = free[number] if len(free) == len(facts["gpus"]) else None
            found.append(check_gpu(number, gpu, facts["arch"], left))
    elif cards and not _hidden():
        why = facts.get("why", "this torch was built without CUDA")
        said = f"the driver has {cards}, torch sees none: {why}"
        fix = "install a torch whose CUDA the driver supports; until then runs take the CPU"
        found.append(Finding("warn", "GPU", said, fix))
    else:
        found.append(Finding("note", "GPU", "none is visible: runs take the CPU"))
    return found


def say_architectures(names: Iterable[str]) -> str:
    """`kernels for sm 75 80 90` from torch's list."""
    numbers = [name.removeprefix("sm_") for name in names if name.startswith("sm_")]
    return f"kernels for sm {' '.join(numbers)}" if numbers else "no GPU kernels"


def check_gpu(
    number: int, gpu: Mapping[str, Any], names: Sequence[str], free: int | None
) -> Finding:
    """One card: does torch's wheel hold kernels that it can run?"""
    major, minor = gpu["capability"]
    said = f"{gpu['name']}, sm {major}{minor}, {gpu['memory'] / 2**30:.0f} GiB"
    if free is not None:
        said += f" ({free / 2**30:.0f} free)"
    said += f", {gpu['processors']} multiprocessors"
    fit = match_kernels((major, minor), names)
    if fit == "none":
        fix = "install a torch build for this card (older cards: its CUDA 12 wheels)"
        return Finding("bad", f"GPU {number}", f"{said}: this torch has no kernels for it", fix)
    if fit == "ptx":
        return Finding(
            "warn", f"GPU {number}", f"{said}: kernels are compiled at first use, slowly"
        )
    return Finding("ok", f"GPU {number}", said)


def match_kernels(capability: tuple[int, int], names: Sequence[str]) -> str:
    """ "native", "ptx" or "none" for a card and torch's list of architectures.

    Machine code runs on cards of the same major number and the same minor or higher (that of
    sm_90a only on sm_90); PTX is compiled for any later card.
    """
    major, minor = capability
    for name in names:
        code = re.fullmatch(r"sm_(\d+)(\d)([af]?)", name)
        if code and int(code[1]) == major:
            exact = int(code[2]) == minor
            if exact or (int(code[2]) < minor and code[3] != "a"):
                return "native"
    for name in names:
        code = re.fullmatch(r"compute_(\d+)(\d)", name)
        if code and (int(code[1]), int(code[2])) <= capability:
            return "ptx"
    return "none"


def driver_cards() -> int:
    """GPUs that NVIDIA's driver lists, seen or not by torch."""
    try:
        return len(os.listdir("/proc/driver/nvidia/gpus"))
    except OSError:
        return 0


def driver_version() -> str:
    """Version of NVIDIA's kernel driver; empty where there is none."""
    found = re.search(r"\b(\d{3}\.\d+(?:\.\d+)?)\b", _read(Path("/proc/driver/nvidia/version")))
    return found[1] if found else ""


def _hidden() -> bool:
    return os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")


def say_interpreter() -> str:
    """`3.11.7, Linux x86_64`"""
    return f"{sys.version.split()[0]}, {platform.system()} {platform.release()}"
