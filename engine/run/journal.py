"""What a run writes down while it trains: step lines, scores, events, and the time it trained."""

from __future__ import annotations

import math
import time
from typing import Any

from ..checkpoint import Checkpointer
from ..failure import NumericalError
from ..plan import Plan
from ..tracking.metrics import Tracker
from ..trainer import DTYPES, Report, Trainer
from .console import Console
from .meter import Meter, describe, matrix_rate, training_flops


class Journal:
    """Reads the device only every `plan.log_every` steps, so that no other step waits for it.

    `facts` outlive a restart: they are in every checkpoint. `facts["train_s"]` counts seconds of
    training over all restarts, evaluations left out.
    """

    def __init__(
        self,
        plan: Plan,
        trainer: Trainer,
        tracker: Tracker,
        console: Console,
        facts: dict[str, Any],
    ) -> None:
        self.plan, self.tracker, self.console, self.facts = plan, tracker, console, facts
        self.trainer, self.world, self.step = trainer, trainer.world, trainer.step
        self.meter = Meter(trainer.device, matrix_rate(trainer.device, DTYPES[plan.precision]))
        channels = plan.recipe.data.channels
        sides = {side for _, side in plan.resolutions}
        self.flops = {side: training_flops(trainer.plain, channels, side) for side in sides}
        self._mark, self._read = 0.0, self.step
        self.restart()
        if self.step:
            self.event("resumed")

    def restart(self) -> None:
        """Start the clock again after something that is not training."""
        self._mark = time.perf_counter() - self.facts["train_s"]
        self.meter.restart()

    def note(self, report: Report) -> None:
        """Count a step; at intervals read and write its scalars. Raises NumericalError on nan."""
        batch = self.plan.recipe.batch
        self.step = report.step
        self.meter.add(batch, report.wait_s, batch * self.flops[report.size])
        if not self._is_due(report.step):
            self.facts["train_s"] = time.perf_counter() - self._mark
            return
        self._read = report.step
        parts = self.world.sum([float(value) for value in report.losses.values()])
        losses = dict(zip(report.losses, parts, strict=True))
        norm = round(float(report.grad_norm), 5)
        if not all(map(math.isfinite, [norm, *losses.values()])):
            raise NumericalError(
                f"{describe_losses(losses)}, gradient norm is {norm:.4g} at step {report.step}; "
                "give a smaller --optimizer.lr, a longer --schedule.warmup or --precision fp32"
            )
        self.facts["train_s"] = time.perf_counter() - self._mark
        values = losses | {
            "lr": float(report.lr),
            "grad_norm": norm,
            "size": report.size,
            **self.meter.read(),
        }
        self.tracker.log("step", report.step, **values, time_s=self._time_s())
        left = (self.plan.steps - report.step) * batch
        values["eta_s"] = left / max(values["images_per_s"], 1e-9)
        self.console.step(describe(values), report.step, self.plan.steps)

    def _is_due(self, step: int) -> bool:
        """At intervals and before each save; a rate over a step or two after a save says little."""
        every = self.plan.log_every
        return step in self.plan.saves or (step % every == 0 and 2 * (step - self._read) >= every)

    def scored(self, split: str, scores: dict[str, float]) -> None:
        """A line of scores; the time that scoring took does not count as training."""
        self.tracker.log("eval", self.step, time_s=self._time_s(), split=split, scores=scores)
        self.restart()

    def saved(self, checkpointer: Checkpointer) -> None:
        """A checkpoint of this step, taken after every line before it is on the disk."""
        self.event("saved")
        self.tracker.sync()
        checkpointer.save(self.step, self.trainer.state(), dict(self.facts))

    def event(self, name: str) -> None:
        """Something happened: "resumed", "saved"."""
        self.tracker.log("event", self.step, time_s=self._time_s(), event=name)

    def _time_s(self) -> float:
        return round(self.facts["train_s"], 3)


def describe_losses(losses: dict[str, float]) -> str:
    """ "loss is nan", by every name that a task gives its losses."""
    return ", ".join(f"{name} is {value:.4g}" for name, value in losses.items())
