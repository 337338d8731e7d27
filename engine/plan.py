"""The plan: every number of a run, worked out before anything is trained, without a GPU."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from ..kernels.sample.columns import LONGEST
from .failure import RecipeError
from .ranks.world import World
from .recipe import Recipe, recipe_hash, to_dict
from .schedule import learning_rates, resolutions

FORMAT = 1
MOST_STEPS = 10_000_000  # a plan has a row per step
BYTES = {"bf16": 2, "fp32": 4, "fp64": 8}


@dataclass(frozen=True)
class Machine:
    """What a run is planned for. Only `world` is not read off this machine."""

    device: str
    """cpu or cuda."""
    threads: int
    """CPU threads per process; part of what makes a run bit-equal."""
    bf16: bool
    """Whether the device multiplies bfloat16 in hardware."""
    memory_bytes: int
    world: int = 1


@dataclass(frozen=True)
class Plan:
    """A recipe with everything that follows from it, the machine and the size of the data."""

    recipe: Recipe
    machine: Machine
    train_images: int
    held_out_images: int
    steps: int
    micro: int
    """Images per forward pass of one rank: one norm_group."""
    accumulate: int
    """Forward passes per optimizer step and rank."""
    lr: tuple[float, ...]
    resolutions: tuple[tuple[int, int], ...]
    evals: tuple[int, ...]
    """After these steps the held-out part is scored."""
    saves: tuple[int, ...]
    log_every: int
    precision: str
    strategy: str
    feed: str
    feed_why: str
    buffer_bytes: dict[str, int]
    notes: tuple[str, ...] = field(default=())

    @property
    def recipe_hash(self) -> str:
        """The recipe's name-giving hash, 16 hexadecimal digits."""
        return recipe_hash(self.recipe)

    def stretch(self, step: int, group: int) -> tuple[int, int]:
        """(position, length) in the global order of one norm_group of a step: the same for any
        number of ranks, so nothing is lost or repeated when that number changes."""
        return step * self.recipe.batch + group * self.micro, self.micro

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, as `plan.json` holds them; the recipe itself is in `recipe.json`."""
        facts = asdict(self)
        facts.pop("recipe")
        return {"format": FORMAT, "recipe_hash": self.recipe_hash, **facts}


def this_machine(world: World | None = None) -> Machine:
    """The machine that this process runs on: a GPU where torch sees one, else its CPU cores.

    OMP_NUM_THREADS sets the threads; without it the processes of a machine share its cores.
    """
    world = world or World()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    share = max(1, (cores or 1) // world.local_size)
    asked = os.environ.get("OMP_NUM_THREADS", str(share)).split(",")[0]
    if not asked.isdecimal() or not int(asked):
        raise RecipeError(f"OMP_NUM_THREADS is '{asked}'; give a number of threads, or unset it")
    threads = int(asked)
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(world.local).total_memory
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return Machine("cuda", threads, bf16, memory, world.size)
    return Machine("cpu", threads, _cpu_multiplies_bf16(), host_memory(), world.size)


def host_memory() -> int:
    """Bytes of the machine's own memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def make_plan(recipe: Recipe, machine: Machine, *, train_images: int, held_out_images: int) -> Plan:
    """Derive every number of a run. Raises RecipeError where the recipe is impossible."""
    _check(recipe, train_images)
    micro, accumulate = _divide(recipe, machine.world)
    per_epoch = train_images / recipe.batch
    steps = max(1, round(recipe.epochs * per_epoch))
    precision = _choose_precision(recipe, machine)
    phases = resolutions(recipe, steps)
    evals = _every(recipe.evaluate_epochs * per_epoch, steps) if held_out_images else ()
    side = max(size for _, size in phases)
    image_bytes = micro * recipe.data.channels * side * side * BYTES[precision]
    return Plan(
        recipe=recipe,
        machine=machine,
        train_images=train_images,
        held_out_images=held_out_images,
        steps=steps,
        micro=micro,
        accumulate=accumulate,
        lr=learning_rates(recipe, steps, per_epoch),
        resolutions=phases,
        evals=evals,
        saves=_every(recipe.save_epochs * per_epoch, steps),
        log_every=max(1, min(20, steps // 50)),
        precision=precision,
        strategy=_choose_strategy(recipe, machine),
        feed=recipe.data.feed,
        feed_why=_explain_feed(recipe),
        buffer_bytes={"batch": image_bytes},
        notes=_notes(recipe, precision, machine),
    )


def _explain_feed(recipe: Recipe) -> str:
    """Before the files were looked at; `fit` replaces it by what it found."""
    asked = recipe.data.feed
    return "chosen when a few images were measured" if asked == "auto" else "asked for"


def _check(recipe: Recipe, train_images: int) -> None:
    if not train_images:
        raise RecipeError("there is nothing to train on; set --data.root or --data.twin.train")
    if recipe.batch > train_images:
        raise RecipeError(
            f"batch is {recipe.batch} and there are {train_images} training images; "
            f"give --batch {max(1, train_images // 4)} or less"
        )
    if recipe.epochs * train_images / recipe.batch > MOST_STEPS:
        raise RecipeError(f"epochs is {recipe.epochs:g}, over {MOST_STEPS:,} steps; give fewer")
    for name in ("mean", "std"):
        values = getattr(recipe.data, name)
        if len(values) not in (1, recipe.data.channels):
            raise RecipeError(
                f"data.{name} has {len(values)} values; give 1, or {recipe.data.channels} "
                "as data.channels says"
            )
    if recipe.keep == "best" and (recipe.data.split == "none" or not recipe.data.holdout):
        raise RecipeError("keep is best, but nothing is held out to choose by; set data.split")
    if min((recipe.size, *recipe.schedule.sizes)) < 32:
        raise RecipeError("size is under 32 pixels; models shrink images 32 times")
    _check_augment(recipe)


def _check_augment(recipe: Recipe) -> None:
    augment, side = recipe.augment, max((recipe.size, *recipe.schedule.sizes))
    if augment.stain and recipe.data.channels == 1:
        raise RecipeError("augment.stain is for RGB images, and data.channels is 1; leave one out")
    shear = math.radians(augment.shear)
    longest = (2 + math.tan(shear)) / math.cos(shear) / augment.scale[0]  # a row of the matrix
    reach = side * longest * (1.5 + augment.translate)
    if reach > LONGEST:
        raise RecipeError(
            f"augment.scale {augment.scale[0]:g} with this shear and translate reaches "
            f"{reach:,.0f} pixels away at size {side}, at most {LONGEST:,}; give a larger low end"
        )


def _divide(recipe: Recipe, world: int) -> tuple[int, int]:
    """(micro-batch, accumulation): one norm_group per forward pass, whole groups per rank."""
    group = recipe.norm_group or recipe.batch
    if recipe.batch % group:
        raise RecipeError(f"batch {recipe.batch} is not a whole number of norm_group {group}")
    if group < 2 and (recipe.augment.mixup or recipe.augment.cutmix):
        raise RecipeError(
            "augment.mixup and augment.cutmix mix images of one norm_group, and it has 1; "
            "give --norm-group 2 or more"
        )
    groups = recipe.batch // group
    if groups % world:
        raise RecipeError(
            f"{groups} norm_groups of {group} cannot be shared by {world} ranks; give a "
            f"--norm-group that divides {recipe.batch} into a multiple of {world}"
        )
    return group, groups // world


def _choose_precision(recipe: Recipe, machine: Machine) -> str:
    if recipe.precision != "auto":
        return recipe.precision
    return "bf16" if machine.bf16 else "fp32"


def _choose_strategy(recipe: Recipe, machine: Machine) -> str:
    if recipe.strategy == "auto":
        return "ddp" if machine.world > 1 else "single"
    if recipe.strategy == "single" and machine.world > 1:
        raise RecipeError(
            f"strategy is single, and there are {machine.world} processes; give --strategy auto"
        )
    return recipe.strategy


def _every(interval: float, steps: int) -> tuple[int, ...]:
    """Steps that end each interval, and always the last step."""
    interval = max(interval, 1.0)
    count = int(steps / interval + 1e-9)
    ends = {max(1, round(k * interval)) for k in range(1, count + 1)}
    return tuple(sorted({end for end in ends if end < steps} | {steps}))


def _notes(recipe: Recipe, precision: str, machine: Machine) -> tuple[str, ...]:
    notes = []
    if getattr(recipe.task, "weights", "") == "none":
        notes.append("the model starts from random weights (task.weights none)")
    if recipe.precision == "auto" and precision == "fp32":
        notes.append(f"this {machine.device} has no bfloat16 arithmetic: training in fp32, slower")
    notes += _note_reduction(recipe)
    if 0 < recipe.data.shuffle_window < recipe.batch:
        notes.append("data.shuffle_window is smaller than a batch: neighbours train together")
    if machine.device == "cuda":
        notes.append("the sample kernel has no GPU back end yet: batches are made on the CPU")
    if recipe.data.shuffle_labels:
        notes.append("training labels are shuffled: a negative control, expect chance")
    if recipe.data.split == "label":
        notes.append("the held-out part is cut image by image: patients may be on both sides")
    return tuple(notes)


def _note_reduction(recipe: Recipe) -> list[str]:
    """What a reduced pack costs: its smallest crops must still be as large as the output."""
    side, largest = recipe.data.reduce, max((recipe.size, *recipe.schedule.sizes))
    smallest = side * math.sqrt(recipe.augment.area[0])
    if not side or smallest >= largest:
        return []
    enough = math.ceil(largest / math.sqrt(recipe.augment.area[0]))
    return [
        f"images are kept with a shorter side of {side} px: the smallest crops are enlarged "
        f"{largest / smallest:.2f} times; --data.reduce {enough} would enlarge none"
    ]


def _cpu_multiplies_bf16() -> bool:
    """AVX512-BF16 or AMX; without them autocast to bfloat16 is slower than fp32."""
    cpu = torch.cpu
    return bool(cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported())


def dump(plan: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """(recipe.json, plan.json) of a run folder."""
    return to_dict(plan.recipe), plan.to_dict()
