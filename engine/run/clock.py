"""Seconds per stage of a run, over all its restarts."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Seconds per stage of a run, over all its restarts."""

    seconds: dict[str, float] = field(default_factory=dict)
    _began: float = field(default_factory=time.perf_counter)

    def add(self, stage: str, began: float) -> None:
        """Count the seconds since `began` to a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began

    def go_on(self, before: dict[str, float]) -> None:
        """Add what earlier processes spent on this run, up to the checkpoint it goes on from."""
        for stage, spent in before.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent

    def read(self) -> dict[str, float]:
        """Every stage and "total_s", the time from one `fit` to now and in the processes before."""
        here = time.perf_counter() - self._began
        return self.seconds | {"total_s": self.seconds.get("total_s", 0.0) + here}
