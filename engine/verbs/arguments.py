"""What may be written after `foveate`: verbs and their flags. Values of recipe fields pass through.

Nothing here imports torch: a misspelt word is answered before anything heavy is loaded.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..failure import EXIT_CODES, UsageError
from . import arguments_data
from .words import Parser, add_json, add_shared, add_tracking, count, group, nearest, verb


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The verb's flags, with `run` (`module.function` below `engine/verbs`),
    `parser`, `help`, and `rest`: the words that may be recipe fields.

    Raises UsageError for an unknown verb or flag, SystemExit where help or version was printed.
    """
    words = arguments_data.join_patterns(words)
    shared = Parser(add_help=False, prog="foveate")
    add_shared(shared)
    said, words = shared.parse_known_args(words)
    plain = [word for word in words if word not in ("-h", "--help")]
    parser = make_parser()
    try:
        known, rest = parser.parse_known_args(plain)
    except UsageError:
        if len(plain) < len(words):
            parser.parse_known_args(words)  # prints the help that was asked for, and leaves
        raise
    known.help, known.rest = len(plain) < len(words), rest
    if known.help and not known.fields:
        known.parser.parse_args(["--help"])
    if rest and not known.fields:
        raise unknown(rest[0], known.parser)
    return argparse.Namespace(**vars(known) | vars(said))


def unknown(word: str, parser: Parser) -> UsageError:
    """What to say of a word that is no flag of `parser`."""
    name = word.partition("=")[0]
    what = f"no flag {name}" if name.startswith("-") else f"'{word}' is one word too many"
    near = nearest(name, parser.flags)
    return UsageError(f"{what}{near or f'; `{parser.prog} --help` shows what there is'}")


def make_parser() -> Parser:
    """Every verb with its flags."""
    codes = "\n".join(f"  {code:3}  {text}" for code, text in EXIT_CODES.items())
    parser = Parser(
        prog="foveate",
        description="Train on medical images as fast as the hardware allows.",
        epilog=f"exit codes:\n{codes}\n\nResearch use only, not a medical device.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_shared(parser)
    parser.set_defaults(run="", parser=parser, fields=False)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", parser_class=Parser)
    _add_recipes(verbs)
    _add_running(verbs)
    _add_scoring(verbs)
    arguments_data.add_data(verbs)
    _add_runs(verbs)
    _add_help(verbs)
    return parser


def _add_recipes(verbs: Any) -> None:
    inner = group(verbs, "recipes", "what can be trained", "ls|show|cp|diff", "recipes.ls")
    verb(inner, "ls", "recipes.ls", "list recipes and their variants")
    verb(inner, "show", "recipes.show", "every field of a recipe", fields=True)
    copy = verb(inner, "cp", "recipes.cp", "copy a recipe to a file of your own")
    copy.add_argument("recipe", metavar="RECIPE")
    copy.add_argument("to", metavar="PATH", nargs="?", default=".", type=Path)
    diff = verb(inner, "diff", "recipes.diff", "fields in which two recipes differ")
    diff.add_argument("one", metavar="RECIPE")
    diff.add_argument("other", metavar="OTHER")


def _add_running(verbs: Any) -> None:
    plan = verb(
        verbs, "plan", "training.plan", "every number of a run, without running it", fields=True
    )
    add_json(plan, "plan")
    plan.add_argument("--world", type=count, default=1, help="number of processes to plan for")
    train = verb(
        verbs, "train", "training.train", "train a recipe, or go on where it stopped", fields=True
    )
    _add_training(train)
    inner = group(verbs, "launch", "train on several processes", "local", "training.launch_help")
    local = verb(
        inner, "local", "training.launch_local", "train on processes of this machine", fields=True
    )
    _add_training(local)
    local.add_argument("--nproc", metavar="N", type=count, default=2, help="processes (default 2)")


def _add_training(verb: Parser) -> None:
    add_json(verb, "receipt")
    verb.add_argument("--out", metavar="DIR", help="run folder (default runs/NAME-HASH)")
    verb.add_argument("--fresh", action="store_true", help="set an old run aside first")
    add_tracking(verb)


def _add_scoring(verbs: Any) -> None:
    score = verb(verbs, "eval", "training.evaluate", "score a finished run on a data folder")
    score.add_argument("folder", metavar="RUN", type=Path)
    score.add_argument(
        "--root", "--data.root", default="", metavar="DIR", help="data (default: the run's own)"
    )
    score.add_argument("--split", default="test", choices=("val", "test"), help="default test")
    add_json(score, "scores")
    guess = verb(verbs, "predict", "training.predict", "classify image files or folders of them")
    guess.add_argument("folder", metavar="RUN", type=Path)
    guess.add_argument("paths", metavar="PATH", nargs="+", type=Path)
    add_json(guess, "answers")


def _add_runs(verbs: Any) -> None:
    text = "list, show, replay and remove run folders"
    inner = group(verbs, "runs", text, "ls|show|sync|rm", "runs.ls")
    verbs.choices["runs"].set_defaults(folder=Path("runs"))
    ls = verb(inner, "ls", "runs.ls", "list the runs of a folder")
    ls.add_argument("folder", metavar="DIR", nargs="?", default=Path("runs"), type=Path)
    show = verb(inner, "show", "runs.show", "one run in full, or two compared")
    show.add_argument("folder", metavar="RUN", type=Path)
    show.add_argument("other", metavar="OTHER", type=Path, nargs="?", help="hold RUN against it")
    add_json(show, "receipt or comparison")
    text = "bring MLflow up to date with a run's metrics.jsonl"
    sync = verb(inner, "sync", "runs.sync", text)
    sync.add_argument("folder", metavar="RUN", type=Path)
    add_tracking(sync)
    remove = verb(inner, "rm", "runs.rm", "delete a run folder, and nothing that is none")
    remove.add_argument("folder", metavar="RUN", type=Path)
    page = verb(verbs, "report", "runs.report", "write a run's report.html again")
    page.add_argument("folder", metavar="RUN", type=Path)


def _add_help(verbs: Any) -> None:
    doctor = verb(verbs, "doctor", "help.doctor", "say what would stop a run here, and why")
    doctor.add_argument(
        "--runs", metavar="DIR", default=Path("runs"), type=Path, help="where runs are to lie"
    )
    add_json(doctor, "findings")
    topic = verb(verbs, "help", "help.help_topic", "a page about a topic, or a list of them")
    topic.add_argument("topic", metavar="TOPIC", nargs="*", help="exit-codes, data, resume, ...")
