"""What an operation is here: one reference, one function per kind of device, examples, traffic.

Dispatch goes by the device of the first tensor and never falls back in silence: a batch on a GPU
that only the CPU can process is an error with a name, not a run that is 50 times too slow.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

PREFERRED = {"cpu": ("cpu", "triton"), "cuda": ("triton", "cuda")}
"""Back ends by device type, the best first. Triton serves a CPU only under TRITON_INTERPRET=1."""

BACKENDS = ("triton", "cuda", "cpu")
LOG = logging.getLogger("foveate")

OPS: dict[str, Op] = {}
"""Every operation by name; filled as their modules are imported (`load` imports them all)."""


@dataclass(frozen=True)
class Example:
    """One call: `op.run(*args, **settings)`."""

    name: str
    args: tuple[torch.Tensor, ...]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Op:
    """An operation: `reference` says what it means, `backends` do it fast."""

    name: str
    reference: Callable[..., torch.Tensor]
    """Written for clarity; takes `dtype` and computes in float64 when that is float64."""
    backends: Mapping[str, Callable[..., torch.Tensor]]
    """{"cpu": ..., "triton": ..., "cuda": ...}, the last two for cards. Arguments as above."""
    examples: Callable[[], list[Example]]
    """Small calls on the CPU that cover the odd cases; tests and benchmarks run all of them."""
    traffic: Callable[..., int]
    """Bytes read plus bytes written by a call with these arguments, each byte counted once."""
    exact: bool = False
    """The result is integers, the same on every back end; `reference` then takes no `dtype`."""

    def __post_init__(self) -> None:
        OPS[self.name] = self

    def choose(self, device: torch.device) -> str:
        """The name of the back end for a device, logged at INFO when it is first chosen.

        FOVEATE_BACKEND=triton, cuda or cpu asks for one. NotImplementedError if there is none, or
        if the one asked for cannot serve the device; ValueError for another name.
        """
        asked = os.environ.get("FOVEATE_BACKEND", "")
        if asked and asked not in BACKENDS:
            raise ValueError(f"FOVEATE_BACKEND must be {' or '.join(BACKENDS)}, got {asked!r}")
        refused = {name: self._refusal(name, device) for name in PREFERRED.get(device.type, ())}
        if asked and (why := refused.get(asked, f"it does not run on {device.type}")):
            where = f"FOVEATE_BACKEND={asked} cannot serve {self.name} on {device}"
            raise NotImplementedError(f"{where}: {why}")
        for name, why in refused.items():
            if not why and name == (asked or name):
                passed = [f"{other}: {refused[other]}" for other in _before(name, refused)]
                reason = "FOVEATE_BACKEND asks for it" if asked else "; ".join(passed)
                _say(self.name, str(device), name, reason or "the first choice")
                return name
        there = ", ".join(sorted(self.backends)) or "nothing"
        raise NotImplementedError(f"{self.name} has no back end for {device}, only {there}")

    def _refusal(self, name: str, device: torch.device) -> str:
        """Why back end `name` cannot serve the device; "" if it can."""
        if name not in self.backends:
            return "not written"
        if name != "triton":
            return ""
        if not _has_triton():
            return "triton is not installed"
        interpreted = os.environ.get("TRITON_INTERPRET") == "1"
        return "" if device.type == "cuda" or interpreted else "only under TRITON_INTERPRET=1"

    def run(self, first: torch.Tensor, *args: Any, backend: str = "", **settings: Any) -> Any:
        """Call `backend`, or the one of the device that the first tensor is on."""
        return self.backends[backend or self.choose(first.device)](first, *args, **settings)


@functools.cache  # a search of the path, and every call of an operation asks
def _has_triton() -> bool:
    return find_spec("triton") is not None


def _before(name: str, names: Mapping[str, str]) -> list[str]:
    return list(names)[: list(names).index(name)]


@functools.cache  # once per operation, device and choice
def _say(op: str, device: str, name: str, reason: str) -> None:
    LOG.info("%s on %s runs on the %s back end (%s)", op, device, name, reason)


def load() -> dict[str, Op]:
    """Import every module of the folder that defines operations -> OPS. Compiles nothing."""
    root = Path(__file__).parent
    for path in sorted([*root.glob("*.py"), *root.glob("*/op.py")]):
        name = ".".join(path.relative_to(root).with_suffix("").parts)
        importlib.import_module(f"{__package__}.{name}")
    return OPS


def jit(function: Callable[..., Any], *, exact: bool = False) -> Callable[..., Any]:
    """Compile a serial function with numba on its first call, without the interpreter lock.

    Sums may be reordered and fused (twice as fast: they vectorise), but NaN and infinity keep
    their meaning; `exact` keeps the written order, whatever the CPU's vectors are. Without numba
    the function can be imported, and says what to install when called.
    """
    try:
        import numba
    except ImportError:
        return _missing(function)
    folder = cache_folder()
    before = numba.config.CACHE_DIR
    try:
        # numba reads the setting only here, so other packages keep theirs.
        numba.config.CACHE_DIR = str(folder or "")
        loose = False if exact else {"reassoc", "contract", "nsz", "arcp"}
        return numba.njit(nogil=True, cache=folder is not None, fastmath=loose)(function)
    finally:
        numba.config.CACHE_DIR = before


def triton_jit(function: Callable[..., Any]) -> Any:
    """`triton.jit`; without Triton the function itself, so that its file can be imported."""
    return function if (triton := _triton()) is None else triton.jit(function)


def constants(module: Any, names: str) -> list[Any]:
    """Values of a module by their names, as constants of Triton: part of its cache key."""
    triton, values = _triton(), [getattr(module, name) for name in names.split()]
    if triton is None or os.environ.get("TRITON_INTERPRET") == "1":  # interpreted: plain Python
        return values
    return [triton.language.constexpr(value) for value in values]


def _triton() -> Any:
    try:
        return importlib.import_module("triton")
    except ImportError:
        return None


def _missing(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def explain(*_: Any, **__: Any) -> Any:
        raise ImportError(f"{function.__name__} needs numba: pip install numba")

    return explain


@functools.cache
def cache_folder() -> Path | None:
    """Where compiled code is kept, named by everything it depends on; None if not writable.

    numba's own key is the file of one function: when a function that it calls from another file
    changes, numba loads the old machine code (measured). So the key is all our sources.
    """
    import llvmlite.binding
    import numba

    root = Path(__file__).resolve().parent
    key = hashlib.sha256(f"{numba.__version__} {llvmlite.binding.get_host_cpu_name()}".encode())
    for path in sorted(root.rglob("*.py")):
        key.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    home = os.environ.get("FOVEATE_CACHE") or os.path.expanduser("~/.cache/foveate")
    folder = Path(home).absolute() / "numba" / key.hexdigest()[:16]
    if home.startswith("~"):  # no home directory: a container with a bare user id
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return None
    return folder
