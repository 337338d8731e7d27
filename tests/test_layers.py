"""Imports point left, kernels < dataloaders < engine < recipes; optional packages stay optional.

Each rule is a function from source to complaints, tried on a planted breach and then on the tree.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = ("kernels", "dataloaders", "engine", "recipes")
OUTSIDE = ("tests", "benchmarks")
KERNELS_MAY_IMPORT = {"torch", "triton", "numba", "llvmlite", "numpy", "foveate"}
HIDDEN = (
    *("triton", "nvidia.dali", "numba", "llvmlite", "mlflow", "zarr", "tyro", "deepspeed", "apex"),
    *("amp_C", "tensorstore", "openslide", "pydicom", "faster_coco_eval", "optuna", "captum"),
    *("onnx", "onnxscript", "onnxruntime", "pynvml", "timm", "sklearn"),
)


def sources(*folders: str) -> list[Path]:
    """Python files of the root folders named, as paths relative to the root."""
    return sorted(p.relative_to(ROOT) for folder in folders for p in (ROOT / folder).rglob("*.py"))


def imports(text: str, path: Path) -> Iterator[tuple[int, str, bool]]:
    """Line, full module name and whether it is relative, for each import of a root folder's file.

    `from .. import engine` and `from foveate import engine` count as imports of foveate.engine.
    """
    package = ("foveate", *path.parent.parts)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name, False) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *(node.module or "").split(".")]).rstrip(".")
            names = [f".{a.name}" for a in node.names] if module == "foveate" else [""]
            yield from ((node.lineno, module + name, node.level > 0) for name in names)


def wrong_direction(text: str, path: Path) -> list[str]:
    """Imports of a folder further right than the file's own, or of tests and benchmarks."""
    allowed = ORDER[: ORDER.index(path.parts[0]) + 1]
    return [
        f"{path}:{line} imports {name}"
        for line, name, _ in imports(text, path)
        if name.startswith("foveate.") and name.split(".")[1] in {*ORDER, *OUTSIDE} - set(allowed)
    ]


def wrong_form(text: str, path: Path) -> list[str]:
    """Bare `import engine`; absolute imports inside the library; relative ones in recipes."""
    found = []
    for line, name, relative in imports(text, path):
        first, ours = name.split(".")[0], name.startswith("foveate.")
        if not relative and first in {*ORDER, *OUTSIDE}:
            found.append(f"{path}:{line} imports {name}: it is called foveate.{name}")
        elif path.parts[0] == "recipes" and relative:
            found.append(f"{path}:{line} is relative: a recipe is copied out, write {name}")
        elif path.parts[0] != "recipes" and ours and not relative:
            found.append(f"{path}:{line} imports {name}: relative inside the library")
    return found


def foreign(text: str, path: Path) -> list[str]:
    """What kernels and dataloaders may not import at all."""
    found = []
    for line, name, relative in imports(text, path):
        first = name.split(".")[0]
        if path.parts[0] == "kernels":
            known = relative or first in KERNELS_MAY_IMPORT or first in sys.stdlib_module_names
            if not known:
                found.append(f"{path}:{line} imports {name}: kernels are torch, triton and numba")
        elif path.parts[0] == "dataloaders" and name.startswith("torch.distributed"):
            found.append(f"{path}:{line} imports {name}: rank and world arrive as numbers")
    return found


RULES = [wrong_direction, wrong_form, foreign]
PLANTED = [
    (wrong_direction, "kernels/op.py", "from ..dataloaders.batch import Batch"),
    (wrong_direction, "kernels/sample/cpu.py", "from ...engine import plan"),
    (wrong_direction, "dataloaders/pack.py", "from .. import engine"),
    (wrong_direction, "engine/fit.py", "def f():\n    from ..recipes.oct2017 import recipe"),
    (wrong_direction, "engine/fit.py", "import foveate.recipes.oct2017"),
    (wrong_direction, "recipes/oct2017.py", "from foveate.tests.conftest import device"),
    (wrong_form, "engine/fit.py", "import kernels.op"),
    (wrong_form, "recipes/oct2017.py", "from engine.recipe import Recipe"),
    (wrong_form, "engine/fit.py", "from benchmarks import compare"),
    (wrong_form, "engine/fit.py", "from foveate.kernels.op import Op"),
    (wrong_form, "recipes/oct2017.py", "from ..engine.recipe import Recipe"),
    (foreign, "kernels/op.py", "import scipy.ndimage"),
    (foreign, "dataloaders/feed.py", "import torch.distributed as dist"),
]
INNOCENT = [
    ("kernels/sample/cpu.py", "import os\nimport numba\nfrom ..op import Op\nfrom . import params"),
    ("dataloaders/feed.py", "from ..kernels.sample.op import sample\nfrom .batch import Batch"),
    ("engine/fit.py", "from .. import __version__\nfrom ..dataloaders import pack"),
    ("recipes/oct2017.py", "from foveate.engine.recipe import Recipe"),
]


@pytest.mark.parametrize(("rule", "path", "text"), PLANTED)
def test_a_planted_import_is_found(rule, path, text):
    assert rule(text, Path(path))


@pytest.mark.parametrize(("path", "text"), INNOCENT)
def test_an_innocent_import_passes(path, text):
    assert [rule(text, Path(path)) for rule in RULES] == [[], [], []]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_imports_point_left(rule):
    found = [line for path in sources(*ORDER) for line in rule((ROOT / path).read_text(), path)]
    assert not found, "\n".join(found)


def test_the_four_folders_have_no_init_file():
    found = [str(path) for path in sources(*ORDER) if path.name == "__init__.py"]
    assert not found, "our kernels/ would hide another package of that name"


def test_the_links_point_at_the_folders_beside_them():
    for name in ORDER:
        assert (ROOT / "foveate" / name).resolve() == ROOT / name


IMPORT_ALL = """
import importlib, json, sys, traceback

hidden, modules = json.loads(sys.argv[1])

class Hide:
    def find_spec(self, name, path=None, target=None):
        if any(name == h or name.startswith(h + ".") for h in hidden):
            raise ModuleNotFoundError(f"No module named {name!r} (hidden by the test)", name=name)

sys.meta_path.insert(0, Hide())
failed = {}
for module in modules:
    try:
        importlib.import_module(module)
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-2:]
        failed[module] = f"{error!r} at {[f'{f.filename}:{f.lineno}' for f in where]}"
torch = sys.modules.get("torch")
cuda = bool(torch and torch.cuda.is_initialized())
print(json.dumps({"failed": failed, "cuda": cuda}))
"""


def import_hidden(modules: list[str], hidden: tuple[str, ...]) -> dict[str, object]:
    """Import modules in a process where the hidden packages are not installed."""
    command = [sys.executable, "-c", IMPORT_ALL, json.dumps([hidden, modules])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_hidden_package_is_hidden():
    result = import_hidden(["json", "tyro", "zarr.storage"], HIDDEN)
    assert set(result["failed"]) == {"tyro", "zarr.storage"}


def test_every_module_imports_without_the_optional_packages_and_leaves_cuda_alone():
    modules = [".".join(["foveate", *p.with_suffix("").parts]) for p in sources(*ORDER)]
    result = import_hidden(modules, HIDDEN)
    assert not result["failed"], json.dumps(result["failed"], indent=1)
    assert not result["cuda"], "importing foveate started CUDA"
