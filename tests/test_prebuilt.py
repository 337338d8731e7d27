"""Machine code that comes with an installed package: built where nvcc is, used only if it fits."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from foveate.kernels import driver
from foveate.kernels import nvcc as toolkit
from foveate.kernels.sample.source import source

ROOT = Path(__file__).resolve().parent.parent
TEXT = 'extern "C" __global__ void f(int *p) { *p = 1; }'
NO_NVCC = pytest.mark.skipif(toolkit.nvcc() is None, reason="no nvcc here")


@pytest.fixture
def built(monkeypatch, tmp_path):
    """A folder of code by a compiler that needs no toolkit, in the place of the package's."""
    compiler = toolkit.Compiler(
        "nvcc 13.0.88", (60, 75, 80, 86, 90), lambda text, arch: f"{arch} of {text}".encode()
    )
    monkeypatch.setattr(toolkit, "nvcc", lambda: compiler)
    monkeypatch.setattr(driver, "BUILT", tmp_path / "cubins")
    monkeypatch.setattr(torch.version, "cuda", "13.1")
    monkeypatch.setattr(driver, "compilers", lambda: [])
    assert toolkit.prebuild([TEXT], driver.BUILT).endswith("sm_75, sm_80, sm_90")
    return driver.BUILT


@pytest.mark.parametrize(("card", "arch"), [(75, 75), (80, 80), (86, 80), (89, 80), (90, 90)])
def test_a_card_gets_the_code_of_its_own_major_version(built, card, arch):
    assert driver.make_code(TEXT, card) == f"sm_{arch} of {TEXT}".encode()


@pytest.mark.parametrize(
    ("text", "card", "cuda"),
    [(TEXT.replace("1", "2"), 90, "13.1"), (TEXT, 70, "13.1"), (TEXT, 100, "13.1"),
     (TEXT, 90, "12.8"), (TEXT, 90, None)],
)  # fmt: skip
def test_code_of_another_text_card_or_cuda_is_never_used(built, text, card, cuda, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    with pytest.raises(ImportError, match="found neither NVRTC nor nvcc"):
        driver.make_code(text, card)


def test_other_options_of_the_compiler_are_other_code(built, monkeypatch):
    monkeypatch.setattr(toolkit, "OPTIONS", ("-std=c++17", "-use_fast_math"))
    with pytest.raises(ImportError, match="found neither NVRTC nor nvcc"):
        driver.make_code(TEXT, 90)


def test_building_again_leaves_nothing_of_the_last_time(built):
    toolkit.prebuild([TEXT + "\n"], built)
    assert len(list(built.iterdir())) == 3
    with pytest.raises(ImportError):
        driver.make_code(TEXT, 90)


def test_without_nvcc_or_with_a_broken_one_a_line_says_so_and_nothing_is_left(
    built, monkeypatch, tmp_path
):
    def fail(text, arch):
        raise RuntimeError("nvcc ...:\nno host compiler")

    broken = toolkit.Compiler("nvcc 13.0.88", (75,), fail)
    for found, says in ((None, "no nvcc here"), (broken, "failed (no host compiler)")):
        monkeypatch.setattr(toolkit, "nvcc", lambda found=found: found)
        line = toolkit.prebuild([TEXT], built)
        assert says in line and line.endswith("CUDA kernels are compiled on first use")
        assert "\n" not in line and not built.exists()


@NO_NVCC
def test_nvcc_builds_machine_code_that_the_driver_finds(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "BUILT", tmp_path / "cubins")
    major = toolkit.nvcc().name.split()[-1].split(".")[0]
    monkeypatch.setattr(torch.version, "cuda", f"{major}.0")
    monkeypatch.setattr(driver, "compilers", lambda: [])
    assert "sm_90" in toolkit.prebuild([TEXT], driver.BUILT)
    code = driver.make_code(TEXT, 90)
    assert code[:4] == b"\x7fELF" and b"f" in code


def test_what_is_built_needs_no_torch():
    code = (
        "import sys; sys.modules.update(torch=None, numpy=None)\n"
        "import foveate.kernels.nvcc, foveate.kernels.sample.source as s; print(len(s.source()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == str(len(source())), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("with_nvcc", [pytest.param(True, marks=NO_NVCC), False])
def test_a_wheel_holds_the_code_where_nvcc_was_there(with_nvcc, tmp_path, monkeypatch):
    copy, kept = tmp_path / "copy", ["foveate", "kernels", "engine", "dataloaders", "recipes"]
    for name in kept:
        skip = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=skip)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "THIRD_PARTY.md"):
        shutil.copy(ROOT / name, copy / name)
    if not with_nvcc:
        monkeypatch.setenv("PATH", "/nowhere")
        monkeypatch.delenv("CUDA_HOME", raising=False)
    command = [sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "--no-build-isolation"]
    command += ["--no-index", "--wheel-dir", str(tmp_path), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
    said = [line for line in lines if line.startswith("foveate: ")]
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(said) == 1 and ("built by nvcc" if with_nvcc else "no nvcc here") in said[0]
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    cubins = list((tmp_path / "site/foveate/kernels").glob("cubins/*"))
    assert bool(cubins) == with_nvcc
    if with_nvcc:
        monkeypatch.setattr(driver, "BUILT", cubins[0].parent)
        major = toolkit.nvcc().name.split()[-1].split(".")[0]
        monkeypatch.setattr(torch.version, "cuda", f"{major}.0")
        monkeypatch.setattr(driver, "compilers", lambda: [])
        assert b"resize8" in driver.make_code(source(), 90)
