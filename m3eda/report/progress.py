"""What displays of progress on stderr share: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from m3eda.report.screen import emit, is_fancy, make_console

if TYPE_CHECKING:
    from rich.progress import Progress


class ProgressDisplay(ABC):
    """Shows how far something is; nothing where `quiet`."""

    refresh = 0.25
    """Seconds between changes of the bar."""
    log_interval = 30.0
    """Seconds between lines in a log."""

    def __init__(
        self, title: str, err: TextIO, environ: Mapping[str, str], quiet: bool = False
    ) -> None:
        self._title, self._err, self._quiet = title, err, quiet
        self._bar = None if quiet or not is_fancy(err, environ) else _bar(err, environ)
        self._task = self._bar.add_task("", total=None) if self._bar else None
        self._began = self._last = time.monotonic()

    def __enter__(self) -> ProgressDisplay:
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

    @abstractmethod
    def progress(self) -> str:
        """How far it is, in a line."""

    @abstractmethod
    def _done(self) -> tuple[int, int]:
        """So many of so many."""

    def _refresh(self) -> None:
        """Show how far it is, where that is due."""
        now = time.monotonic()
        interval = self.refresh if self._bar else self.log_interval
        if not self._quiet and now - self._last >= interval:
            self._last = now
            self._show()

    def _show(self) -> None:
        if self._bar is not None and self._task is not None:
            done, total = self._done()
            self._bar.update(self._task, completed=done, total=total, description=self.progress())
        else:
            emit(self._err, f"m3eda: {self.progress()}\n")


def _bar(err: TextIO, environ: Mapping[str, str]) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(bar_width=20)
    return Progress(*columns, console=make_console(err, environ), refresh_per_second=4)
