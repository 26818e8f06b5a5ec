"""Schedules of M3 (arXiv 2411.16019, equations (3) to (5)): linear in the environment step."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """From `first` at step 0 to `last` at step `scale`, and held there."""

    first: float
    last: float
    scale: int

    def at(self, step: int) -> float:
        """max(min(first + t (last - first) / scale, larger of both), smaller of both)."""
        value = self.first + step * (self.last - self.first) / self.scale
        return max(min(value, max(self.first, self.last)), min(self.first, self.last))

    def count(self, step: int) -> int:
        """The value as a number of things, rounded to the nearest, halves upwards."""
        return math.floor(self.at(step) + 0.5)
