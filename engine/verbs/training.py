"""Verbs about planning, training and scores, a function each; they show on standard output.

A verb refuses what it can see to be wrong before it starts anything slow.
"""

from __future__ import annotations

import os
from argparse import Namespace
from contextlib import closing

from ..failure import UsageError
from .answer import write_answer
from .asked import console_of, named_recipe, show_fields
from .guards import check_output, check_run


def plan(known: Namespace) -> int:
    """`foveate plan RECIPE [--world N]`"""
    if known.help:
        return show_fields(known)
    recipe = named_recipe(known)
    check_output(known.json)
    from ..planning import check_model, describe_plan, plan_recipe

    made, source = plan_recipe(recipe, known.world, console_of(known))
    check_model(recipe)
    if not write_answer(known.json, made.to_dict()):
        print(describe_plan(made, source))
    return 0


def train(known: Namespace) -> int:
    """`foveate train RECIPE [--out DIR] [--fresh] [--tracking URI]`"""
    if known.help:
        return show_fields(known)
    recipe = named_recipe(known)
    check_output(known.json)
    from ..fit import fit

    with closing(console_of(known)) as console:
        receipt = fit(
            recipe, out=known.out, fresh=known.fresh, console=console, tracking=known.tracking
        )
    if os.environ.get("RANK", "0") != "0":
        return 0  # one of several processes speaks
    if not write_answer(known.json, receipt.to_dict()):
        print(receipt.describe())
    return 0


def launch_help(known: Namespace) -> int:
    """`foveate launch`"""
    raise UsageError("`foveate launch` needs a verb: local")


def launch_local(known: Namespace) -> int:
    """`foveate launch local --nproc N RECIPE [--out DIR] [--fresh]`"""
    if known.help:
        return show_fields(known)
    named_recipe(known)  # mistakes are answered once, before there are several processes
    check_output(known.json)
    from ..launch import launch_local

    words = [known.recipe, *known.rest]
    words += ["--out", known.out] if known.out else []
    words += ["--fresh"] * known.fresh + ["-q"] * known.quiet + ["-v"] * known.verbose
    words += ["--json", known.json] if known.json else []
    words += ["--tracking", known.tracking] if known.tracking else []
    return launch_local(known.nproc, words)


def evaluate(known: Namespace) -> int:
    """`foveate eval RUN [--root DIR]`"""
    check_output(known.json)
    check_run(known.folder)
    from ..scoring import describe_scores, score_run

    scores = score_run(known.folder, known.root, known.split, console_of(known))
    if not write_answer(known.json, scores):
        print(describe_scores(scores))
    return 0


def predict(known: Namespace) -> int:
    """`foveate predict RUN PATH...`; 20 where a file could not be read."""
    check_output(known.json)
    check_run(known.folder)
    from ..scoring import predict_files

    answers = predict_files(known.folder, known.paths)
    if not write_answer(known.json, answers):
        for answer in answers["images"]:
            said = answer.get("error") or f"{answer['class']:16} {answer['confidence']:.1%}"
            print(f"{answer['path']}  {said}")
    return 0 if all("error" not in answer for answer in answers["images"]) else 20
