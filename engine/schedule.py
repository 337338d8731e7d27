"""Learning rates and resolutions of a run as tables, one entry per step."""

from __future__ import annotations

from math import cos, pi

from .failure import RecipeError
from .recipe import Recipe


def learning_rates(recipe: Recipe, steps: int, steps_per_epoch: float) -> tuple[float, ...]:
    """One learning rate per step: the warm-up rises linearly, then the kind decides.

    onecycle falls to 0 along a cosine, step multiplies by gamma at each milestone, constant
    stays at `optimizer.lr`.
    """
    schedule, warmup = recipe.schedule, round(recipe.schedule.warmup * steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if schedule.kind == "step":
            passed = sum(step >= epoch * steps_per_epoch for epoch in schedule.milestones)
            return schedule.gamma**passed
        if schedule.kind == "onecycle":
            return (1 + cos(pi * (step - warmup) / max(steps - warmup, 1))) / 2
        return 1.0

    return tuple(recipe.optimizer.lr * factor(step) for step in range(steps))


def resolutions(recipe: Recipe, steps: int) -> tuple[tuple[int, int], ...]:
    """(first step, side in pixels) of each phase. Raises RecipeError where shares do not fit."""
    schedule = recipe.schedule
    if not schedule.sizes:
        return ((0, recipe.size),)
    if len(schedule.shares) != len(schedule.sizes) or abs(sum(schedule.shares) - 1) > 1e-6:
        raise RecipeError(
            f"schedule.shares is {schedule.shares}; give one share for each of the "
            f"{len(schedule.sizes)} schedule.sizes, together 1"
        )
    phases, done = [], 0.0
    for size, share in zip(schedule.sizes, schedule.shares, strict=True):
        phases.append((round(done * steps), size))
        done += share
    return tuple(phases)


def size_at(phases: tuple[tuple[int, int], ...], step: int) -> int:
    """The side in pixels that is trained on at `step`."""
    return next(size for first, size in reversed(phases) if step >= first)
