"""What is shipped: one version everywhere, every licence named, a wheel that holds the files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import foveate

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("engine", "kernels", "dataloaders", "recipes")
DATA = {".cu", ".cuh", ".css", ".js", ".svg", ".html", ".md"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read(name: str) -> str:
    """The text of a file at the root."""
    return (ROOT / name).read_text(encoding="utf-8")


def bare(requirement: str) -> str:
    """`zarr` for `zarr>=3.1,<4`."""
    return re.split(r"[^\w.-]", requirement)[0].lower()


def named_in_table(text: str) -> set[str]:
    """Packages in the first cells of a page's tables; a cell may name several."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return {name.strip().lower() for cell in cells for name in cell.split(",")}


def test_the_version_is_the_same_everywhere():
    assert re.search(rf"^version: {re.escape(foveate.__version__)}$", read("CITATION.cff"), re.M)
    assert re.search(rf"^## {re.escape(foveate.__version__)} ", read("CHANGELOG.md"), re.M)
    assert "version" in PROJECT["dynamic"]


def test_the_licence_is_apache_2_and_is_shipped():
    assert read("LICENSE").split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert PROJECT["license"] == "Apache-2.0"
    assert {"LICENSE", "THIRD_PARTY.md"} <= set(PROJECT["license-files"])


def test_third_party_names_every_package_that_pip_may_install():
    named = named_in_table(read("THIRD_PARTY.md"))
    extras = [r for rows in PROJECT["optional-dependencies"].values() for r in rows]
    asked = {bare(requirement) for requirement in [*PROJECT["dependencies"], *extras]}
    assert not asked - {"foveate"} - named
    assert "numpy" not in named_in_table(read("THIRD_PARTY.md").replace("| numpy |", "| other |"))


def test_apex_from_pypi_is_never_asked_for():
    text = str([PROJECT["dependencies"], PROJECT["optional-dependencies"]])
    assert not re.search(r"\bapex\b", text)


def test_extra_all_holds_every_extra_that_a_user_may_want():
    extras = PROJECT["optional-dependencies"]
    inside = set(re.search(r"\[(.*)\]", extras["all"][0])[1].split(","))
    assert inside == set(extras) - {"all", "dev", "bench", "dali-cuda12"}  # one DALI is enough


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The checkout without what building leaves behind; the links stay links."""
    target = tmp_path_factory.mktemp("copy") / "foveate-copy"
    kept = [*FOLDERS, "foveate", "tests", "pyproject.toml", "setup.py"]
    kept += [name for name in ("README.md", "LICENSE", "THIRD_PARTY.md") if (ROOT / name).exists()]
    target.mkdir()
    for name in kept:
        if (ROOT / name).is_dir():
            skip = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, target / name, symlinks=True, ignore=skip)
        else:
            shutil.copy(ROOT / name, target / name)
    return target


def build(folder: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build a wheel without a network."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    command += ["--no-index", "--wheel-dir", str(out), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def wheel(copy, tmp_path_factory) -> Path:
    """The wheel of this checkout."""
    out = tmp_path_factory.mktemp("wheel")
    done = build(copy, out)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_four_folders_and_no_other(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    files = {p for folder in FOLDERS for p in (ROOT / folder).rglob("*") if p.is_file()}
    ours = {f"foveate/{p.relative_to(ROOT)}" for p in files if p.suffix in {".py", *DATA}}
    ours |= {"foveate/__init__.py", "foveate/__main__.py", "foveate/py.typed"}
    assert not ours - names, "missing from the wheel"
    extra = {n for n in names - ours if ".dist-info/" not in n}
    assert not {n for n in extra if not n.startswith("foveate/") or n.endswith(".py")}


@pytest.mark.slow
def test_the_wheel_carries_its_name_version_licence_and_command(wheel):
    archive = zipfile.ZipFile(wheel)
    info = f"foveate-{foveate.__version__}.dist-info"
    assert f"{info}/licenses/LICENSE" in archive.namelist()
    assert "foveate = foveate.engine.cli:main" in archive.read(f"{info}/entry_points.txt").decode()
    assert archive.read(f"{info}/top_level.txt").decode().split() == ["foveate"]


@pytest.mark.slow
def test_the_wheel_runs_where_no_checkout_is(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = "import foveate.kernels.op as op, foveate; print(op.__file__, foveate.__version__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split() == [
        str(tmp_path / "site" / "foveate" / "kernels" / "op.py"),
        foveate.__version__,
    ], done.stderr


@pytest.mark.slow
def test_a_checkout_without_links_says_how_to_get_them(copy, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(copy, broken, symlinks=True)
    (broken / "foveate" / "engine").unlink()
    (broken / "foveate" / "engine").write_text("../engine")  # what git writes without links
    done = build(broken, tmp_path / "out")
    assert done.returncode != 0
    assert "git config core.symlinks true" in done.stdout + done.stderr
