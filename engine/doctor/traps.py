"""Environment variables that decide how a run goes, and the traps among them.

Only the names below are ever looked at. Of the variables in `PRESENCE` no value is shown.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from .finding import BROKEN, Finding

SHOWN = (
    *("OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_PLACES", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"),
    *("NUMBA_DISABLE_JIT", "TRITON_INTERPRET", "TORCHDYNAMO_DISABLE", "PYTHONOPTIMIZE"),
    *("CUDA_VISIBLE_DEVICES", "CUDA_LAUNCH_BLOCKING", "CUBLAS_WORKSPACE_CONFIG"),
    *("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "NCCL_DEBUG", "NCCL_IB_DISABLE"),
    *("NCCL_P2P_DISABLE", "NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"),
    *("RANK", "WORLD_SIZE", "LOCAL_RANK"),
)
PRESENCE = {
    "http_proxy": "downloads go through a proxy",
    "https_proxy": "downloads go through a proxy",
    "all_proxy": "downloads go through a proxy",
    "no_proxy": "exceptions from a proxy",
    "LD_PRELOAD": "libraries are loaded before any other",
    "LD_LIBRARY_PATH": "CUDA libraries there go before those that came with torch",
    "PYTHONPATH": "modules there go before installed packages",
    "MASTER_ADDR": "this looks like a rank of a larger job",
    "SLURM_JOB_ID": "this is inside a SLURM job",
}
Check = Callable[[str], Finding | None]


def check_environment(
    environment: Mapping[str, str], cores: int, interfaces: Sequence[str]
) -> list[Finding]:
    """Traps first, then what else is set, by name and value, then by name alone."""
    rules = _rules(cores, interfaces)
    found = [
        finding
        for name, rule in rules.items()
        if name in environment and (finding := rule(environment[name]))
    ]
    told = {finding.what for finding in found}
    plain = [f"{n}={environment[n]}" for n in SHOWN if n in environment and n not in told]
    if plain:
        found.append(Finding("ok", "set", " ".join(plain)))
    for name, why in PRESENCE.items():
        if name in environment or name.upper() in environment:
            found.append(Finding("note", name, f"is set: {why}"))
    return found or [Finding("ok", "set", "nothing that matters")]


def _rules(cores: int, interfaces: Sequence[str]) -> dict[str, Check]:
    return {
        "OMP_NUM_THREADS": lambda text: check_threads(text, cores),
        "OMP_PROC_BIND": _check_binding,
        "CUDA_VISIBLE_DEVICES": _check_visible,
        "PYTHONOPTIMIZE": _switch("PYTHONOPTIMIZE", "assertions are switched off"),
        "NUMBA_DISABLE_JIT": _switch("NUMBA_DISABLE_JIT", "the kernels run as plain Python"),
        "TRITON_INTERPRET": _switch("TRITON_INTERPRET", "Triton kernels run in an interpreter"),
        "CUDA_LAUNCH_BLOCKING": _switch("CUDA_LAUNCH_BLOCKING", "every GPU kernel is waited for"),
        "NCCL_SOCKET_IFNAME": lambda text: check_nccl_interface(text, interfaces),
        "GLOO_SOCKET_IFNAME": lambda text: check_gloo_interface(text, interfaces),
    }


def check_threads(text: str, cores: int) -> Finding | None:
    """OMP_NUM_THREADS is the number of threads that a run takes: is it one, and a good one?"""
    name, first = "OMP_NUM_THREADS", text.split(",")[0].strip()
    if not first.isdigit() or int(first) < 1:
        return Finding("bad", name, "is no whole number of 1 or more", f"unset {name}", BROKEN)
    if int(first) > cores:
        return Finding(
            "warn", name, f"{first} threads on {cores} cores take turns", f"unset {name}"
        )
    if int(first) == 1 < cores:
        said = f"1 thread, and there are {cores} cores (torchrun sets this)"
        return Finding("warn", name, said, f"unset {name}, or {name}={cores}")
    return None


def _check_binding(text: str) -> Finding | None:
    if text.lower() == "false":
        return None
    said = "importing torch then ties the main thread to one core, and threads made later with it"
    return Finding("warn", "OMP_PROC_BIND", said, "unset OMP_PROC_BIND")


def _check_visible(text: str) -> Finding | None:
    if text.strip() not in ("", "-1"):
        return None
    said = "is set and names no GPU: runs take the CPU"
    return Finding("warn", "CUDA_VISIBLE_DEVICES", said, "unset CUDA_VISIBLE_DEVICES to use GPUs")


def _switch(name: str, said: str) -> Check:
    def check(text: str) -> Finding | None:
        return Finding("warn", name, said, f"unset {name}") if text not in ("", "0") else None

    return check


def check_nccl_interface(text: str, interfaces: Sequence[str]) -> Finding | None:
    """NCCL takes prefixes, exact names after "=", and both turned round after "^"."""
    turned, exact = text.startswith("^"), text.lstrip("^").startswith("=")
    names = [name for name in text.lstrip("^=").split(",") if name]

    def named(there: str) -> bool:
        return any(there == name if exact else there.startswith(name) for name in names)

    if any(named(there) is not turned for there in interfaces):
        return None
    return _no_interface("NCCL_SOCKET_IFNAME", interfaces)


def check_gloo_interface(text: str, interfaces: Sequence[str]) -> Finding | None:
    """gloo takes whole names, separated by commas."""
    if all(name.strip() in interfaces for name in text.split(",") if name.strip()):
        return None
    return _no_interface("GLOO_SOCKET_IFNAME", interfaces)


def _no_interface(name: str, interfaces: Sequence[str]) -> Finding:
    there = ", ".join(interfaces) or "none"
    said = f"names no network interface of this machine (there are: {there})"
    return Finding("warn", name, said, f"unset {name}, or name one of them")


def network_interfaces() -> list[str]:
    """Names of this machine's network interfaces, sorted."""
    try:
        return sorted(os.listdir("/sys/class/net"))
    except OSError:
        return []
