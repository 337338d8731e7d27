"""Find the packages behind the links in foveate/, build the CUDA kernels where nvcc is there.

Everything else is in pyproject.toml.

`foveate/engine` is a link to `engine/`, and so on: the folders at the root are what people read,
`foveate.engine` is what they import. A wheel and a source archive hold real files in their place.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
FOLDERS = ("kernels", "dataloaders", "engine", "recipes")  # imports point left
NO_LINKS = """
foveate: {missing} is not a folder, because this checkout has no symbolic links.
foveate: run `git config core.symlinks true && git checkout -- foveate` (on Windows with developer
foveate: mode on), or clone again inside WSL; zip downloads lose the links as well.
"""


def check_links() -> None:
    """Stop with a way out where a link was checked out as a small text file, or not at all."""
    missing = [f"foveate/{name}" for name in FOLDERS if not (ROOT / "foveate" / name).is_dir()]
    if missing:
        sys.exit(NO_LINKS.format(missing=", ".join(missing)))


def packages() -> list[str]:
    """Every folder under foveate/ that holds Python files, links followed, as a dotted name."""
    found = []
    for folder, below, files in os.walk(ROOT / "foveate", followlinks=True):
        below[:] = sorted(name for name in below if name.isidentifier() and name != "__pycache__")
        if any(name.endswith(".py") for name in files):
            found.append(".".join(Path(folder).relative_to(ROOT).parts))
    return found


class BuildWithKernels(build_py):
    """Copy the packages, then compile the CUDA kernels where nvcc is there.

    An editable install runs from the checkout and compiles on first use.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        sys.path.insert(0, str(ROOT))
        from foveate.kernels.nvcc import prebuild
        from foveate.kernels.sample.source import source

        print("foveate:", prebuild([source()], Path(self.build_lib, "foveate/kernels/cubins")))


if __name__ == "__main__":  # the build back end runs this file as __main__, tests import it
    check_links()
    setup(packages=packages(), cmdclass={"build_py": BuildWithKernels})
