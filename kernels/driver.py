"""CUDA C++ text to a kernel that runs: compiled once per kind of card, launched on a stream.

A package that was built beside nvcc carries the machine code. Otherwise NVRTC compiles, which comes
with torch's CUDA wheels; nvcc is asked where it does not. Machine code is kept under FOVEATE_CACHE
(default ~/.cache/foveate), in files named by text, architecture and compiler.
"""

from __future__ import annotations

import ctypes
import functools
import glob
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .nvcc import OPTIONS, Compiler, name_code, nvcc

BUILT = Path(__file__).with_name("cubins")  # in an installed package, where nvcc was there
MISSING = (
    "the CUDA back end needs a compiler and found neither NVRTC nor nvcc:"
    " pip install nvidia-cuda-nvrtc (nvidia-cuda-nvrtc-cu12 for CUDA 12), or put nvcc on PATH"
)


def compilers() -> list[Compiler]:
    """What there is, the first to be preferred."""
    return [found for found in (nvrtc(), nvcc()) if found]


@functools.cache
def nvrtc() -> Compiler | None:
    """The compiler library that comes with torch, or None."""
    library = _nvrtc_library()
    if library is None:
        return None
    major, minor, count = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    library.nvrtcGetNumSupportedArchs(ctypes.byref(count))
    archs = (ctypes.c_int * count.value)()
    library.nvrtcGetSupportedArchs(archs)
    build = functools.partial(_build_nvrtc, library)
    return Compiler(f"nvrtc {major.value}.{minor.value}", tuple(sorted(archs)), build)


def _nvrtc_library() -> ctypes.CDLL | None:
    major = (torch.version.cuda or "").split(".")[0]
    beside = Path(torch.__file__).parent.parent / "nvidia"
    found = [name for pattern in ("cu*", "cuda_nvrtc")
             for name in glob.glob(str(beside / pattern / "lib" / "libnvrtc.so.*"))]  # fmt: skip
    for name in ([f"libnvrtc.so.{major}"] if major else []) + sorted(found) + ["libnvrtc.so"]:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _build_nvrtc(library: ctypes.CDLL, text: str, arch: str) -> bytes:
    program = ctypes.c_void_p()
    _nvrtc_ok(library, library.nvrtcCreateProgram(
        ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None
    ))  # fmt: skip
    try:
        options = [option.encode() for option in (f"--gpu-architecture={arch}", *OPTIONS)]
        listed = (ctypes.c_char_p * len(options))(*options)
        if library.nvrtcCompileProgram(program, len(options), listed):
            log = _nvrtc_bytes(library, program, "ProgramLog").decode(errors="replace")
            raise RuntimeError(f"NVRTC cannot compile for {arch}:\n{log}")
        return _nvrtc_bytes(library, program, "CUBIN" if arch.startswith("sm_") else "PTX")
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _nvrtc_bytes(library: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _nvrtc_ok(library, getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    held = ctypes.create_string_buffer(size.value)
    _nvrtc_ok(library, getattr(library, f"nvrtcGet{what}")(program, held))
    return held.raw


def _nvrtc_ok(library: ctypes.CDLL, code: int) -> None:
    if code:
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise RuntimeError(f"NVRTC: {library.nvrtcGetErrorString(code).decode()}")


def choose_arch(capability: int, compiler: Compiler) -> str:
    """What to build for a card, 86 for 8.6: `sm_86`, or PTX for the driver if the card is newer.

    RuntimeError if the card is older than all that the compiler knows.
    """
    older = [arch for arch in compiler.supported if arch <= capability]
    if not older:
        least = compiler.supported[0] if compiler.supported else 0
        raise RuntimeError(
            f"{compiler.name} compiles for compute capability {least / 10:.1f} and up, this card"
            f" has {capability / 10:.1f}: cards before 7.5 (V100) need torch built for CUDA 12"
        )
    same = older[-1] // 10 == capability // 10  # machine code runs on later minor versions
    return f"sm_{older[-1]}" if same else f"compute_{older[-1]}"


def make_code(text: str, capability: int) -> bytes:
    """Machine code or PTX for a card: from the package, from the cache or compiled (a second).

    ImportError if there is no compiler, RuntimeError with its log if it refuses.
    """
    if (built := _find_built(text, capability)) is not None:
        return built
    found = compilers()
    if not found:
        raise ImportError(MISSING)
    compiler = next((c for c in found if c.supported[:1] <= (capability,)), found[0])
    arch = choose_arch(capability, compiler)
    folder = _folder()
    key = hashlib.sha256("\0".join((compiler.name, arch, *OPTIONS, text)).encode()).hexdigest()[:16]
    kept = folder / f"{key}-{arch}" if folder else None
    if kept is not None and kept.exists():
        return kept.read_bytes()
    code = compiler.build(text, arch)
    if kept is not None:
        _keep(code, kept)
    return code


def _find_built(text: str, capability: int) -> bytes | None:
    """What `setup.py` built of exactly this text, for this card or an earlier minor version."""
    major = (torch.version.cuda or "").split(".")[0]
    for arch in range(capability, capability // 10 * 10 - 1, -1):
        if (path := BUILT / name_code(text, major, arch)).is_file():
            return path.read_bytes()
    return None


def _keep(code: bytes, path: Path) -> None:
    """Beside it and renamed: ranks that compile at the same time each leave a whole file."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(code)
        os.replace(file.name, path)
    except OSError:
        return  # a full disk costs the next process a second


def _folder() -> Path | None:
    home = os.environ.get("FOVEATE_CACHE") or os.path.expanduser("~/.cache/foveate")
    if home.startswith("~"):  # no home directory: a container with a bare user id
        return None
    folder = Path(home).absolute() / "cuda"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder


@dataclass(frozen=True)
class Module:
    """Loaded machine code of one card."""

    driver: ctypes.CDLL
    context: ctypes.c_void_p
    functions: dict[str, ctypes.c_void_p]
    handle: ctypes.c_void_p

    def launch(
        self, name: str, argument: ctypes.Structure, blocks: int, threads: int, stream: int
    ) -> None:
        """Queue a kernel of one argument, a struct by value, on a stream; returns at once.

        RuntimeError from the driver.
        """
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(argument))
        with _Current(self.driver, self.context):
            if name not in self.functions:
                self.functions[name] = self._find(name)
            _ok(self.driver, self.driver.cuLaunchKernel(
                self.functions[name], blocks, 1, 1, threads, 1, 1, 0, ctypes.c_void_p(stream),
                pointers, None,
            ))  # fmt: skip

    def _find(self, name: str) -> ctypes.c_void_p:
        function = ctypes.c_void_p()
        code = self.driver.cuModuleGetFunction(ctypes.byref(function), self.handle, name.encode())
        _ok(self.driver, code)
        return function


class _Current:
    """The card's context on this thread: a new thread has none until torch needs one."""

    def __init__(self, driver: ctypes.CDLL, context: ctypes.c_void_p) -> None:
        self.driver, self.context = driver, context

    def __enter__(self) -> None:
        _ok(self.driver, self.driver.cuCtxPushCurrent_v2(self.context))

    def __exit__(self, *_: Any) -> None:
        self.driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))


def load_module(text: str, device: int) -> Module:
    """Compile CUDA C++ for card number `device` and load it there.

    ImportError without a compiler, RuntimeError from it or from the driver.
    """
    torch.cuda.init()
    major, minor = torch.cuda.get_device_capability(device)
    code = make_code(text, 10 * major + minor)
    driver = ctypes.CDLL("libcuda.so.1")
    _ok(driver, driver.cuInit(0))
    number, context, handle = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
    _ok(driver, driver.cuDeviceGet(ctypes.byref(number), _driver_number(driver, device)))
    _ok(driver, driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), number))
    with _Current(driver, context):
        _ok(driver, driver.cuModuleLoadData(ctypes.byref(handle), code))
    return Module(driver, context, {}, handle)


def _driver_number(driver: ctypes.CDLL, device: int) -> int:
    """torch and the driver both count what CUDA_VISIBLE_DEVICES leaves."""
    count = ctypes.c_int()
    _ok(driver, driver.cuDeviceGetCount(ctypes.byref(count)))
    if device >= count.value:
        raise RuntimeError(f"the CUDA driver sees {count.value} devices, torch asks for {device}")
    return device


def _ok(driver: ctypes.CDLL, code: int) -> None:
    if code:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(code, ctypes.byref(text))
        raise RuntimeError(f"CUDA driver: {(text.value or b'unknown error').decode()} ({code})")
