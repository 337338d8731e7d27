"""`foveate data`: its verbs and their flags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .words import Parser, add_json, count, group, seed, verb


def add_data(verbs: Any) -> None:
    """`foveate data` and its verbs."""
    text = "make, fetch, check, split and pack data"
    inner = group(verbs, "data", text, "synth|fetch|verify|split|pack|annotations", "data.help")
    synth = verb(inner, "synth", "data.synth", "draw the synthetic twin of a recipe's data")
    synth.add_argument("recipe", metavar="RECIPE")
    synth.add_argument("--out", metavar="DIR", type=Path, help="folder (default: in the cache)")
    synth.add_argument("--train", metavar="N", type=count, help="training images")
    synth.add_argument("--test", metavar="N", type=count, help="test images")
    synth.add_argument("--seed", metavar="N", type=seed)
    fetch = verb(inner, "fetch", "fetch.fetch", "download a public data set, or list them")
    fetch.add_argument("name", metavar="NAME", nargs="?", default="")
    fetch.add_argument("--to", metavar="DIR", type=Path, help="data folder (default data/NAME)")
    fetch.add_argument("--yes", action="store_true", help="accept the licence that is shown")
    add_json(fetch, "answer")
    text = "read every image once: damage, leaks, copies, counts"
    verify = verb(inner, "verify", "verify.verify", text)
    _add_verify(verify)
    add_json(verify, "findings")
    split = verb(inner, "split", "verify.split", "cut a folder into parts by patients")
    _add_split(split)
    _add_packs(inner)
    _add_annotations(inner)


def _add_packs(verbs: Any) -> None:
    inner = group(verbs, "pack", "decoded images in the cache", "build|ls|rm|check", "data.pack_ls")
    verbs.choices["pack"].set_defaults(json=None)
    verb(inner, "build", "data.pack_build", "decode a recipe's images into a pack", fields=True)
    add_json(verb(inner, "ls", "data.pack_ls", "packs and what they take"), "list")
    remove = verb(inner, "rm", "data.pack_rm", "delete packs; runs build them again")
    remove.add_argument("names", metavar="NAME", nargs="+", help="as `ls` shows it, or its start")
    check = verb(inner, "check", "data.pack_check", "read every pixel of a pack against its sums")
    check.add_argument("name", metavar="NAME")


def _add_annotations(verbs: Any) -> None:
    kinds = ("voc", "coco", "yolo", "jsonl")
    text = "check boxes and masks, or write them in another format"
    inner = group(verbs, "annotations", text, "check|convert", "annotations.help")
    check = verb(inner, "check", "annotations.check", "count what is wrong with annotations")
    convert = verb(
        inner, "convert", "annotations.convert", "read annotations, write another format"
    )
    for add in (check.add_argument, convert.add_argument):
        add("path", metavar="PATH", type=Path, help="a folder (VOC, YOLO) or a file")
        add("--format", default="auto", choices=("auto", *kinds), help="default auto")
        add("--split", default="", metavar="NAME", help="a list of VOC's ImageSets")
    check.add_argument("--images", metavar="DIR", type=Path, help="read the images' sizes there")
    check.add_argument("--known", default="", metavar="SET", help="expect bccd or livecell")
    add_json(check, "findings")
    convert.add_argument("target", metavar="TO", type=Path, help="a new folder or file")
    convert.add_argument("--to", required=True, choices=kinds, help="the format to write")
    convert.add_argument("--usable", action="store_true", help="drop what training cannot use")


def _add_verify(verb: Parser) -> None:
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


def _add_split(verb: Parser) -> None:
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
