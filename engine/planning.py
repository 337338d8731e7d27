"""`foveate plan`: the plan of a recipe for any number of processes, from what is known today."""

from __future__ import annotations

import textwrap
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import nn

from ..dataloaders.errors import DataError
from ..dataloaders.folder import check_classes, check_root
from .failure import RecipeError
from .plan import Plan, make_plan, this_machine
from .recipe import Recipe, expand
from .run.console import Console
from .run.listing import Listing, list_data, parts_of, twin_folder
from .run.prepare import decide_feed


def plan_recipe(recipe: Recipe, world: int, console: Console) -> tuple[Plan, str]:
    """(plan, where the image counts are from): the disk, the twin, or the recipe's expectation.

    Reads 32 images at most and writes nothing. Raises RecipeError where the recipe is impossible,
    DataError where the folder it names is not what it needs.
    """
    if world < 1:
        raise RecipeError(f"world is {world}; a run has 1 process or more")
    machine = replace(this_machine(), world=world)
    train, held, source, listing = count_images(recipe, console)
    plan = make_plan(recipe, machine, train_images=train, held_out_images=held)
    if listing is None:
        return plan, source
    feed, why = decide_feed(recipe, listing, machine)
    return replace(plan, feed=feed, feed_why=why, notes=plan.notes + listing.differences), source


def check_recipe(recipe: Recipe, console: Console) -> None:
    """Raises what training would raise later, after a twin is drawn or a data set decoded.

    Looks at names, sizes and folders only; `fit` makes the real plan from the real counts.
    """
    data = recipe.data
    if data.root:
        root = expand(data.root).absolute()
        parts = parts_of(data, root)
        check_root(root, parts)
        for part in parts:
            check_classes(root / part, recipe.task.classes)
    elif data.twin.kind == "none":
        raise DataError("no data: give --data.root FOLDER, the unpacked data set")
    else:
        plan_recipe(recipe, 1, console)
    check_model(recipe)


def check_model(recipe: Recipe) -> None:
    """Raises RecipeError for a model or weights file that cannot be had, or does not fit the sizes.

    Downloads nothing and computes nothing: the model answers on the meta device.
    """
    weights = getattr(recipe.task, "weights", "none")
    named = weights in ("none", "imagenet")
    task = recipe.task.untrained() if named else recipe.task
    with torch.device("meta") if named else nullcontext():
        model = task.build(recipe.data.channels).to("meta")
    sides = (recipe.size, *recipe.schedule.sizes)
    for side in sorted({min(sides), max(sides)}):
        _check_side(recipe, model, side)


def _check_side(recipe: Recipe, model: nn.Module, side: int) -> None:
    images = max(1, min(2, recipe.norm_group or recipe.batch))  # one alone has no batch statistics
    name = getattr(recipe.task, "model", type(model).__name__)
    try:
        image = torch.empty(images, recipe.data.channels, side, side, device="meta")
        with torch.no_grad():
            answer = model.train()(image)
    except (RuntimeError, ValueError, AssertionError) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise RecipeError(
            f"{name} cannot train on a {recipe.norm_group or recipe.batch} x {side} px batch "
            f"({said}); give another --size, --schedule.sizes, --batch or --task.model"
        ) from None
    if not isinstance(answer, torch.Tensor):
        raise RecipeError(f"{name} gives more than one tensor of scores; give another --task.model")
    wanted = (images, len(recipe.task.classes))
    if answer.shape != wanted:
        raise RecipeError(
            f"{name} gives {tuple(answer.shape)} for {images} images of {wanted[1]} classes; "
            f"it has to give {wanted}"
        )


def count_images(recipe: Recipe, console: Console) -> tuple[int, int, str, Listing | None]:
    """(images to fit, images held out, source, the listing where there are files)."""
    data = recipe.data
    drawn = twin_folder(data.twin) / "twin.json"
    if data.root or (data.twin.kind != "none" and drawn.exists()):
        listing = list_data(recipe, console)
        sizes = {name: len(found) for name, found in listing.members.items()}
        return sizes["train"], sizes["val"], str(listing.manifest.root), listing
    if data.twin.kind != "none":
        counts, source = [data.twin.train], "the synthetic twin, not drawn yet"
    else:
        counts, source = list(data.expect_train), "the counts that the recipe expects"
    held = sum(round(data.holdout * n) for n in counts) if data.split != "none" else 0
    return sum(counts) - held, held, source, None


def describe_plan(plan: Plan, source: str) -> str:
    """The page that `foveate plan` prints."""
    recipe, machine = plan.recipe, plan.machine
    phases = ", ".join(f"{side} px from step {first}" for first, side in plan.resolutions)
    buffers = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in plan.buffer_bytes.items())
    lines = [
        f"{recipe.name}  {plan.recipe_hash}",
        f"  claim        {recipe.claim.text}",
        f"  data         {plan.train_images:,} to fit, {plan.held_out_images:,} held out "
        f"({source})",
        f"  steps        {plan.steps:,} of {recipe.batch} images, "
        f"{plan.steps * recipe.batch:,} image passes",
        f"  micro-batch  {plan.micro} x {plan.accumulate} per rank, world {machine.world}",
        f"  size         {phases}",
        f"  lr           {plan.lr[0]:.3g} first, {max(plan.lr):.3g} highest, "
        f"{plan.lr[-1]:.3g} last",
        f"  evaluates    {_count(plan.evals)}",
        f"  saves        {_count(plan.saves)}",
        f"  precision    {plan.precision} on {machine.device}, {machine.threads} threads",
        f"  strategy     {plan.strategy}",
        f"  feed         {plan.feed}: {plan.feed_why}",
        f"  buffers      {buffers}",
    ]
    lines += [f"  note         {note}" for note in plan.notes]
    lines += [f"  flaw         {flaw}" for flaw in recipe.claim.flaws]
    return "\n".join(map(_wrap, lines))


def _wrap(line: str) -> str:
    return textwrap.fill(line, 100, subsequent_indent=" " * 15, break_long_words=False)


def _count(steps: tuple[int, ...]) -> str:
    if not steps:
        return "never: nothing is held out"
    shown = ", ".join(str(step) for step in steps[:4]) + (", ..." if len(steps) > 4 else "")
    return f"{len(steps)} times, after step {shown}"
