"""Flags of the verbs that look at a data set; `arguments` says which verbs there are."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path


def add_verify(verb: argparse.ArgumentParser) -> None:
    """`foveate data verify`: a folder, or a recipe with any of its fields."""
    verb.set_defaults(fields=True)
    verb.add_argument("what", metavar="ROOT|RECIPE", help="a folder, or a recipe with a folder")
    verb.add_argument(
        "--group", metavar="PATTERN", default="", help="its parenthesis names the patient in a name"
    )
    verb.add_argument(
        "--table", metavar="CSV", default="", help="parts and patients, as `data split` writes them"
    )
    verb.add_argument(
        "--record", metavar="PATH", nargs="?", const="", help="write the hashes of a good set"
    )
    verb.add_argument(
        "--names", metavar="PATH", nargs="?", const="-", help="name files, here or in a 0600 file"
    )


def add_split(verb: argparse.ArgumentParser, seed: Callable[[str], int]) -> None:
    """`foveate data split`."""
    verb.add_argument("root", metavar="ROOT", type=Path)
    verb.add_argument(
        "--by", metavar="PATTERN|CSV", default="", help="whose an image is; default: its own"
    )
    verb.add_argument("--parts", metavar="PART=SHARE", nargs="+", required=True)
    verb.add_argument("--stratify", action="store_true", help="the shares within every class")
    verb.add_argument("--seed", metavar="N", type=seed, default=0)
    verb.add_argument("--out", metavar="CSV", type=Path, default=Path("split.csv"))


def join_patterns(words: Sequence[str]) -> list[str]:
    r"""`--by '-(\d+)-'` as `--by=-(\d+)-`: argparse takes what begins with a dash for a flag."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in ("--by", "--group") and word.startswith("-") and "(" in word:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined
