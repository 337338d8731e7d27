"""Packages: what foveate asks for, what is there, and why something there cannot be imported."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from .finding import Finding, Mark
from .imports import Imported

MODULES = {
    "pillow": "PIL",
    "mlflow-skinny": "mlflow",
    "nvidia-dali-cuda130": "nvidia.dali",
    "nvidia-dali-cuda120": "nvidia.dali",
    "openslide-python": "openslide",
    "nvidia-ml-py": "pynvml",
}
"""Package -> what it is imported as, where that is not the name with underscores."""
SPARE = {"mlflow-skinny", "sqlalchemy", "alembic", "zarr"}
"""Core packages without which a run still trains."""
ASIDE = {"all", "dev"}
UNLISTED = {"triton": "comes with torch's GPU builds", "timm": "for models called timm:NAME"}
"""Used where they are there, and in no requirement."""


def requirements() -> dict[str, list[str]]:
    """Extra ("" is the core) -> what foveate asks pip for, by its metadata or its checkout."""
    try:
        lines = metadata.requires("foveate") or []
    except metadata.PackageNotFoundError:
        return _requirements_of_checkout()
    found: dict[str, list[str]] = {"": []}
    for line in lines:
        wanted, _, condition = line.partition(";")
        extra = re.search(r"""extra\s*==\s*["']([\w-]+)""", condition)
        found.setdefault(extra[1] if extra else "", []).append(wanted.strip())
    return {extra: wanted for extra, wanted in found.items() if extra not in ASIDE}


def _requirements_of_checkout() -> dict[str, list[str]]:
    """The same from pyproject.toml, where foveate runs without having been installed."""
    path = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if not path.is_file():
        return {"": []}
    project = tomllib.loads(path.read_text())["project"]
    extras = project["optional-dependencies"].items()
    found = {"": project["dependencies"]} | {e: w for e, w in extras if e not in ASIDE}
    return {extra: [w.partition(";")[0].strip() for w in wanted] for extra, wanted in found.items()}


def name_of(requirement: str) -> str:
    """`zarr` for `zarr<4,>=3.1`."""
    return re.split(r"[^\w.-]", requirement)[0].lower()


def module_of(package: str) -> str:
    """What a package is imported as."""
    return MODULES.get(package, package.replace("-", "_"))


def modules(wanted: Mapping[str, list[str]]) -> list[str]:
    """Everything to import: what is asked for, what may be there, and apex."""
    names = [name_of(line) for lines in wanted.values() for line in lines]
    return list(dict.fromkeys([*map(module_of, names), *UNLISTED, "apex"]))


def installed_versions() -> dict[str, str]:
    """Package -> version of everything that is installed, by lower-case name."""
    found: dict[str, str] = {}
    for package in metadata.distributions():
        name = (package.metadata["Name"] or "").lower().replace("_", "-")
        found.setdefault(name, package.version)  # the first on the path is the one imported
    return found


def check_core(
    wanted: list[str], installed: Mapping[str, str], imported: Mapping[str, Imported]
) -> list[Finding]:
    """One finding for each package that pip installs with foveate."""
    found = []
    for line in wanted:
        name = name_of(line)
        result, version = imported[module_of(name)], installed.get(name, "")
        mark: Mark = "warn" if name in SPARE else "bad"
        if result.error:
            said = "not installed" if result.missing else f"cannot be imported: {result.error}"
            found.append(Finding(mark, name, said, f"pip install '{line}'"))
        elif version and not _is_within(version, line):
            found.append(Finding("warn", name, f"{version}, foveate asks for {line}"))
        else:
            found.append(Finding("ok", name, version or result.version))
    return found


def _is_within(version: str, requirement: str) -> bool:
    """Whether a version is what a requirement asks for; True where that cannot be told."""
    try:
        from packaging.requirements import InvalidRequirement, Requirement
        from packaging.version import InvalidVersion
    except ImportError:
        return True
    try:
        return Requirement(requirement).specifier.contains(version, prereleases=True)
    except (InvalidRequirement, InvalidVersion):
        return True


def check_extras(
    wanted: Mapping[str, list[str]], installed: Mapping[str, str], imported: Mapping[str, Imported]
) -> list[Finding]:
    """A finding for each optional package that is there, and one for what an extra lacks."""
    found = []
    for extra in [name for name in wanted if name]:
        names = [name_of(line) for line in wanted[extra]]
        there = [name for name in names if name in installed]
        found += [_check_optional(n, installed[n], imported[module_of(n)]) for n in there]
        absent = [n for n in names if n not in there and imported[module_of(n)].error]
        if absent:
            said = f"{', '.join(absent)} not installed"
            found.append(Finding("note", f"extra {extra}", said, f"pip install 'foveate[{extra}]'"))
    for name, why in UNLISTED.items():
        if name in installed:
            found.append(_check_optional(name, installed[name], imported[name]))
        else:
            found.append(Finding("note", name, f"not installed ({why})"))
    return [*found, check_apex(installed, imported["apex"])]


def _check_optional(name: str, version: str, result: Imported) -> Finding:
    if result.error:
        return Finding("warn", name, f"{version} cannot be imported: {result.error}")
    return Finding("ok", name, version)


def check_apex(installed: Mapping[str, str], result: Imported) -> Finding:
    """NVIDIA's apex, the stranger of that name on PyPI, or none."""
    if result.missing and "apex" not in installed:
        return Finding("note", "apex", "not installed, nothing needs it")
    if all(result.facts.get(part) for part in ("apex.optimizers", "amp_C")):
        return Finding("ok", "apex", f"NVIDIA's {installed.get('apex', '')}".strip())
    if result.facts.get("apex.optimizers"):
        said = "NVIDIA's, but built without amp_C: its fused kernels are missing"
        return Finding("warn", "apex", said, "build it again with --cuda_ext, or remove it")
    version = installed.get("apex", "")
    said = f"{version} is not NVIDIA's: PyPI's package of that name is somebody else's"
    return Finding("warn", "apex", said.strip(), "pip uninstall apex")
