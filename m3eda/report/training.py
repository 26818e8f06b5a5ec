"""Progress of a training on stderr."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TextIO

from m3eda.report.progress import ProgressDisplay
from m3eda.report.screen import emit
from m3eda.report.text import duration, rate

_SMOOTHING = 0.02
"""Weight of the newest reward in the running mean."""


class TrainingDisplay(ProgressDisplay):
    """Hears of environment steps, and shows how far it is; nothing where `quiet`."""

    refresh = 0.5
    log_interval = 60.0

    def __init__(
        self, title: str, err: TextIO, environ: Mapping[str, str], quiet: bool = False
    ) -> None:
        super().__init__(title, err, environ, quiet)
        self._first: int | None = None
        self._step, self._total, self._explored = 0, 1, 0
        self._reward: float | None = None

    def heard(self, step: int, total: int, explored: int, reward: float) -> None:
        """Environment step `step` of `total` is done, up to 0 while the first `explored` are
        random."""
        phase_began = self._first is None or (self._step <= 0 < step)
        self._step, self._total, self._explored = step, total, explored
        if phase_began:
            self._first, self._began = step - 1, time.monotonic()
        before = reward if self._reward is None else self._reward
        self._reward = before + _SMOOTHING * (reward - before)
        self._refresh()

    def told(self, line: str) -> None:
        """A line that stays, of an evaluation."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(line)
        else:
            emit(self._err, f"m3eda: {line}\n")

    def progress(self) -> str:
        """`m3: step 300 of 15000, 1.9 steps a second, 2 h 9 min left, reward -0.52`."""
        pace = (self._step - (self._first or 0)) / max(time.monotonic() - self._began, 1e-9)
        if self._step <= 0:
            left = -self._step
            text = f"random step {self._explored + self._step} of {self._explored}"
        else:
            left, text = self._total - self._step, f"step {self._step} of {self._total}"
        text = f"{self._title}: {text}, {rate(pace)} steps a second"
        if pace > 0.0:
            text += f", {duration(left / pace)} left"
        return text if self._reward is None else f"{text}, reward {self._reward:.2f}"

    def _done(self) -> tuple[int, int]:
        return self._step + self._explored, self._total + self._explored
