"""The README is run, and its figures are those of the results files."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from pictures import CLASSES, write_pictures

from foveate.engine.catalog import find
from foveate.engine.failure import EXIT_CODES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_twenty_lines_run(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(code.strip().splitlines()) < 20
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "OCT2017")
    for old, new in {
        '("CNV", "DME", "DRUSEN", "NORMAL")': repr(CLASSES),
        '"resnet50", weights="imagenet"': '"shufflenet_v2_x0_5"',
        "batch=16": "size=32, batch=8",
        "OCT2017/test/CNV": f"OCT2017/test/{CLASSES[0]}",
    }.items():
        assert old in code
        code = code.replace(old, new)
    exec(compile(code, "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert re.search(r"^[01]\.\d+ \[\[\d+, \d+\], \[\d+, \d+\]\]$", said, re.M)
    assert "'confidence'" in said
    assert list((tmp_path / "runs").glob("my-oct-*/report.html"))


def test_every_recipe_that_is_named_exists():
    for name in re.findall(r"\b(?:oct2017|brain_mri|chest_xray):\w+", README):
        find(name)


def test_every_exit_code_is_named():
    line = README.split("## Exit codes")[1].split("##")[0]
    assert {int(n) for n in re.findall(r"(?:^|\W)(\d+) ", line)} >= EXIT_CODES.keys()


def test_the_tree_names_every_folder():
    tree = README.split("## Tree")[1].split("##")[0]
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] not in "._"}
    known = folders & set("kernels dataloaders engine recipes tests benchmarks foveate".split())
    assert all(f"{name}/" in tree for name in known) and len(known) == 7


def test_every_measured_figure_is_that_of_its_results_file():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    block = tables.render(ROOT / "benchmarks" / "results")
    assert block.count("|") > 10, "nothing measured"
    assert tables.place(README, block) == README, "run python benchmarks/tables.py --write"
