"""`foveate help TOPIC`: pages that are there, short, and true."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from foveate.engine.catalog import find
from foveate.engine.checkpoint import KEEP
from foveate.engine.cli import main
from foveate.engine.failure import EXIT_CODES, UsageError
from foveate.engine.topics.reader import FOLDER, list_topics, read_topic, topics
from foveate.engine.verbs import arguments
from foveate.engine.verbs.overrides import field_names

WANTED = {"exit-codes", "data", "slurm", "resume", "upgrade", "uninstall"}


def commands(text: str) -> list[str]:
    """Everything on a page that starts with `foveate`: in backquotes, or a line of its own."""
    quoted = re.findall(r"`(foveate [^`]+)`", text)
    lines = re.findall(r"^ {4}(?:srun )?(foveate .+?)(?: {3,}.*)?$", text, re.M)
    return [command for command in (*quoted, *lines) if not command.endswith(("TOPIC", ":"))]


def test_the_pages_that_were_promised_are_there():
    assert WANTED <= topics().keys()


@pytest.mark.parametrize("name", sorted(topics()))
def test_a_page_is_short_narrow_and_plain(name):
    text = (FOLDER / f"{name}.md").read_text()
    assert text.startswith("# ") and text.isascii()
    assert len(text.splitlines()) <= 30
    assert max(map(len, text.splitlines())) <= 100
    assert len(topics()[name]) <= 80


@pytest.mark.parametrize("name", sorted(topics()))
def test_every_command_on_a_page_is_one(name):
    for command in commands(read_topic(name)):
        words = shlex.split(command)[1:]
        words = [{"A": "a", "B": "b"}.get(word, word) for word in words]
        known = arguments.parse(words) if "--help" not in words else None
        fields = [w[2:] for w in (known.rest if known else []) if w.startswith("--")]
        assert set(fields) <= set(field_names(find("oct2017"))), command


def test_a_verb_or_a_field_that_is_none_would_be_found():
    assert commands("so `foveate trian x` and\n\n    foveate train oct2017 --lr 1     text") == [
        "foveate trian x",
        "foveate train oct2017 --lr 1",
    ]
    with pytest.raises(UsageError):
        arguments.parse(["trian", "x"])


@pytest.mark.parametrize("name", sorted(topics()))
def test_every_flag_on_a_page_is_one_of_ours_or_of_a_tool_that_the_page_runs(name):
    text = re.sub(r"^ {4}#SBATCH.*$", "", read_topic(name), flags=re.M)
    text = re.sub(r"`(?:pip|--signal)[^`]*`", "", text)
    flags = set(re.findall(r"(?<![\w-])--([a-z][\w.-]+)", text))
    fields = {item.replace("_", "-") for item in field_names(find("oct2017"))}
    lines = ["train x", "plan x", "launch local x", "eval x", "predict x y", "doctor"]
    lines += ["data fetch", "data verify x", "data split x --parts y"]
    ours = {flag[2:] for line in lines for flag in arguments.parse(line.split()).parser.flags}
    assert flags <= fields | ours | {"help"}


def test_the_exit_codes_are_those_of_the_program():
    shown = {int(code) for code in re.findall(r"^ +(\d+)  ", read_topic("exit-codes"), re.M)}
    assert shown == EXIT_CODES.keys()
    for code, said in EXIT_CODES.items():
        assert re.search(rf"^ +{code}  {re.escape(said)}$", read_topic("exit-codes"), re.M)


def test_numbers_on_the_pages_are_those_of_the_program():
    assert KEEP == 2 and "the last two" in read_topic("runs")
    assert "5 %" in read_topic("data")
    cited = set()
    for name in topics():
        found = re.findall(r"(?i)(?:exit code|ends? with) (\d+)", read_topic(name))
        cited |= {int(n) for n in found}
    assert {0, 10, 20, 143} <= cited <= EXIT_CODES.keys()


def test_help_alone_lists_every_page_in_a_line(capsys):
    assert main(["help"]) == 0
    said = capsys.readouterr().out
    assert said.strip() == list_topics()
    for name, title in topics().items():
        assert re.search(rf"^  {name} +{re.escape(title)}$", said, re.M)


@pytest.mark.parametrize(
    ("words", "start"),
    [(["slurm"], "How to train under SLURM"), (["exit", "codes"], "What the exit"),
     (["EXIT_CODES"], "What the exit")],
)  # fmt: skip
def test_a_topic_is_found_however_it_is_spelt(capsys, words, start):
    assert main(["help", *words]) == 0
    assert capsys.readouterr().out.startswith(start)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["slrum"], "no topic 'slrum'; did you mean 'slurm'?"),
        (["codes"], "did you mean 'exit-codes'?"),
        (["zzz"], "no topic 'zzz'; `foveate help` lists them"),
        (["../../README"], "no topic '../../README'"),
    ],
)
def test_an_unknown_topic_is_one_line_and_2(capsys, words, said):
    assert main(["help", *words]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("foveate: ") and said in told.err
    assert told.err.count("\n") == 1 and not told.out


def test_the_pages_lie_in_a_folder_that_is_packaged():
    assert list(FOLDER.glob("*.py")), "setup.py takes folders that hold Python files"
    project = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    assert '"*.md"' in project.split("[tool.setuptools.package-data]")[1].split("\n[")[0]
