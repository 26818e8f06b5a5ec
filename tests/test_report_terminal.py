"""The screen, seen through a pseudo-terminal and in a log."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import pytest

from m3eda.report import terminal
from m3eda.report.package import Written
from m3eda.report.screen import fitting
from m3eda.report.tables import spec_rows
from m3eda.report.terminal import LiveDisplay, LogDisplay, QuietDisplay, make_display
from m3eda.report.text import render_report
from m3eda.simulate.types import State
from tests.report_samples import (
    failed_trial,
    good_trial,
    missing_measure_trial,
    sample_design,
    sample_summary,
)

ROOT = Path(__file__).parent.parent
HIDE, SHOW, ESCAPE = "\x1b[?25l", "\x1b[?25h", "\x1b"

RUN = """
import sys, time
from m3eda.report.terminal import make_display
from tests.report_samples import *
trials = [failed_trial(0), missing_measure_trial(1), good_trial(2)]
summary = sample_summary(*trials)
with make_display({kind!r}) as display:
    display.start(sample_design(), 500)
    for trial in trials:
        display.update(trial, None)
        time.sleep({pause})
    {extra}
    display.finish(summary)
"""


def in_terminal(
    script: str,
    *,
    columns: int = 80,
    stdout: int | None = None,
    interrupt_at: str = "",
    **environ: str,
) -> str:
    """Everything that `script` shows on a terminal of its own, within 20 s."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    dropped = {"NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR", "PYTHONIOENCODING"}
    clean = {key: value for key, value in os.environ.items() if key not in dropped}
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=follower,
        stdout=follower if stdout is None else stdout,
        stderr=follower,
        cwd=ROOT,
        env={**clean, "TERM": "xterm-256color", "PYTHONUTF8": "1", **environ},
        start_new_session=True,
    )
    os.close(follower)
    try:
        return _read_all(leader, child, interrupt_at)
    finally:
        child.kill()
        child.wait(timeout=5)
        os.close(leader)


def _read_all(leader: int, child: subprocess.Popen[bytes], interrupt_at: str) -> str:
    shown = b""
    deadline = time.monotonic() + 20
    with suppress(OSError):  # EIO: the last process closed the terminal
        while time.monotonic() < deadline and select.select([leader], [], [], 20)[0]:
            shown += os.read(leader, 65536)
            if interrupt_at and interrupt_at.encode() in shown:
                child.send_signal(signal.SIGINT)
                interrupt_at = ""
    assert time.monotonic() < deadline
    return shown.decode()


def visible(shown: str) -> list[str]:
    """The lines of `shown` without escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "\n").split("\n")


def script(kind: str = "auto", pause: float = 0.0, extra: str = "pass") -> str:
    return RUN.format(kind=kind, pause=pause, extra=extra)


# Live, in a terminal


def test_live_table_is_drawn_anew_and_the_cursor_comes_back():
    shown = in_terminal(script(pause=0.3))
    assert shown.count(HIDE) == 1
    assert shown.rfind(SHOW) > shown.rfind(HIDE)
    assert shown.count("two_stage: best so far") >= 3
    assert re.search(r"3 of 500 simulations, [\d.]+ a second, \d\.\d s, 1 failed", shown)
    assert "last failure: no convergence: singular matrix: check node net3" in shown
    live, _, result = shown.rpartition(SHOW)
    assert "412 V/V" in live
    assert "two_stage: all specs met (5 of 5)" in result


def test_live_table_gives_way_to_the_result_on_the_same_terminal():
    shown = in_terminal(script())
    # after the last drawing: as many lines are erased as were drawn
    last = shown[shown.rindex("two_stage: best so far") :]
    erased = last[: last.index("all specs met")].count("\x1b[1A\x1b[2K")
    drawn = last[: last.index(SHOW)].split("\x1b[1A")[0].count("\n")
    assert erased == drawn > 8


def test_live_table_stays_where_the_result_goes_elsewhere():
    read, write = os.pipe()
    shown = in_terminal(script(), stdout=write)
    os.close(write)
    with open(read, encoding="utf-8") as result:
        text = result.read()
    assert ESCAPE not in text
    assert text == render_report(
        sample_summary(failed_trial(0), missing_measure_trial(1), good_trial(2))
    )
    assert "all specs met" not in shown
    assert "412 V/V" in shown[shown.rindex("best so far") :]


def test_elapsed_time_goes_on_while_a_simulation_lasts():
    shown = in_terminal(script(extra="time.sleep(1.2)"))
    times = {float(t) for t in re.findall(r"a second, ([\d.]+) s", shown)}
    assert len(times) >= 4
    assert max(times) > 0.9


def test_many_trials_are_not_drawn_one_by_one():
    trials = "[display.update(good_trial(i), None) for i in range(3, 2000)]"
    shown = in_terminal(script(extra=trials))
    assert shown.count("best so far") < 30


def test_note_stands_above_the_table():
    shown = in_terminal(script(extra="display.note('the ledger [was] salvaged')"))
    assert "the ledger [was] salvaged" in visible(shown)


@pytest.mark.parametrize("columns", [60, 40])
def test_narrow_terminal_loses_no_spec(columns):
    lines = visible(in_terminal(script(), columns=columns))
    assert max(map(len, lines)) <= columns
    live = lines[: next(n for n, line in enumerate(lines) if "all specs met" in line)]
    for name in ("gain", "ugbw", "pm", "ibias", "vout", "fom"):
        assert any(line.startswith(f"{name} ") for line in live)


def test_terminal_without_unicode_gets_ascii():
    extra = "display.note('µ'); display.update(failed_trial(3, reason='Ω and µ'), None)"
    shown = in_terminal(script(extra=extra), PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert shown.isascii()
    assert "Traceback" not in shown
    assert "last failure: no convergence: Ohm and u" in shown


def test_interrupt_gives_the_cursor_back():
    shown = in_terminal(script(extra="display.note('go'); time.sleep(15)"), interrupt_at="go\r\n")
    assert "KeyboardInterrupt" in shown
    assert shown.rfind(SHOW) > shown.rfind(HIDE)
    assert shown.index("KeyboardInterrupt") > shown.rfind(SHOW)


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_escape_reaches_a_terminal_that_wants_none(environ):
    shown = in_terminal(script(), **environ)
    assert ESCAPE not in shown
    assert "two_stage: all specs met (5 of 5)" in shown


def test_empty_no_color_is_none():
    assert ESCAPE in in_terminal(script(), NO_COLOR="")


def test_quiet_shows_nothing_on_a_terminal():
    assert in_terminal(script("quiet", extra="display.note('x')")) == ""


def test_json_leaves_stdout_alone():
    read, write = os.pipe()
    shown = in_terminal(script("json", extra="sys.stdout.write('{}\\n')"), stdout=write)
    os.close(write)
    with open(read, encoding="utf-8") as stdout:
        assert stdout.read() == "{}\n"
    assert "two_stage: best so far" in shown


def test_json_on_the_terminal_is_not_drawn_over():
    shown = in_terminal(script("json"))
    assert shown == "m3eda: 1 of 3 simulations failed: 1 no convergence\r\n"


# In a log


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_log_holds_the_result_and_nothing_else():
    err, out = io.StringIO(), io.StringIO()
    display = make_display(err=err, out=out, environ={"TERM": "xterm"})
    trials = [failed_trial(0), good_trial(1)]
    with display:
        display.start(sample_design(), 500)
        for trial in trials:
            display.update(trial, None)
        display.finish(sample_summary(*trials))
    assert err.getvalue() == ""
    assert out.getvalue() == render_report(sample_summary(*trials))


def test_long_run_logs_a_line_every_half_minute():
    err, clock = io.StringIO(), Clock()
    display = LogDisplay(err, None, {}, clock)
    display.start(sample_design(), 500)
    for number in range(100):
        clock.now += 1.0
        display.update(missing_measure_trial(number), None)
    assert err.getvalue().splitlines() == [
        f"m3eda: {n} of 500 simulations, 1 a second, {t}; best meets 2 of 5 specs"
        for n, t in ((30, "30.0 s"), (60, "1 min 00 s"), (90, "1 min 30 s"))
    ]


def test_rate_counts_new_simulations_alone():
    clock = Clock()
    display = LogDisplay(io.StringIO(), None, {}, clock)
    display.start(sample_design(), 50)
    for number in range(20):
        display.update(good_trial(number), None, replayed=number < 16)
    clock.now = 2.0
    assert display.progress() == "20 of 50 simulations (16 from the ledger), 2 a second, 2.0 s"


def test_log_of_json_tells_failures_alone():
    err = io.StringIO()
    display = make_display("json", err=err, out=io.StringIO(), environ={})
    display.start(sample_design(), 5)
    display.finish(sample_summary(failed_trial(0, State.TIMEOUT), good_trial(1)))
    assert err.getvalue() == "m3eda: 1 of 2 simulations failed: 1 timeout\n"


def test_files_are_told_as_written_or_unchanged(tmp_path):
    out = io.StringIO()
    old, new = tmp_path / "a.cir", tmp_path / "sizing.json"
    display = make_display(err=io.StringIO(), out=out, environ={})
    display.finish(sample_summary(good_trial()), Written((old, new), (new,)))
    assert out.getvalue().splitlines()[-2:] == [f"unchanged {old}", f"wrote {new}"]


def test_stream_without_unicode_takes_any_path():
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    display = make_display(err=io.StringIO(), out=out, environ={})
    display.finish(sample_summary(good_trial()), Written((Path("ü.cir"),), ()))
    assert raw.getvalue().endswith(b"unchanged \\xfc.cir\n")


@pytest.mark.parametrize(
    ("kind", "tty", "environ", "expected"),
    [
        ("auto", True, {"TERM": "xterm"}, LiveDisplay),
        ("auto", True, {"TERM": "xterm", "NO_COLOR": "1"}, LogDisplay),
        ("auto", True, {"TERM": "dumb"}, LogDisplay),
        ("auto", True, {}, LogDisplay),
        ("auto", False, {"TERM": "xterm"}, LogDisplay),
        ("json", True, {"TERM": "xterm"}, LiveDisplay),
        ("quiet", True, {"TERM": "xterm"}, QuietDisplay),
    ],
)
def test_display_suits_the_stream(kind, tty, environ, expected):
    err = io.StringIO()
    err.isatty = lambda: tty
    assert type(make_display(kind, err=err, out=io.StringIO(), environ=environ)) is expected


def test_closed_stream_is_no_terminal():
    err = io.StringIO()
    err.close()
    assert isinstance(make_display(err=err, environ={"TERM": "xterm"}), LogDisplay)


def test_on_a_low_screen_specs_not_met_stay():
    rows = spec_rows(sample_design(), good_trial(0, ibias=2e-3))
    chosen, hidden = fitting(rows, 3)
    assert [row.name for row in chosen] == ["gain", "ibias", "fom"]
    assert hidden == 3


def test_rich_is_not_imported_for_logs():
    code = (
        "import io, sys; import m3eda.report.terminal as t\n"
        "t.make_display(err=io.StringIO(), out=io.StringIO())\n"
        "sys.exit('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=20)
    assert done.returncode == 0


def test_refresh_is_at_most_eight_a_second():
    assert 0 < terminal.REFRESHES_PER_SECOND <= 8
