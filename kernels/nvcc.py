"""CUDA C++ by the toolkit's own compiler, while the package is built or when a card asks.

Imports nothing but Python: `setup.py` uses it where torch is not installed.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

OPTIONS = ("-std=c++17",)
OLDEST = 70  # V100; what runs on older cards is not asked for


@dataclass(frozen=True)
class Compiler:
    """One way from text to machine code."""

    name: str
    """With its version: part of the name of what is kept."""
    supported: tuple[int, ...]
    """Compute capabilities, 90 for 9.0, rising."""
    build: Callable[[str, str], bytes]
    """(text, `sm_90` for machine code or `compute_90` for PTX) -> code. RuntimeError with a log."""


@functools.cache
def nvcc() -> Compiler | None:
    """The compiler of the CUDA toolkit, if it is on PATH or under CUDA_HOME; else None."""
    home = os.environ.get("CUDA_HOME")
    program = shutil.which("nvcc") or (shutil.which("nvcc", path=f"{home}/bin") if home else None)
    if program is None:
        return None
    try:
        version = _run([program, "--version"])
        archs = re.findall(r"compute_(\d+)$", _run([program, "--list-gpu-arch"]), re.M)
    except (OSError, RuntimeError):
        return None
    found = re.search(r"V([\d.]+)", version)
    build = functools.partial(_build, program)
    return Compiler(f"nvcc {found[1] if found else ''}", tuple(sorted(map(int, archs))), build)


def _build(program: str, text: str, arch: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="foveate-nvcc-") as folder:
        path, out = Path(folder, "kernel.cu"), Path(folder, "code")
        path.write_text(text, encoding="utf-8")
        kind = "-cubin" if arch.startswith("sm_") else "-ptx"
        _run([program, kind, f"-arch={arch}", *OPTIONS, "-o", str(out), str(path)])
        return out.read_bytes()


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def name_code(text: str, major: str, arch: int) -> str:
    """What ready machine code of this text is called: another text or option, another name.

    `major` of CUDA too: a driver loads code of its own major version, whatever the minor one.
    """
    key = hashlib.sha256("\0".join((*OPTIONS, text)).encode()).hexdigest()[:16]
    return f"{key}-cuda{major}-sm_{arch}"


def prebuild(texts: Sequence[str], folder: Path) -> str:
    """Machine code of each text for each major kind of card into `folder` -> one line on it.

    What the folder held goes. Without nvcc, or if it fails, the line says so and nothing is left:
    the kernels are then compiled when a card first asks. About 3 s of one core for each.
    """
    shutil.rmtree(folder, ignore_errors=True)
    compiler, later = nvcc(), "CUDA kernels are compiled on first use"
    if compiler is None:
        return f"no nvcc here: {later}"
    archs = _majors(compiler.supported)
    jobs = [(text, arch) for text in texts for arch in archs]
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            codes = list(pool.map(lambda job: compiler.build(job[0], f"sm_{job[1]}"), jobs))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return f"{compiler.name} failed ({str(error).splitlines()[-1]}): {later}"
    folder.mkdir(parents=True)
    major = compiler.name.split()[-1].split(".")[0]
    for (text, arch), code in zip(jobs, codes, strict=True):
        (folder / name_code(text, major, arch)).write_bytes(code)
    return f"CUDA kernels built by {compiler.name} for {', '.join(f'sm_{arch}' for arch in archs)}"


def _majors(supported: Sequence[int]) -> list[int]:
    """The least of each major version: its machine code runs on the later minor ones."""
    least = {arch // 10: arch for arch in sorted(supported, reverse=True) if arch >= OLDEST}
    return sorted(least.values())
