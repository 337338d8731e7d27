"""The command line: what people type, the exit code and the one line that they get for it."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch

import foveate
from foveate.engine.cli import main
from foveate.engine.verbs import arguments, recipes
from foveate.engine.verbs.overrides import field_names
from foveate.recipes.oct2017 import recipe

ROOT = Path(__file__).resolve().parent.parent
CLASSES = ("CNV", "DME", "DRUSEN", "NORMAL")
SMALL = (
    "oct2017:quickstart --task.model shufflenet_v2_x0_5 --size 32 --batch 8 --epochs 1 "
    "--precision fp32 --schedule.sizes --schedule.shares"
)
TINY = f"{SMALL} --data.root good"


class Payload:
    """A pickle that makes a file called PWNED when it is loaded."""

    def __reduce__(self):
        return Path.touch, (Path("PWNED"),)


def draw(root: Path, classes: tuple[str, ...] = CLASSES, parts: str = "train test") -> None:
    """Eight gray JPEGs of 40 x 40 in each class folder."""
    rng = np.random.default_rng(0)
    for part in parts.split():
        for name in classes:
            (root / part / name).mkdir(parents=True)
            for number in range(8):
                gray = rng.integers(0, 255, (40, 40, 1), np.uint8)
                data = simplejpeg.encode_jpeg(gray, colorspace="GRAY")
                (root / part / name / f"{name}-{number}-1.jpeg").write_bytes(data)


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder with everything that the lines below name: data sets, weights, recipe files."""
    here = tmp_path_factory.mktemp("cli")
    draw(here / "good")
    draw(here / "extra", (*CLASSES, "ZZZ"))
    draw(here / "one", ("CNV",))
    draw(here / "notrain", parts="test")
    draw(here / "hollow")
    shutil.rmtree(here / "hollow/train/DME")
    (here / "hollow/train/DME").mkdir()
    draw(here / "torn")
    for path in sorted((here / "torn/train/DME").iterdir())[:5]:
        path.write_text("no image")
    (here / "nothing").mkdir()
    (here / "afile").write_text("text")
    torch.save({"a": Payload()}, here / "evil.pth")
    torch.save({"a": torch.ones(3)}, here / "other.pth")
    torch.save([1, 2], here / "list.pth")
    (here / "text.pth").write_text("text")
    (here / "text.safetensors").write_text("text")
    (here / "syntax.py").write_text("x = 1\nrecipe = (\n")
    (here / "raises.py").write_text("\nraise KeyError('boo')\n")
    (here / "empty.py").write_text("x = 1\n")
    return here


def make_run(place: Path) -> Path:
    """Train the tiny run, as `finished`; copies of it stand for a stopped and damaged ones."""
    out = shlex.quote(str(place / "finished"))
    receipt = shlex.quote(str(place / "receipt.json"))
    words = f"-q train {TINY} --out {out} --json {receipt}".replace("good", str(place / "good"))
    assert main(shlex.split(words)) == 0
    for name in ("stopped", "cut", "changed", "newer", "crowded", "unweighted", "odd"):
        shutil.copytree(place / "finished", place / name)
    (place / "stopped/receipt.json").unlink()
    (place / "cut/receipt.json").write_text('{"format": 1, ')
    weights = next((place / "changed/weights").glob("ema*"))
    shutil.copy(place / "changed/weights/last.safetensors", weights)
    facts = json.loads((place / "newer/recipe.json").read_text())
    (place / "newer/recipe.json").write_text(json.dumps(facts | {"format": 99}))
    (place / "crowded/thesis.tex").write_text("ten years of work")
    (place / "odd/recipe.json").write_text('{"name": "apple pie"}')
    return place / "finished"


@pytest.fixture(scope="session")
def run(place):
    """The folder of a finished run."""
    return make_run(place)


@pytest.fixture
def foveate_says(place, monkeypatch, capsys):
    """A function that runs one command line in `place`: (exit code, stdout, stderr)."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("FOVEATE_CACHE", os.environ["FOVEATE_CACHE"])  # --cache may change it

    def say(line: str) -> tuple[int, str, str]:
        code = main(shlex.split(line))
        told = capsys.readouterr()
        return code, told.out, told.err

    yield say
    logging.getLogger("foveate").handlers.clear()


MISTAKES = [
    ("trian oct2017", 2, r"no verb 'trian'; did you mean 'train'\?"),
    ("zzz", 2, r"no verb 'zzz'; it is one of recipes plan train"),
    ("recipes sohw oct2017", 2, r"no verb 'sohw'; did you mean 'show'\?"),
    ("data", 2, r"needs a verb: synth, fetch, verify, split, pack or annotations"),
    ("runs finished", 2, r"no verb 'finished'; it is one of ls show sync rm"),
    ("--jsno=x recipes ls", 2, r"no flag --jsno"),
    ("recipes ls --jsn x", 2, r"no flag --jsn"),
    ("recipes ls more", 2, r"'more' is one word too many"),
    ("train", 2, r"required: RECIPE; `foveate train --help`"),
    ("recipes diff oct2017", 2, r"required: OTHER"),
    ("plan oct2017 --json", 2, r"--json: expected one argument"),
    ("plan oct2017 --world 0", 2, r"--world: '0' is no whole number of 1 or more"),
    ("plan oct2017 --world two", 2, r"--world: 'two' is no whole number"),
    ("train oct2017 --freshh", 2, r"did you mean --fresh\?"),
    ("plan --batch 8 oct2017", 2, r"the recipe comes before its fields: foveate plan oct2017"),
    ("plan oct2017 extra", 2, r"'extra' belongs to no field"),
    ("plan oct2071", 10, r"no recipe 'oct2071'; did you mean 'oct2017'\?"),
    ("plan oct2017:fatihful", 10, r"did you mean 'faithful'\?"),
    ("plan oct2017 --lr 1", 10, r"did you mean --optimizer.lr\?"),
    ("plan oct2017 --batch", 10, r"batch has no value"),
    ("plan oct2017 --batch -8", 10, r"batch is -8; it must be above 0"),
    ("plan oct2017 --batch 1000000", 10, r"there are 66,?787 training images; give --batch"),
    ("plan oct2017 --norm-group 7", 10, r"batch 512 .* whole number of .*norm_group"),
    ("plan oct2017 --world 3", 10, r"cannot be shared by 3 ranks"),
    ("plan oct2017 --precision fp8", 10, r"precision is 'fp8'; it takes auto, bf16"),
    ("plan oct2017 --size 16", 10, r"size is .*32"),
    ("plan oct2017 --schedule.sizes 96 128", 10, r"schedule.shares is .* one share for each"),
    ("plan oct2017 --augment.area 1 .5", 10, r"augment.area must be \(low, high\)"),
    ("plan oct2017 --augment.elastic .06 --augment.scale 1 8", 10, r"augment.elastic .* can fold"),
    ("plan oct2017 --data.mean 1 2", 10, r"data.mean has 2 values"),
    ("plan oct2017:quickstart --keep best", 10, r"keep is best, but nothing is held out"),
    ("plan oct2017 --task.model resnet5", 10, r"did you mean 'resnet50'\?"),
    ("plan oct2017 --task.weights no.pth", 10, r"no weights file no.pth"),
    ("plan oct2017 --task.model vit_b_16", 10, r"vit_b_16 cannot train on a 128 x 128 px batch"),
    ("plan oct2017 --task.model inception_v3", 10, r"inception_v3 (cannot|gives more than one)"),
    (f"train {TINY} --task.model alexnet", 10, r"alexnet cannot train on a 8 x 32 px batch"),
    (f"train {TINY} --batch 1", 10, r"cannot train on a 1 x 32 px batch .*more than 1 value"),
    ("plan syntax.py", 10, r"syntax.py, line 2: SyntaxError"),
    ("plan raises.py", 10, r"raises.py, line 2: KeyError: 'boo'"),
    ("plan empty.py", 10, r"empty.py holds no recipe"),
    ("plan absent.py", 10, r"no recipe file absent.py"),
    ("recipes cp oct2017 syntax.py", 10, r"syntax.py is there already"),
    ("recipes cp oct2017 no/dir.py", 50, r"No such file or directory: no/dir.py"),
    ("train oct2017", 20, r"no data: give --data.root"),
    (f"train {TINY} --batch 64", 10, r"batch is 64 and there are 32 training images"),
    (f"train {TINY} --task.weights evil.pth", 10, r"evil.pth holds no plain tensors"),
    (f"train {TINY} --task.weights other.pth", 10, r"other.pth does not fit the model"),
    (f"train {TINY} --task.weights list.pth", 10, r"list.pth is no state dict"),
    (f"train {TINY} --task.weights text.pth", 10, r"text.pth holds no plain tensors"),
    (f"train {TINY} --task.weights text.safetensors", 10, r"holds no plain tensors"),
    (f"train {TINY} --task.weights good", 10, r"good holds no plain tensors"),
    (f"train {TINY} --out afile", 50, r"cannot write afile"),
    (f"train {TINY} --out /proc/no/where", 50, r"cannot write /proc/no/where"),
    (f"train {TINY} --json no/x.json", 50, r"--json no/x.json: there is no folder"),
    (f"train {TINY} --json good", 50, r"--json good is a folder"),
    (f"train {SMALL} --data.root absent", 20, r"no data folder .*absent"),
    (f"train {SMALL} --data.root afile", 20, r"no data folder .*afile"),
    (f"train {SMALL} --data.root notrain", 20, r"has no folder 'train'"),
    (f"train {SMALL} --data.root good/train", 20, r"folder above it"),
    (f"train {SMALL} --data.root extra", 20, r"class folders .*ZZZ"),
    (f"train {SMALL} --data.root one", 20, r"class folders CNV, the recipe names"),
    (f"train {SMALL} --data.root one --task.classes CNV", 10, r"task.classes needs two"),
    (f"train {SMALL} --data.root hollow", 20, r"no image in class folder .*DME"),
    (f"train {SMALL} --data.root torn --out torn-run", 20, r"5 of 32 images cannot be read"),
    ("data pack build oct2017", 20, r"no data: give --data.root"),
    ("data pack build oct2017 --data.root absent", 20, r"no data folder"),
    ("data synth oct2017:faithful", 10, r"has no synthetic twin"),
    ("data synth oct2017 --train -3", 2, r"--train: '-3' is no whole number of 1 or more"),
    ("data synth oct2017 --train 8 --test 4 --out good", 20, r"choose an empty folder"),
    ("data synth oct2017 --train 8 --test 4 --out afile", 50, r"cannot write afile"),
    ("runs ls absent", 50, r"no folder absent"),
    ("eval absent", 10, r"absent is no run folder"),
    ("eval good", 10, r"good is no run folder"),
    ("predict good good/test", 10, r"good is no run folder"),
    ("runs show good", 10, r"good is no run folder"),
    ("runs rm good", 10, r"good is no run folder"),
    ("runs rm afile", 10, r"afile is no run folder"),
    ("runs rm .", 10, r"\. is no run folder"),
    ("runs rm /", 10, r"/ is no run folder"),
    ("report good", 10, r"good is no run folder"),
]
AFTER_A_RUN = [
    (f"train {TINY} --out finished --seed 7", 10, r"another recipe \(seed: 0 -> 7\)"),
    (f"train {TINY} --out cut", 50, r"cut/receipt.json cannot be read"),
    ("eval stopped", 10, r"stopped holds no finished run"),
    ("eval finished --rot good", 2, r"no flag --rot; did you mean '--root'\?"),
    ("eval finished --split all", 2, r"invalid choice: 'all'"),
    ("eval finished --split val", 20, r"has no val split"),
    ("eval finished --root absent", 20, r"no data folder"),
    ("eval changed", 50, r"changed.weights.* is not what the receipt says"),
    ("eval newer", 10, r"format 99; upgrade foveate"),
    ("eval odd", 10, r"odd is no run folder"),
    ("predict finished", 2, r"required: PATH"),
    ("predict finished absent.jpeg", 20, r"no file or folder absent.jpeg"),
    ("predict finished nothing", 20, r"no image under nothing"),
    ("predict finished good/test --json no/p.json", 50, r"there is no folder"),
    ("predict stopped good/test", 10, r"stopped holds no finished run"),
    ("runs rm odd", 10, r"odd is no run folder"),
    ("runs rm crowded", 10, r"holds more than a run \(thesis.tex\); nothing is deleted"),
]


def check_mistake(said: tuple[int, str, str], code: int, text: str) -> None:
    """Nothing on standard output, one line on standard error."""
    got, out, err = said
    out = re.sub(r"\Athe pack will take about .*\n", "", out)  # where it had to be built first
    assert (got, out) == (code, ""), said
    assert re.fullmatch(rf"foveate: .*(?:{text}).*\n", err), err


@pytest.mark.parametrize(("line", "code", "text"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_a_mistake_is_answered_in_one_line(foveate_says, place, line, code, text):
    check_mistake(foveate_says(line), code, text)
    assert not (place / "PWNED").exists()
    assert (place / "good/train/CNV/CNV-0-1.jpeg").exists()


@pytest.mark.parametrize(("line", "code", "text"), AFTER_A_RUN, ids=[m[0] for m in AFTER_A_RUN])
def test_a_mistake_about_a_run_is_answered_in_one_line(foveate_says, run, line, code, text):
    check_mistake(foveate_says(line), code, text)
    assert (run.parent / "crowded/thesis.tex").exists() and (run.parent / "odd").exists()


def test_the_payload_of_the_corpus_is_live(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Payload()}, "evil.pth")
    torch.load("evil.pth", weights_only=False)
    assert Path("PWNED").exists()


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("", r"usage: foveate .*exit codes:.*143"),
        ("--help", r"usage: foveate .*not a medical device"),
        ("--version", rf"foveate {re.escape(foveate.__version__)}\n"),
        ("recipes ls --version", rf"foveate {re.escape(foveate.__version__)}\n"),
        ("train --help", r"usage: foveate train .*--fresh.*Any recipe field is a flag"),
        ("-h train", r"usage: foveate"),
        ("train oct2017 --help", r"--fresh.*recipe fields.*--optimizer.lr FLOAT.*default: 0.4"),
        ("train --help oct2017 --batch 8", r"--batch INT\s.*\(default: 8\)"),
        ("runs rm --help", r"usage: foveate runs rm .*RUN"),
        ("recipes", r"oct2017 +resnet50 .*oct2017:quickstart"),
        ("recipes ls -q", r"oct2017 +resnet50 "),
        ("recipes show oct2017 --batch 8 -v", r"oct2017 .*Kermany|2018: 997.*\(default: 8\)"),
        ("recipes diff oct2017 oct2017:faithful", r"batch: 512 -> 16\n.*optimizer.lr: 0.4 -> 0.01"),
        ("recipes diff oct2017 oct2017:fast", r"no field differs"),
        ("plan oct2017 --world 2", r"world 2.*steps|steps +261.*world 2"),
        ("-q plan oct2017 --json - -v", r'\A\{.*"steps": 261.*\}\n\Z'),
        ("runs ls", r"\A\Z"),
    ],
)
def test_help_and_lists_go_to_standard_output(foveate_says, line, shown):
    code, out, err = foveate_says(line)
    assert (code, err) == (0, "")
    assert re.search(shown, out, re.S), out
    assert max(map(len, out.splitlines()), default=0) <= 100
    assert "\x1b" not in out


def test_runs_are_listed_and_shown_and_a_damaged_one_hides_no_other(foveate_says, run):
    code, out, err = foveate_says("runs ls .")
    assert (code, err) == (0, "")
    assert re.search(r"(?m)^finished +finished +4/4 +\d+\.\d+%$", out)
    assert re.search(r"(?m)^stopped +stopped +4/4$", out)
    assert re.search(r"(?m)^cut +damaged ", out)
    receipt = json.loads((run.parent / "receipt.json").read_text())
    assert receipt == json.loads((run / "receipt.json").read_text())
    assert receipt["weights_sha256"] in foveate_says("runs show finished")[1]
    assert re.search(r"stopped after step \d of 4", foveate_says("runs show stopped")[1])


def test_a_finished_run_is_scored_again_to_the_same_numbers(foveate_says, run):
    receipt = json.loads((run / "receipt.json").read_text())
    code, out, _ = foveate_says("eval finished --json -")
    assert (code, json.loads(out)["scores"]) == (0, receipt["scores"]["test"])
    assert "of 32 test images right" in foveate_says("eval finished --root good")[1]
    assert foveate_says("eval finished --json scores.json")[1] == ""
    assert json.loads((run.parent / "scores.json").read_text()) == json.loads(out)


def test_a_finished_run_answers_for_files_and_says_20_where_one_is_bad(foveate_says, run):
    code, out, _ = foveate_says("predict finished good/test/CNV --json -")
    assert code == 0 and len(json.loads(out)["images"]) == 8
    code, out, _ = foveate_says("predict finished afile good/test/CNV/CNV-0-1.jpeg")
    assert code == 20 and re.match(r"afile +cannot be read.*\n.*jpeg +[A-Z]+ +\d", out)


def test_the_report_is_written_again(foveate_says, run):
    (run / "report.html").unlink()
    assert foveate_says("report finished")[:2] == (0, "finished/report.html\n")
    assert (run / "report.html").exists()


def test_the_same_command_shows_the_receipt_and_fresh_sets_the_run_aside(foveate_says, run, place):
    shutil.copytree(run, place / "again")
    code, out, err = foveate_says(f"train {TINY} --out again")
    assert code == 0 and "already finished: again" in out and "test images right" in out
    code, out, err = foveate_says(f"train {TINY} --out again --fresh --json -")
    assert code == 0 and "step 4/4" in err
    assert json.loads(out)["steps"] == 4
    assert (place / "again.old-1/receipt.json").exists()
    assert foveate_says("runs rm again")[:2] == (0, "removed again\n")
    assert not (place / "again").exists()


def test_the_cache_is_where_the_flag_says(foveate_says, place):
    assert foveate_says("data synth oct2017 --train 8 --test 4 --cache kept")[0] == 0
    assert (place / "kept/twins/oct-8-4-0/twin.json").exists()
    assert foveate_says("data pack build oct2017:quickstart --data.root good --cache kept")[0] == 0
    assert list((place / "kept/packs").iterdir())


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 143, "foveate: stopped; the same command goes on\n"),
        (BrokenPipeError(), 0, ""),
        (MemoryError(), 30, "foveate: out of memory; "),
        (PermissionError(13, "Permission denied", "x.json"), 50, "foveate: Permission denied: x"),
    ],
)
def test_whatever_ends_a_verb_ends_in_one_line(foveate_says, monkeypatch, error, code, said):
    def fail(known):
        raise error

    monkeypatch.setattr(recipes, "ls", fail)
    got, out, err = foveate_says("recipes ls")
    assert (got, out) == (code, "") and err.startswith(said) and err.count("\n") <= 1


def test_a_bug_of_ours_is_not_hidden(foveate_says, monkeypatch):
    monkeypatch.setattr(recipes, "ls", lambda known: [][1])
    with pytest.raises(IndexError):
        foveate_says("recipes ls")


def test_no_flag_of_a_verb_hides_a_recipe_field():
    parsers = [arguments.parse([verb, "x"]).parser for verb in ("plan", "train")]
    flags = {flag[2:].replace("-", "_") for parser in parsers for flag in parser.flags}
    assert not flags & set(field_names(recipe))


def test_the_module_runs_as_a_command_and_a_closed_pipe_is_quiet(place):
    line = f"'{sys.executable}' -m foveate recipes ls; echo code $? >&2"
    read, write = os.pipe()
    os.close(read)  # as `| head` does, once it has seen enough
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
    found = subprocess.run(
        ["sh", "-c", line], cwd=place, env=environment, stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert found.stderr.decode() == "code 0\n"
