"""Progress of a training on stderr: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from m3eda.report.screen import emit, is_fancy, make_console
from m3eda.report.text import duration

if TYPE_CHECKING:
    from rich.progress import Progress

_REFRESH = 0.5
LOG_INTERVAL = 60.0
"""Seconds between progress lines in a log."""
_SMOOTHING = 0.02
"""Weight of the newest reward in the running mean."""


class TrainingDisplay:
    """Hears of environment steps, and shows how far it is; nothing where `quiet`."""

    def __init__(
        self, title: str, err: TextIO, environ: Mapping[str, str], quiet: bool = False
    ) -> None:
        self._title, self._err, self._quiet = title, err, quiet
        self._bar = None if quiet or not is_fancy(err, environ) else _bar(err, environ)
        self._task = self._bar.add_task("", total=None) if self._bar else None
        self._began = self._last = time.monotonic()
        self._first: int | None = None
        self._step, self._total, self._explored = 0, 1, 0
        self._reward: float | None = None

    def __enter__(self) -> TrainingDisplay:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._show()
            self._bar.stop()

    def heard(self, step: int, total: int, explored: int, reward: float) -> None:
        """Environment step `step` of `total` is done, up to 0 while the first `explored` are
        random."""
        phase_began = self._first is None or (self._step <= 0 < step)
        self._step, self._total, self._explored = step, total, explored
        if phase_began:
            self._first, self._began = step - 1, time.monotonic()
        before = reward if self._reward is None else self._reward
        self._reward = before + _SMOOTHING * (reward - before)
        now = time.monotonic()
        if self._quiet or now - self._last < (_REFRESH if self._bar else LOG_INTERVAL):
            return
        self._last = now
        self._show()

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
        done = self._step - (self._first or 0)
        rate = done / max(time.monotonic() - self._began, 1e-9)
        if self._step <= 0:
            left, text = -self._step, f"random step {self._explored + self._step} of "
            text += str(self._explored)
        else:
            left, text = self._total - self._step, f"step {self._step} of {self._total}"
        text = f"{self._title}: {text}, {rate:.3g} steps a second"
        if rate > 0.0:
            text += f", {duration(left / rate)} left"
        return text if self._reward is None else f"{text}, reward {self._reward:.2f}"

    def _show(self) -> None:
        if self._bar is not None and self._task is not None:
            total = self._total + self._explored
            done = self._step + self._explored
            self._bar.update(self._task, completed=done, total=total, description=self.progress())
        else:
            emit(self._err, f"m3eda: {self.progress()}\n")


def _bar(err: TextIO, environ: Mapping[str, str]) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(bar_width=20)
    return Progress(*columns, console=make_console(err, environ), refresh_per_second=4)
