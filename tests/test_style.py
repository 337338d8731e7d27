"""The rules of the house, each a function from source to complaints.

Each rule is tried on a planted breach first, so that it can fail, and then on the tree.
"""

from __future__ import annotations

import ast
import functools
import re
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ("kernels", "dataloaders", "engine", "recipes")
EVERYWHERE = (*LIBRARY, "foveate", "tests", "benchmarks")
PRINTERS = {  # the library logs; the command line prints
    *("engine/cli.py", "engine/verbs.py", "engine/verbs_runs.py", "engine/verbs_help.py"),
    "engine/verbs_fetch.py",
}
FUNCTION_LINES, MEDIAN_LINES = 40, 14
FILE_LINES = {"kernels": 400, "tests": 400}  # 300 elsewhere
NO_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "misc", "manager"}
PICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "shelve", "marshal", "joblib"}
PICKLING_CALLS = {
    *("all_gather_object", "gather_object", "broadcast_object_list", "scatter_object_list"),
    *("send_object_list", "recv_object_list"),
}
BLOCKING = {"item", "cpu", "tolist", "numpy", "synchronize"}
MACHINE_PATH = re.compile(r"(?<![\w.~}])/(?:home|Users|root|work|mnt|scratch)/\w")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources(*folders: str) -> list[Path]:
    """Python files of the root folders, as paths relative to the root; links are not followed."""
    found = [p for folder in folders for p in (ROOT / folder).rglob("*.py")]
    paths = sorted(p.relative_to(ROOT) for p in found)
    return [p for p in paths if not (p.parts[0] == "foveate" and len(p.parts) > 2)]


def dotted(node: ast.AST) -> str:
    """`np.load` for the expression np.load, "" for anything that is not a chain of names."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str, dict[str, object]]]:
    """Each call, the dotted name that it calls, and its constant keywords."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            words = {
                k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)
            }
            yield node, dotted(node.func), words


def functions(tree: ast.AST) -> list[Function]:
    """Every function and method, nested ones too."""
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def length(node: Function) -> int:
    """Lines from `def` to the last one."""
    return (node.end_lineno or 0) - node.lineno + 1


def long_functions(text: str, path: Path) -> list[str]:
    """Functions of more than 40 lines."""
    return [
        f"{path}:{node.lineno} {node.name} has {length(node)} lines, {FUNCTION_LINES} are allowed"
        for node in functions(ast.parse(text))
        if length(node) > FUNCTION_LINES
    ]


def long_files(text: str, path: Path) -> list[str]:
    """Files of more than 300 lines (400 in kernels/ and tests/)."""
    allowed, lines = FILE_LINES.get(path.parts[0], 300), len(text.splitlines())
    return [f"{path} has {lines} lines, {allowed} are allowed"] if lines > allowed else []


def empty_names(text: str, path: Path) -> list[str]:
    """File and folder names that say nothing."""
    words = {word for part in path.with_suffix("").parts for word in part.split("_")}
    return [f"{path}: {word} is no name for an idea" for word in sorted(words & NO_NAMES)]


def public(tree: ast.Module) -> Iterator[tuple[Function, ast.ClassDef | None]]:
    """Public functions at module level, and public methods of public classes with their class."""
    for node in tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node, None
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            inside = (item for item in node.body if isinstance(item, Function))
            yield from ((item, node) for item in inside if not item.name.startswith("_"))


def is_jitted(node: Function) -> bool:
    """Whether a decorator compiles it: then its arguments are pointers, not Python objects."""
    names = (dotted(d.func if isinstance(d, ast.Call) else d) for d in node.decorator_list)
    return any("jit" in name.split(".")[-1] for name in names)


def untyped(text: str, path: Path) -> list[str]:
    """Public functions with an argument or a result that has no type."""
    found = []
    for node, owner in public(ast.parse(text)):
        spec = node.args
        arguments = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs]
        arguments += [extra for extra in (spec.vararg, spec.kwarg) if extra]
        static = any(dotted(d) == "staticmethod" for d in node.decorator_list)
        bare = [a.arg for a in arguments[owner is not None and not static :] if not a.annotation]
        bare += [] if node.returns else ["the result"]
        if bare and not is_jitted(node):
            found.append(f"{path}:{node.lineno} {node.name} has no type for {', '.join(bare)}")
    return found


@functools.cache
def contracts() -> frozenset[str]:
    """Names of the methods that the library's protocols declare, and document."""
    classes = [
        node
        for path in sources(*LIBRARY)
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and "Protocol" in map(dotted, node.bases)
    ]
    return frozenset(
        item.name for node in classes for item in node.body if isinstance(item, Function)
    )


def undocumented(text: str, path: Path) -> list[str]:
    """Modules, public classes and functions without a docstring.

    Without one of its own may go a method that a protocol documents (unless it is the protocol's),
    and one of five lines or fewer in a class with bases, which overrides.
    """
    tree = ast.parse(text)
    found = [] if ast.get_docstring(tree) else [f"{path} has no docstring"]
    nodes = [(n, None) for n in tree.body if isinstance(n, ast.ClassDef) and n.name[0] != "_"]
    for node, owner in [*nodes, *public(tree)]:
        bases = [dotted(base) for base in owner.bases] if owner else []
        override = (owner and node.name in contracts()) or (bases and length(node) <= 5)
        if "Protocol" in bases:
            override = False
        if not ast.get_docstring(node) and not override:
            found.append(f"{path}:{node.lineno} {node.name} has no docstring")
    return found


def pickling(text: str, path: Path) -> list[str]:
    """Anything that loads or sends pickles."""
    found, tree = [], ast.parse(text)
    for node in ast.walk(tree):
        names = (
            [a.name for a in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        )
        module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
        full = [f"{module}.{name}".lstrip(".") for name in names]
        if any(n.split(".")[0] in PICKLES or n.startswith("torch.package") for n in full):
            found.append(f"{path}:{node.lineno} imports {full[0]}")
    for node, name, words in calls(tree):
        last = name.split(".")[-1]
        unsafe = words.get("weights_only") is False or words.get("allow_pickle") is True
        unsafe |= name == "torch.load" and words.get("weights_only") is not True
        if unsafe or last in PICKLING_CALLS or name.startswith("torch.package"):
            found.append(f"{path}:{node.lineno} {name}(...) can load or send a pickle")
    return found


def code_from_data(text: str, path: Path) -> list[str]:
    """eval, exec, a shell, and YAML that makes objects. `model.eval()` is something else."""
    bad = {
        "eval",
        "exec",
        "os.system",
        "os.popen",
        "yaml.load",
        "yaml.unsafe_load",
        "yaml.full_load",
    }
    return [
        f"{path}:{node.lineno} {name}(...) runs what it is given"
        for node, name, words in calls(ast.parse(text))
        if name in bad or words.get("shell") is True
    ]


def prints(text: str, path: Path) -> list[str]:
    """print in the library."""
    found = [n.lineno for n, name, _ in calls(ast.parse(text)) if name == "print"]
    return [f"{path}:{line} prints" for line in found if path.as_posix() not in PRINTERS]


def blocks(text: str, path: Path) -> list[str]:
    """What makes the step loop wait for the device, or do something on one rank only."""
    if path.as_posix() != "engine/trainer.py":
        return []
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and node.attr in BLOCKING:
            found.append(f"{path}:{node.lineno} .{node.attr} waits for the device")
        elif isinstance(node, ast.Compare) and dotted(node.left).split(".")[-1] == "rank":
            found.append(f"{path}:{node.lineno} asks for its rank")
    return found


def parallel(text: str, path: Path) -> list[str]:
    """numba's own threads: its workqueue aborts the process when two threads use it."""
    tree, found = ast.parse(text), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and dotted(node).split(".")[-1] == "prange":
            found.append(f"{path}:{node.lineno} uses prange")
    where = [n.lineno for n, _, words in calls(tree) if words.get("parallel") is True]
    return found + [f"{path}:{line} says parallel=True" for line in where]


def machine_paths(text: str, path: Path) -> list[str]:
    """Paths of somebody's machine."""
    lines = enumerate(text.splitlines(), 1)
    return [f"{path}:{n} {line.strip()[:80]}" for n, line in lines if MACHINE_PATH.search(line)]


def not_ascii(text: str, path: Path) -> list[str]:
    """Letters that a terminal, a diff or a search may not show as they are; write an escape."""
    lines = enumerate(text.splitlines(), 1)
    return [f"{path}:{n} {line.strip()[:80]!a}" for n, line in lines if not line.isascii()]


RULES: dict[Callable[[str, Path], list[str]], tuple[str, ...]] = {
    long_functions: EVERYWHERE,
    long_files: EVERYWHERE,
    empty_names: EVERYWHERE,
    untyped: LIBRARY,
    undocumented: LIBRARY,
    pickling: LIBRARY,
    code_from_data: LIBRARY,
    prints: LIBRARY,
    blocks: ("engine",),
    parallel: ("kernels",),
    machine_paths: EVERYWHERE,
    not_ascii: EVERYWHERE,
}
BODY = "\n".join(["    x = 1"] * 40)
PLANTED = [
    (long_functions, f"def f():\n{BODY}\n"),
    (long_files, "x = 1\n" * 401),
    (untyped, "def f(x) -> int: ..."),
    (untyped, "def f(x: int): ..."),
    (untyped, "class A:\n    def f(self, *rest) -> int: ..."),
    (undocumented, "x = 1"),
    (undocumented, '"""Doc."""\ndef f(): ...'),
    (undocumented, '"""Doc."""\nclass A:\n    """Doc."""\n    def f(self): ...'),
    (undocumented, '"""Doc."""\nclass A(Protocol):\n    """Doc."""\n    def f(self): ...'),
    (pickling, "import pickle"),
    (pickling, "from cloudpickle import loads"),
    (pickling, "from torch import package"),
    (pickling, "torch.load(path)"),
    (pickling, "torch.load(path, weights_only=False)"),
    (pickling, "checkpoint.read(path, weights_only=False)"),
    (pickling, "np.load(path, allow_pickle=True)"),
    (pickling, "dist.all_gather_object(out, rows)"),
    (code_from_data, "eval(text)"),
    (code_from_data, "exec(text)"),
    (code_from_data, "subprocess.run(line, shell=True)"),
    (code_from_data, "yaml.load(file)"),
    (prints, "print(1)"),
    (blocks, "loss.item()"),
    (blocks, "torch.cuda.synchronize()"),
    (blocks, "loss.detach().cpu()"),
    (blocks, "if self.plan.rank == 0: save()"),
    (parallel, "@njit(parallel=True)\ndef f(): ..."),
    (parallel, "for i in numba.prange(9): ..."),
    (machine_paths, 'x = "/ho' + 'me/ann/data"'),
    (not_ascii, "x = '\u00b5m'"),
]
WHERE = {blocks: "engine/trainer.py", prints: "engine/fit.py"}
INNOCENT = '''"""Doc."""

def f(x: int, *rest: str) -> int:
    """Doc."""
    model.eval()
    torch.load(path, weights_only=True)
    np.load(path, mmap_mode="c")
    yaml.safe_load(file)
    subprocess.run([tool], shell=False)
    return x

@triton.jit
def kernel(pointer, N):
    """Doc."""

def _private(x): ...
'''


@pytest.mark.parametrize(("rule", "text"), PLANTED)
def test_a_planted_breach_is_found(rule, text):
    assert rule(text, Path(WHERE.get(rule, "kernels/flip.py")))


@pytest.mark.parametrize(
    "name", ["engine/utils.py", "kernels/common/flip.py", "engine/base_task.py"]
)
def test_an_empty_name_is_found(name):
    assert empty_names("", Path(name))


@pytest.mark.parametrize("rule", [r for r in RULES if r is not blocks], ids=lambda r: r.__name__)
def test_innocent_code_passes(rule):
    innocent = INNOCENT.replace("    return x", "    return x  # nothing to print")
    assert rule(innocent, Path("kernels/flip.py")) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps_the_rule(rule):
    paths = sources(*RULES[rule])
    found = [line for p in paths for line in rule((ROOT / p).read_text(encoding="utf-8"), p)]
    assert not found, "\n".join(["", *found])


def test_half_of_all_functions_have_14_lines_or_fewer():
    trees = [ast.parse((ROOT / path).read_text(encoding="utf-8")) for path in sources(*LIBRARY)]
    lengths = [length(node) for tree in trees for node in functions(tree)]
    assert statistics.median(lengths) <= MEDIAN_LINES


def test_no_file_at_the_root_names_a_machine():
    names = [
        "pyproject.toml",
        "Makefile",
        "setup.py",
        "README.md",
        "CHANGELOG.md",
        "THIRD_PARTY.md",
    ]
    texts = {n: (ROOT / n).read_text(encoding="utf-8") for n in names if (ROOT / n).exists()}
    assert not [line for name, text in texts.items() for line in machine_paths(text, Path(name))]
