"""Progress of a dataset on stderr: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from m3eda.report.screen import emit, is_fancy, make_console
from m3eda.report.text import duration

if TYPE_CHECKING:
    from rich.progress import Progress

_REFRESH = 0.25
LOG_INTERVAL = 30.0
"""Seconds between progress lines in a log."""


class PointsDisplay:
    """Hears of points as they are done, and shows how far it is; nothing where `quiet`."""

    def __init__(
        self, title: str, err: TextIO, environ: Mapping[str, str], quiet: bool = False
    ) -> None:
        self._title, self._err, self._quiet = title, err, quiet
        self._bar = None if quiet or not is_fancy(err, environ) else _bar(err, environ)
        self._task = self._bar.add_task("", total=None) if self._bar else None
        self._began = self._last = time.monotonic()
        self._first = -1
        self._told = (0, 0, 0)

    def __enter__(self) -> PointsDisplay:
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
        if kind is not None and issubclass(kind, KeyboardInterrupt) and not self._quiet:
            done, total, _ = self._told
            text = f"{done} of {total} points are kept; the same command goes on"
            emit(self._err, f"m3eda: {self._title}: {text}\n")

    def heard(self, done: int, total: int, failed: int) -> None:
        """`done` of `total` points are there, `failed` of them failed."""
        self._told = done, total, failed
        if self._first < 0:
            self._first, self._began = done, time.monotonic()
        now = time.monotonic()
        if self._quiet or now - self._last < (_REFRESH if self._bar else LOG_INTERVAL):
            return
        self._last = now
        self._show()

    def _show(self) -> None:
        if self._bar is not None and self._task is not None:
            done, total, _ = self._told
            self._bar.update(self._task, completed=done, total=total, description=self.progress())
        else:
            emit(self._err, f"m3eda: {self.progress()}\n")

    def progress(self) -> str:
        """`five_transistor_ota in generic45: 500 of 10000 points, 812 a second, 12 s left`."""
        done, total, failed = self._told
        text = f"{self._title}: {done} of {total} points"
        rate = (done - self._first) / max(time.monotonic() - self._began, 1e-9)
        if rate > 0.0:
            text += f", {rate:.3g} a second, {duration((total - done) / rate)} left"
        return f"{text}, {failed} failed" if failed else text


def _bar(err: TextIO, environ: Mapping[str, str]) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(bar_width=20)
    return Progress(*columns, console=make_console(err, environ), refresh_per_second=4)
