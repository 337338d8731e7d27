"""`foveate doctor`: everything that decides whether a run can start, looked at in seconds.

torch is not imported here: a torch that crashes must not take the page with it.
"""

from __future__ import annotations

import os
from pathlib import Path

from ... import __version__
from .finding import Diagnosis, Finding, Section, cleaned
from .imports import LIMIT_S, Imported, import_all
from .known_bad import check_python, check_versions
from .licences import check_licences
from .machine import available_cores, check_cpu, check_gpus, driver_cards, say_interpreter
from .packages import check_core, check_extras, installed_versions, modules, requirements
from .places import check_cache_sizes, check_clock, check_limits, check_places, check_shared_memory
from .traps import check_environment, network_interfaces


def diagnose(cache: Path, runs: Path, limit_s: float = LIMIT_S) -> Diagnosis:
    """Look at packages, devices, disks, limits and environment; nothing is changed by it."""
    wanted, installed = requirements(), installed_versions()
    imported = import_all(modules(wanted), limit_s)
    torch, nvml = imported.get("torch", Imported(error="not asked for")), imported.get("pynvml")
    sections = [
        Section("packages", tuple(check_core(wanted[""], installed, imported))),
        Section("optional packages", tuple(check_extras(wanted, installed, imported))),
        Section("versions", (_python(), *check_versions(installed))),
        Section("licences", tuple(check_licences())),
        Section("processor", tuple(check_cpu(torch))),
        Section("GPUs", tuple(check_gpus(torch, nvml or Imported(), driver_cards()))),
        Section("places", (*check_places(cache, runs), check_cache_sizes(cache))),
        Section("limits", (check_shared_memory(), *check_limits(), check_clock())),
        Section("environment", tuple(_environment())),
    ]
    return Diagnosis(__version__, cleaned(sections))


def _python() -> Finding:
    found = check_python()
    return Finding(found.mark, found.what, found.said or say_interpreter(), found.fix)


def _environment() -> list[Finding]:
    return check_environment(os.environ, available_cores(), network_interfaces())
