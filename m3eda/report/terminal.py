"""The screen: progress on stderr while a run goes on, its result on stdout.

rich is imported where it is used, so that the command line starts fast.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, Protocol, TextIO

from m3eda.design.types import Design
from m3eda.report.screen import (
    emit,
    fitting,
    is_fancy,
    is_terminal,
    live_table,
    make_console,
    print_result,
    text_cell,
)
from m3eda.report.summary import Summary, Tally
from m3eda.report.tables import one_line, spec_rows
from m3eda.report.text import duration, failures_line, rate
from m3eda.simulate.trial import Trial

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

    from m3eda.report.package import Written

REFRESHES_PER_SECOND = 4.0
LOG_INTERVAL = 30.0
"""Seconds between progress lines in a log."""

DisplayKind = Literal["auto", "json", "quiet"]
Clock = Callable[[], float]


class Display(Protocol):
    """What a run tells its user. `start` comes first; leaving the context restores the terminal."""

    def __enter__(self) -> Display: ...

    def __exit__(self, *exception: object) -> None: ...

    def start(self, design: Design, budget: int) -> None: ...

    def update(self, trial: Trial, best: Trial | None, *, replayed: bool = False) -> None:
        """A trial is told; `replayed` where the ledger had it."""
        ...

    def note(self, text: str) -> None:
        """One line the user should see, beside the progress."""
        ...

    def finish(self, summary: Summary, written: Written | None = None) -> None:
        """The run ended; `written` are its files."""
        ...


def make_display(
    kind: DisplayKind = "auto",
    *,
    err: TextIO | None = None,
    out: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
) -> Display:
    """The display that suits the streams and the environment.

    `quiet` says nothing, `json` leaves stdout to the caller, `auto` prints the result there. A live
    table is drawn only on a terminal, without NO_COLOR and with a TERM that can; elsewhere, such as
    in the log of a Makefile, there is a line every half minute.
    """
    err, out = err or sys.stderr, out or sys.stdout
    environ = os.environ if environ is None else environ
    if kind == "quiet":
        return QuietDisplay()
    result = None if kind == "json" else out
    # a live table between JSON lines on the same terminal would garble both
    if is_fancy(err, environ) and not (kind == "json" and is_terminal(out)):
        return LiveDisplay(err, result, environ)
    return LogDisplay(err, result, environ)


class QuietDisplay:
    """Says nothing."""

    def __enter__(self) -> QuietDisplay:
        return self

    def __exit__(self, *exception: object) -> None: ...

    def start(self, design: Design, budget: int) -> None: ...

    def update(self, trial: Trial, best: Trial | None, *, replayed: bool = False) -> None: ...

    def note(self, text: str) -> None: ...

    def finish(self, summary: Summary, written: Written | None = None) -> None: ...


class _Counting:
    """Progress counted, and the result printed; how progress is shown is left to subclasses."""

    def __init__(
        self,
        err: TextIO,
        out: TextIO | None,
        environ: Mapping[str, str],
        clock: Clock = time.monotonic,
    ) -> None:
        self._err, self._out, self._environ, self._clock = err, out, environ, clock
        self._design: Design | None = None
        self._budget = 0
        self._best: Trial | None = None
        self._tally = Tally()
        self._started = clock()

    def start(self, design: Design, budget: int) -> None:
        self._design, self._budget = design, budget
        self._best, self._tally = None, Tally(design.objective)
        self._started = self._clock()

    def update(self, trial: Trial, best: Trial | None, *, replayed: bool = False) -> None:
        self._tally.add(trial, replayed=replayed)
        self._best = best or self._tally.best

    def finish(self, summary: Summary, written: Written | None = None) -> None:
        if self._out is None:
            note = failures_line(summary)
            emit(self._err, f"m3eda: {note}\n" if note else "")
        else:
            print_result(summary, written, self._out, self._environ)

    def progress(self) -> str:
        """`37 of 500 simulations, 12.1 a second, 3.1 s`."""
        tally, elapsed = self._tally, self._clock() - self._started
        text = f"{tally.trials} of {self._budget} simulations"
        fresh = tally.trials - tally.replayed
        if tally.replayed:
            text += f" ({tally.replayed} from the ledger)"
        if fresh and elapsed > 0.0:
            text += f", {rate(fresh / elapsed)} a second"
        text += f", {duration(elapsed)}"
        return f"{text}, {tally.failed} failed" if tally.failed else text


class LogDisplay(_Counting):
    """Progress as a line every `LOG_INTERVAL` seconds, for logs and plain terminals."""

    _last = 0.0

    def __enter__(self) -> LogDisplay:
        return self

    def __exit__(self, *exception: object) -> None: ...

    def start(self, design: Design, budget: int) -> None:
        super().start(design, budget)
        self._last = self._started

    def update(self, trial: Trial, best: Trial | None, *, replayed: bool = False) -> None:
        super().update(trial, best, replayed=replayed)
        design = self._design
        if self._clock() - self._last < LOG_INTERVAL or design is None:
            return
        self._last = self._clock()
        rows = spec_rows(design, self._best)
        specs = f"best meets {sum(row.met is True for row in rows)} of {len(design.specs)} specs"
        front = self._tally.front
        if len(front.aims) > 1 and len(front):
            specs += f", {len(front)} on the Pareto front"
        self.note(f"{self.progress()}; {specs}")

    def note(self, text: str) -> None:
        emit(self._err, f"m3eda: {one_line(text)}\n")


class LiveDisplay(_Counting):
    """Progress as a table that is drawn anew in place."""

    _live: Live | None = None

    def __enter__(self) -> LiveDisplay:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    def start(self, design: Design, budget: int) -> None:
        from rich.live import Live

        super().start(design, budget)
        self._stop()
        self._console = make_console(self._err, self._environ)
        self._live = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=self._out is not None and is_terminal(self._out),
            redirect_stdout=False,  # it would move what is meant for stdout to stderr
        )
        self._live.start()

    def note(self, text: str) -> None:
        if self._live is None:
            emit(self._err, f"m3eda: {one_line(text)}\n")
        else:
            self._console.print(text_cell(one_line(text), self._console.options.ascii_only))

    def finish(self, summary: Summary, written: Written | None = None) -> None:
        self._stop()
        super().finish(summary, written)

    def _stop(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _draw(self) -> Group:
        from rich.console import Group

        assert self._design is not None
        ascii_only = self._console.options.ascii_only
        rows, hidden = fitting(spec_rows(self._design, self._best), self._console.height - 7)
        failure = one_line(self._tally.last_failure)
        lines = [
            f"{hidden} more specs" if hidden else "",
            self.progress(),
            f"last failure: {failure}" if failure else "",
        ]
        return Group(
            text_cell(f"{self._design.name}: best so far", ascii_only, cut=True),
            live_table(rows, ascii_only),
            *(text_cell(line, ascii_only, cut=True) for line in lines if line),
        )
