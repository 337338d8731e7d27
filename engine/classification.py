"""One label per image: cross-entropy, and a confusion matrix's worth of scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..dataloaders.batch import Batch
from .failure import RecipeError
from .fields import check_fields
from .models.blueprint import Blueprint, recall
from .models.library import build_classifier, identify_weights
from .scores import area_under_curve, confusion_matrix, score_confusion
from .task import Forward, Rows


@dataclass(frozen=True, kw_only=True)
class Classification:
    """One of K classes. Legend: N images, K classes."""

    classes: tuple[str, ...]
    """Folder names in the order of the labels."""
    model: str | Callable[..., nn.Module] = "resnet50"
    """A torchvision name, "timm:<name>", or in a recipe file a function of (classes, channels)."""
    weights: str = "none"
    """none, imagenet, or the path of a safetensors or torch file."""
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "task.")
        if not isinstance(self.model, str):
            object.__setattr__(self, "model", Blueprint.of(self.model))
        if self.weights == "imagenet" and isinstance(self.model, Blueprint):
            raise RecipeError(
                f"{self.model} has no ImageNet weights; give --task.weights PATH, or none"
            )
        if not 0 <= self.label_smoothing < 1:
            raise RecipeError(
                f"task.label_smoothing is {self.label_smoothing}; it is a share from 0 to 0.5"
            )
        if len(self.classes) < 2:
            raise RecipeError("task.classes needs two names or more; a classifier tells them apart")
        if len(set(self.classes)) != len(self.classes):
            raise RecipeError(f"task.classes names a class twice: {' '.join(self.classes)}")

    def plain(self) -> dict[str, Any]:
        model = self.model
        own = {"model_sha256": model.sha256} if isinstance(model, Blueprint) else {}
        return asdict(self) | own

    @staticmethod
    def revive(facts: dict[str, Any]) -> dict[str, Any]:
        """Values of the fields from those of `plain`. RecipeError for a model that is gone."""
        facts = dict(facts)
        if sha256 := facts.pop("model_sha256", ""):
            facts["model"] = recall(facts["model"], sha256)
        return facts

    def identity(self) -> dict[str, Any]:
        return self.plain() | {"weights": identify_weights(self.weights)}

    def untrained(self) -> Classification:
        return replace(self, weights="none")

    def build(self, channels: int) -> nn.Module:
        return build_classifier(self.model, len(self.classes), channels, self.weights)

    def count(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": batch.valid.sum()}

    def loss(self, forward: Forward, batch: Batch) -> dict[str, Tensor]:
        logits, label = _widen(forward(batch)), batch.target["label"]
        each = self._cross_entropy(logits, label)
        if "share" in batch.target:  # the soft target of MixUp and CutMix, by its linearity
            partner, share = batch.target["partner"], batch.target["share"]
            each = share * each + (1 - share) * self._cross_entropy(logits, label[partner])
        return {"loss": torch.where(batch.valid, each, 0).sum()}

    def _cross_entropy(self, logits: Tensor, label: Tensor) -> Tensor:
        """(N,K), (N,) int64 -> (N,), smoothed."""
        smoothing = self.label_smoothing
        return cross_entropy(logits, label, reduction="none", label_smoothing=smoothing)

    def score(self, forward: Forward, batch: Batch) -> Rows:
        logits = _widen(forward(batch))
        label = batch.target["label"]
        return {
            "logits": logits,
            "label": label,
            "loss": cross_entropy(logits, label, reduction="none"),
        }

    def summary(self, rows: Rows) -> dict[str, float]:
        chance, label = rows["logits"].double().softmax(1), rows["label"]
        areas = [area_under_curve(chance[:, k], label == k) for k in range(len(self.classes))]
        scores = score_confusion(self.confusion(rows), self.classes)
        return scores | {
            "loss": float(rows["loss"].double().mean()),
            "auc": float(torch.tensor(areas, dtype=torch.float64).nanmean()),
        }

    def confusion(self, rows: Rows) -> Tensor:
        """Rows -> (K,K) int64 counts; rows are the truth."""
        return confusion_matrix(rows["label"], rows["logits"].argmax(1), len(self.classes))


def _widen(logits: Tensor) -> Tensor:
    """16-bit logits to fp32 for the loss; fp32 and fp64 stay what they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
