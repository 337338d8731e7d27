"""What may be written after `foveate`: verbs and their flags. Values of recipe fields pass through.

Nothing here imports torch: a misspelt word is answered before anything heavy is loaded.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from .failure import EXIT_CODES, UsageError

FIELDS = (
    "Any recipe field is a flag: --optimizer.lr 0.1 --data.no-shuffle-labels "
    "--schedule.sizes 96 128. Give a recipe to see its fields: foveate {} RECIPE --help"
)


class Parser(argparse.ArgumentParser):
    """argparse with one line per mistake, no guessing of shortened flags, and a nearest name."""

    def __init__(self, *words: Any, **settings: Any) -> None:
        self.flags: list[str] = []
        """Long flags, to find the nearest by."""
        super().__init__(*words, **{"allow_abbrev": False, **settings})

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """As argparse has it, remembering the long flags."""
        self.flags += [name for name in names if str(name).startswith("--")]
        return super().add_argument(*names, **settings)

    def error(self, message: str) -> Any:
        """Raises UsageError, with the nearest of what could have been meant."""
        wrong = re.match(r"argument (.+): invalid choice: '(.*)' \(choose from (.*)\)", message)
        if wrong and not wrong[1].startswith("-"):
            verbs = re.findall(r"[\w-]+", wrong[3])
            near = nearest(wrong[2], verbs)
            raise UsageError(
                f"no verb '{wrong[2]}'{near or f'; it is one of {chr(32).join(verbs)}'}"
            )
        raise UsageError(f"{message}; `{self.prog} --help` shows what there is")


def nearest(name: str, known: Sequence[str]) -> str:
    """`; did you mean 'train'?` for 'trian', empty where nothing is close."""
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean '{close[0]}'?" if close else ""


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The verb's flags, with `run` (a function of `verbs`, or `module.function` of the engine),
    `parser`, `help`, and `rest`: the words that may be recipe fields.

    Raises UsageError for an unknown verb or flag, SystemExit where help or version was printed.
    """
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
    _add_data(verbs)
    _add_runs(verbs)
    _add_help(verbs)
    return parser


def add_shared(parser: Parser) -> None:
    """Flags that may stand anywhere: taken out before the verb reads its own."""
    parser.add_argument("--version", action="version", version=f"foveate {__version__}")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, no notes")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; -vv: all")
    parser.add_argument(
        "--cache", default="", metavar="DIR", help="packs and twins (default ~/.cache/foveate)"
    )


def _verb(verbs: Any, name: str, run: str, text: str, fields: bool = False) -> Parser:
    """`fields`: it takes a recipe, and any of the recipe's fields as a flag."""
    note = FIELDS.format(name) if fields else None
    verb = verbs.add_parser(name, help=text, description=text, epilog=note)
    add_shared(verb)
    verb.set_defaults(run=run, parser=verb, fields=fields)
    if fields:
        verb.add_argument(
            "recipe", metavar="RECIPE", help="a name, a file, or either with :variant"
        )
    return verb


def _group(verbs: Any, name: str, text: str, inner: str, run: str) -> Any:
    """A verb of verbs, and what it does when it stands alone."""
    group = verbs.add_parser(name, help=text, description=text)
    add_shared(group)
    group.set_defaults(run=run, parser=group, fields=False)
    return group.add_subparsers(title="verbs", metavar=inner, parser_class=Parser)


def _add_json(verb: Parser, what: str) -> None:
    verb.add_argument("--json", metavar="PATH", help=f"write the {what} as JSON, - for stdout")


def _add_tracking(verb: Parser) -> None:
    verb.add_argument(
        "--tracking",
        metavar="URI",
        help="MLflow server or database, or none (default MLFLOW_TRACKING_URI, or mlflow.db "
        "beside the run folder)",
    )


def _add_recipes(verbs: Any) -> None:
    inner = _group(verbs, "recipes", "what can be trained", "ls|show|cp|diff", "recipes_ls")
    _verb(inner, "ls", "recipes_ls", "list recipes and their variants")
    _verb(inner, "show", "recipes_show", "every field of a recipe", fields=True)
    copy = _verb(inner, "cp", "recipes_cp", "copy a recipe to a file of your own")
    copy.add_argument("recipe", metavar="RECIPE")
    copy.add_argument("to", metavar="PATH", nargs="?", default=".", type=Path)
    diff = _verb(inner, "diff", "recipes_diff", "fields in which two recipes differ")
    diff.add_argument("one", metavar="RECIPE")
    diff.add_argument("other", metavar="OTHER")


def _add_running(verbs: Any) -> None:
    plan = _verb(verbs, "plan", "plan", "every number of a run, without running it", fields=True)
    _add_json(plan, "plan")
    plan.add_argument("--world", type=_count, default=1, help="number of processes to plan for")
    train = _verb(verbs, "train", "train", "train a recipe, or go on where it stopped", fields=True)
    _add_training(train)
    inner = _group(verbs, "launch", "train on several processes", "local", "launch_help")
    local = _verb(inner, "local", "launch_local", "train on processes of this machine", fields=True)
    _add_training(local)
    local.add_argument("--nproc", metavar="N", type=_count, default=2, help="processes (default 2)")


def _add_training(verb: Parser) -> None:
    _add_json(verb, "receipt")
    verb.add_argument("--out", metavar="DIR", help="run folder (default runs/NAME-HASH)")
    verb.add_argument("--fresh", action="store_true", help="set an old run aside first")
    _add_tracking(verb)


def _add_scoring(verbs: Any) -> None:
    score = _verb(verbs, "eval", "evaluate", "score a finished run on a data folder")
    score.add_argument("folder", metavar="RUN", type=Path)
    score.add_argument(
        "--root", "--data.root", default="", metavar="DIR", help="data (default: the run's own)"
    )
    score.add_argument("--split", default="test", choices=("val", "test"), help="default test")
    _add_json(score, "scores")
    guess = _verb(verbs, "predict", "predict", "classify image files or folders of them")
    guess.add_argument("folder", metavar="RUN", type=Path)
    guess.add_argument("paths", metavar="PATH", nargs="+", type=Path)
    _add_json(guess, "answers")


def _add_data(verbs: Any) -> None:
    inner = _group(verbs, "data", "make, fetch and pack data", "synth|fetch|pack", "data_help")
    synth = _verb(inner, "synth", "data_synth", "draw the synthetic twin of a recipe's data")
    synth.add_argument("recipe", metavar="RECIPE")
    synth.add_argument("--out", metavar="DIR", type=Path, help="folder (default: in the cache)")
    synth.add_argument("--train", metavar="N", type=_count, help="training images")
    synth.add_argument("--test", metavar="N", type=_count, help="test images")
    synth.add_argument("--seed", metavar="N", type=_seed)
    fetch = _verb(
        inner, "fetch", "verbs_fetch.data_fetch", "download a public data set, or list them"
    )
    fetch.add_argument("name", metavar="NAME", nargs="?", default="")
    fetch.add_argument("--to", metavar="DIR", type=Path, help="data folder (default data/NAME)")
    fetch.add_argument("--yes", action="store_true", help="accept the licence that is shown")
    _add_json(fetch, "answer")
    _verb(inner, "pack", "data_pack", "decode a recipe's images into a pack", fields=True)


def _add_runs(verbs: Any) -> None:
    text = "list, show, replay and remove run folders"
    inner = _group(verbs, "runs", text, "ls|show|sync|rm", "verbs_runs.runs_ls")
    verbs.choices["runs"].set_defaults(folder=Path("runs"))
    ls = _verb(inner, "ls", "verbs_runs.runs_ls", "list the runs of a folder")
    ls.add_argument("folder", metavar="DIR", nargs="?", default=Path("runs"), type=Path)
    show = _verb(inner, "show", "verbs_runs.runs_show", "one run in full, or two compared")
    show.add_argument("folder", metavar="RUN", type=Path)
    show.add_argument("other", metavar="OTHER", type=Path, nargs="?", help="hold RUN against it")
    _add_json(show, "receipt or comparison")
    text = "bring MLflow up to date with a run's metrics.jsonl"
    sync = _verb(inner, "sync", "verbs_runs.runs_sync", text)
    sync.add_argument("folder", metavar="RUN", type=Path)
    _add_tracking(sync)
    remove = _verb(
        inner, "rm", "verbs_runs.runs_rm", "delete a run folder, and nothing that is none"
    )
    remove.add_argument("folder", metavar="RUN", type=Path)
    page = _verb(verbs, "report", "verbs_runs.report", "write a run's report.html again")
    page.add_argument("folder", metavar="RUN", type=Path)


def _add_help(verbs: Any) -> None:
    doctor = _verb(verbs, "doctor", "verbs_help.doctor", "say what would stop a run here, and why")
    doctor.add_argument(
        "--runs", metavar="DIR", default=Path("runs"), type=Path, help="where runs are to lie"
    )
    _add_json(doctor, "findings")
    topic = _verb(verbs, "help", "verbs_help.help_topic", "a page about a topic, or a list of them")
    topic.add_argument("topic", metavar="TOPIC", nargs="*", help="exit-codes, data, resume, ...")


def _count(text: str) -> int:
    return _whole(text, 1)


def _seed(text: str) -> int:
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    """argparse turns the error into its own `argument --world: ...`."""
    if not re.fullmatch(r"\d+", text) or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of {least} or more")
    return int(text)
