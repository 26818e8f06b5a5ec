"""Progress of a dataset on stderr."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

from m3eda.report.progress import ProgressDisplay
from m3eda.report.screen import emit
from m3eda.report.text import duration, rate


class PointsDisplay(ProgressDisplay):
    """Hears of points as they are done, and shows how far it is; nothing where `quiet`."""

    def __init__(
        self, title: str, err: TextIO, environ: Mapping[str, str], quiet: bool = False
    ) -> None:
        super().__init__(title, err, environ, quiet)
        self._first = -1
        self._told = (0, 0, 0)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        if kind is not None and issubclass(kind, KeyboardInterrupt) and not self._quiet:
            done, total = self._done()
            text = f"{done} of {total} points are kept; the same command goes on"
            emit(self._err, f"m3eda: {self._title}: {text}\n")

    def heard(self, done: int, total: int, failed: int) -> None:
        """`done` of `total` points are there, `failed` of them failed."""
        self._told = done, total, failed
        if self._first < 0:
            self._first, self._began = done, time.monotonic()
        self._refresh()

    def progress(self) -> str:
        """`five_transistor_ota in generic45: 500 of 10000 points, 812 a second, 12 s left`."""
        done, total, failed = self._told
        text = f"{self._title}: {done} of {total} points"
        pace = (done - self._first) / max(time.monotonic() - self._began, 1e-9)
        if pace > 0.0:
            text += f", {rate(pace)} a second, {duration((total - done) / pace)} left"
        return f"{text}, {failed} failed" if failed else text

    def _done(self) -> tuple[int, int]:
        return self._told[:2]
