"""The recipe's field that names a synthetic twin of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .failure import RecipeError
from .fields import check_fields


@dataclass(frozen=True, kw_only=True)
class Twin:
    """A synthetic stand-in that is drawn where `data.root` is empty."""

    kind: Literal["none", "oct", "brain", "xray"] = "none"
    train: int = 0
    """Images drawn for training, all classes together."""
    test: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, "data.twin.")
        for name in ("train", "test", "seed"):
            value = getattr(self, name)
            if value < 0:
                raise RecipeError(f"data.twin.{name} is {value}; it must be 0 or more")
