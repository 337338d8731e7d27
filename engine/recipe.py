"""A recipe: every decision of a run in one frozen object of plain values, and nothing derived.

It prints, hashes, compares and serialises. Numbers that follow from it (steps, learning rates,
micro-batches) are in the plan, made after the overrides.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from math import inf
from pathlib import Path
from typing import Any, Literal, get_type_hints

from ..dataloaders.split.table import hash_table
from ..kernels.sample.augment import Augment
from .data import Data as Data
from .data import Twin as Twin
from .failure import RecipeError
from .fields import check_fields, require
from .task import Task

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """One of torch's optimizers, fused where the device has it."""

    kind: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.01
    """Peak learning rate for the whole batch."""
    weight_decay: float = 0.0
    decay_norm_and_bias: bool = True
    """False: parameters of one dimension (normalisation, bias) are not decayed."""
    momentum: float = 0.0
    """sgd only."""
    nesterov: bool = False
    """sgd only."""
    betas: tuple[float, float] = (0.9, 0.999)
    """adamw only."""
    eps: float = 1e-8
    """adamw only."""
    clip: float = 0.0
    """Largest gradient norm; 0 does not clip."""

    def __post_init__(self) -> None:
        check_fields(self, "optimizer.")
        unused = {"sgd": ("betas", "eps"), "adamw": ("momentum", "nesterov")}[self.kind]
        _refuse_unused(self, "optimizer", unused, self.kind)
        require(self.lr > 0, "optimizer.lr", self.lr, "it must be above 0")
        for name in ("weight_decay", "clip", "eps"):
            value = getattr(self, name)
            require(value >= 0, f"optimizer.{name}", value, "it must be 0 or more")
        for name, value in (("momentum", self.momentum), ("betas", max(self.betas))):
            require(0 <= value < 1, f"optimizer.{name}", value, "it must be from 0 to under 1")
        if self.nesterov and not self.momentum:
            raise RecipeError("optimizer.nesterov needs momentum; give --optimizer.momentum 0.9")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Learning rate and resolution over the run."""

    kind: Literal["constant", "step", "onecycle"] = "constant"
    warmup: float = 0.0
    """Share of the run over which the learning rate rises linearly from near 0."""
    milestones: tuple[float, ...] = ()
    """step only: epochs at which the learning rate is multiplied by `gamma`."""
    gamma: float = 0.1
    sizes: tuple[int, ...] = ()
    """Progressive resolution: sides in pixels, one after the other; empty is `size` throughout."""
    shares: tuple[float, ...] = ()
    """Share of the steps that each of `sizes` gets."""

    def __post_init__(self) -> None:
        check_fields(self, "schedule.")
        if self.kind != "step":
            _refuse_unused(self, "schedule", ("milestones", "gamma"), self.kind)
        require(0 <= self.warmup < 1, "schedule.warmup", self.warmup, "it is a share of the run")
        require(self.gamma > 0, "schedule.gamma", self.gamma, "it must be above 0")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What the recipe is held to, and under whose terms."""

    text: str = ""
    licence: str = ""
    citation: str = ""
    flaws: tuple[str, ...] = ()
    """Known faults of the data set, said aloud in plan and report."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training run. `foveate train NAME --field value` overrides any of these."""

    name: str
    data: Data
    task: Task
    augment: Augment = field(default_factory=Augment)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    size: int = 224
    """Side in pixels of the square that is evaluated, and trained on unless `schedule.sizes`."""
    batch: int = 256
    """Images per optimizer step, over all ranks."""
    norm_group: int = 0
    """Consecutive images that share batch statistics; 0 is the whole batch."""
    epochs: float = 10.0
    ema: float = 0.0
    """Decay per step of the weights' moving average that is scored; 0 scores the last weights."""
    keep: Literal["last", "best"] = "last"
    """Which weights the final scores use: the last, or the best on the held-out part."""
    evaluate_epochs: float = 1.0
    """Epochs between evaluations on the held-out part."""
    save_epochs: float = 1.0
    """Epochs between checkpoints."""
    precision: Literal["auto", "bf16", "fp32", "fp64"] = "auto"
    strategy: Literal["auto", "single", "ddp"] = "auto"
    seed: int = 0
    claim: Claim = field(default_factory=Claim)

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("size", "batch", "epochs", "evaluate_epochs", "save_epochs"):
            value = getattr(self, name)
            require(0 < value < inf, name, value, "it must be above 0")
        require(self.norm_group >= 0, "norm_group", self.norm_group, "0 is the whole batch")
        require(0 <= self.ema < 1, "ema", self.ema, "it is a decay per step, from 0 to 0.9999")
        require(0 <= self.seed < 2**63, "seed", self.seed, "it is a whole number of 63 bits")


def _refuse_unused(part: Any, prefix: str, unused: Sequence[str], kind: str) -> None:
    """A field that the kind does not use, set to anything but its default, is a mistake."""
    for item in fields(part):
        if item.name in unused and getattr(part, item.name) != item.default:
            raise RecipeError(
                f"{prefix}.{item.name} is set, but {kind} does not use it; "
                f"put it back to {item.default or 'empty'}"
            )


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Nested plain values, as `recipe.json` holds them."""
    facts = {"format": FORMAT, **asdict(recipe)}
    facts["task"] = {"kind": type(recipe.task).__name__} | recipe.task.plain()
    return facts


def from_dict(facts: dict[str, Any], task: type) -> Recipe:
    """The recipe that `to_dict` was given. Raises RecipeError where the format is newer."""
    if facts["format"] > FORMAT:
        raise RecipeError(f"the recipe is format {facts['format']}; upgrade foveate")
    revive = getattr(task, "revive", dict)  # a task may hold what is not plain
    return _fill(Recipe, facts | {"task": _fill(task, revive(facts["task"]))})


def _fill(kind: type, facts: dict[str, Any]) -> Any:
    """A dataclass from plain values: nested ones by their declared type, lists as tuples."""
    types, values = get_type_hints(kind), {}
    for item in fields(kind):
        if item.name not in facts:
            continue
        value, declared = facts[item.name], types[item.name]
        if isinstance(value, dict) and is_dataclass(declared):
            value = _fill(declared, value)  # type: ignore[arg-type]
        values[item.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def identity(recipe: Recipe) -> dict[str, Any]:
    """What the hash is taken of: everything but names of places and text about the run."""
    facts = to_dict(recipe)
    for name in ("claim", "name", "save_epochs", "strategy"):
        facts.pop(name)
    for name in ("root", "feed", "allow_phi", "expect_sha256"):
        facts["data"].pop(name)
    table = facts["data"].pop("table")
    facts["data"] |= {"table_sha256": hash_table(expand(table))} if table else {}
    if recipe.data.decoder in ("cpu", "dali"):  # their pixels are the same
        del facts["data"]["decoder"]
    if not recipe.data.flatfield:
        del facts["data"]["flatfield"]
    if recipe.data.voi == "full":
        del facts["data"]["voi"], facts["data"]["window"]
    facts["task"] = recipe.task.identity()
    return _one_spelling(facts)


def _one_spelling(value: Any) -> Any:
    """Plain values with 2 and 2.0 written alike, wherever a part does not check its own types."""
    if isinstance(value, dict):
        return {name: _one_spelling(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_one_spelling(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def recipe_hash(recipe: Recipe) -> str:
    """16 hexadecimal digits that name the run, on any machine and any number of ranks."""
    text = json.dumps(identity(recipe), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted name -> plain value, for printing and comparing."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {item.name: getattr(value, item.name) for item in fields(value)}
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for name, item in value.items():
        flat |= flatten(item, f"{prefix}.{name}" if prefix else name)
    return flat


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Lines `field: this -> that` for every field in which two nested dictionaries differ."""
    left = json.loads(json.dumps(flatten(one), default=str))
    right = json.loads(json.dumps(flatten(other), default=str))
    names = sorted(left.keys() | right.keys())
    return [
        f"{name}: {left.get(name, 'absent')} -> {right.get(name, 'absent')}"
        for name in names
        if left.get(name) != right.get(name)
    ]


def window_of(data: Data) -> str | tuple[float, float]:
    """How gray values of DICOM files become levels, as `dataloaders` takes it."""
    return (data.window[0], data.window[1]) if data.voi == "window" else data.voi


def expand(path: str) -> Path:
    """A path as a person wrote it, with ~ resolved."""
    return Path(path).expanduser()
