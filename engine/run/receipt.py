"""The receipt: what a finished run is, in numbers that another run can be held against."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...dataloaders.errors import StorageError

FORMAT = 1


@dataclass(frozen=True)
class Receipt:
    """Scores, the hashes of the last and of the scored weights, and all they depend on."""

    recipe: str
    recipe_hash: str
    folder: str
    classes: tuple[str, ...]
    scores: dict[str, dict[str, float]]
    """Split -> score -> value."""
    confusion: dict[str, list[list[int]]]
    weights_sha256: str
    """Of the last step's weights: sorted name, dtype, shape and little-endian bytes."""
    scored: str
    """Which weights the scores belong to: last, ema or best."""
    scored_sha256: str
    steps: int
    images_seen: int
    images_per_s: float
    time: dict[str, float]
    identity: dict[str, Any]
    data: dict[str, Any]
    precision: str
    verdict: str
    notes: tuple[str, ...] = field(default=())
    format: int = FORMAT

    def to_dict(self) -> dict[str, Any]:
        """What `receipt.json` holds. The folder is left out: a run may be moved."""
        facts = asdict(self)
        facts.pop("folder")
        return facts

    def accuracy(self, split: str = "") -> float:
        """Plain accuracy on a split, by default the last of val and test that was scored."""
        return self.scores[split or self.split]["accuracy"]

    @property
    def split(self) -> str:
        """The split that the verdict is about."""
        return "test" if "test" in self.scores else "val"

    def describe(self) -> str:
        """What a finished run says: verdict, confusion matrix, speed, where everything is."""
        lines = [self.verdict]
        if self.split in self.confusion:
            lines += ["", table(self.confusion[self.split], self.classes), ""]
        seconds = ", ".join(f"{k.removesuffix('_s')} {v:.1f} s" for k, v in self.time.items())
        lines += [
            f"{self.images_seen:,} image passes at {self.images_per_s:.1f} images/s ({seconds})",
            f"weights {self.weights_sha256} (after the last step)",
            f"scored  {self.scored_sha256} ({self.scored})",
            f"report  {Path(self.folder) / 'report.html'}",
        ]
        return "\n".join(lines)

    @property
    def folder_path(self) -> Path:
        """The run folder."""
        return Path(self.folder)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{html.escape(split)}</th><td>{s['accuracy']:.2%}</td>"
            f"<td>{s['accuracy_low']:.1%} to {s['accuracy_high']:.1%}</td>"
            f"<td>{s['wrong']:.0f} of {s['images']:.0f}</td></tr>"
            for split, s in self.scores.items()
        )
        return (
            f"<b>{html.escape(self.recipe)}</b> {html.escape(self.verdict)}"
            "<table><tr><th></th><th>accuracy</th><th>95 % interval</th><th>wrong</th></tr>"
            f"{rows}</table>scored: {self.scored} <code>{self.scored_sha256[:16]}</code>"
        )


def table(confusion: list[list[int]], classes: Sequence[str]) -> str:
    """A confusion matrix as text, truth in rows."""
    width = max(8, *(len(name) + 2 for name in classes))
    head = "truth \\ said".ljust(14) + "".join(name.rjust(width) for name in classes)
    rows = [
        name.ljust(14) + "".join(str(n).rjust(width) for n in row)
        for name, row in zip(classes, confusion, strict=True)
    ]
    return "\n".join([head, *rows])


def read_receipt(folder: Path) -> Receipt | None:
    """The receipt of a finished run, None where there is none. Raises StorageError if damaged."""
    path = folder / "receipt.json"
    if not path.exists():
        return None
    try:
        facts = json.loads(path.read_text())
        if facts["format"] > FORMAT:
            raise StorageError(f"{path} is format {facts['format']}; upgrade foveate")
        facts["classes"] = tuple(facts["classes"])
        facts["notes"] = tuple(facts["notes"])
        return Receipt(folder=str(folder), **facts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} cannot be read ({error}); start over with --fresh") from None


def verdict_of(scores: dict[str, dict[str, float]]) -> str:
    """One line: accuracy, its interval, and how many were wrong."""
    split = "test" if "test" in scores else "val"
    if split not in scores:
        return "nothing was held out, so nothing was scored"
    s = scores[split]
    return (
        f"{s['accuracy']:.2%} of {s['images']:.0f} {split} images right "
        f"(95 % interval {s['accuracy_low']:.1%} to {s['accuracy_high']:.1%}, "
        f"{s['wrong']:.0f} wrong)"
    )
