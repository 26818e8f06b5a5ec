"""The whole command on a terminal: a pseudo-terminal with a screen of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.helpers import changed

pytestmark = [
    pytest.mark.simulator,
    pytest.mark.skipif(not shutil.which("setsid"), reason="needs setsid (util-linux)"),
]

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
CONTROL = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


class Terminal:
    """`m3eda` with a terminal of `columns` as its input, output and error."""

    def __init__(self, arguments, cwd, columns, environment) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        unwanted = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
        kept = {key: value for key, value in os.environ.items() if key not in unwanted}
        # setsid makes the terminal the controlling one, so that Ctrl-C becomes a signal
        self.process = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, "-m", "m3eda", *map(str, arguments)],
            cwd=cwd, env={**kept, "TERM": "xterm-256color", **environment},
            stdin=slave, stdout=slave, stderr=slave,
        )  # fmt: skip
        os.set_blocking(self.master, False)
        self.text = ""

    def read(self) -> str:
        """What has been written since the last time."""
        try:
            new = os.read(self.master, 1 << 16).decode()
        except BlockingIOError:
            time.sleep(0.01)
            new = ""
        self.text += new
        return new

    def wait_for(self, pattern: str, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            assert time.monotonic() < end, self.text
            self.read()

    def finish(self, seconds: float = 60.0) -> int:
        """Read to the end; the exit code."""
        end = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < end, self.text
            self.read()
        while self.read():
            pass
        return self.process.returncode

    @property
    def sane(self) -> bool:
        """True where the terminal is as it was, with its cursor visible."""
        cursor = self.text.rfind(HIDE) <= self.text.rfind(SHOW)
        return cursor and termios.tcgetattr(self.slave) == self.before

    @property
    def lines(self) -> list[str]:
        """What was written, without colours and movements."""
        return [line.rstrip() for line in re.split(r"[\r\n]+", CONTROL.sub("", self.text))]


@contextmanager
def terminal(*arguments, cwd, columns=100, **environment) -> Iterator[Terminal]:
    running = Terminal(arguments, cwd, columns, environment)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.process.wait(10)
        os.close(running.master)
        os.close(running.slave)


COUNTS = re.compile(r"(\d+) of (?:400|100000) simulations")


@pytest.fixture
def endless(rc):
    """A design whose run lasts until it is stopped."""
    changed(rc, "far: {max: 0.011}", "far: {max: 1u}")
    changed(rc, "budget: 400", "budget: 100000")
    return rc


def test_a_live_table_and_then_the_result(rc):
    with terminal("size", "design.yaml", cwd=rc) as screen:
        assert screen.finish() == 0
        assert screen.sane
    assert HIDE in screen.text
    lines = screen.lines
    first, result = lines.index("rc: best so far"), lines.index("rc: all specs met (2 of 2)")
    assert first < result
    assert any(COUNTS.match(line) for line in lines[first:result])
    assert any(re.match(r"f3db +10 kHz \+- 200 Hz .* yes$", line) for line in lines[result:])
    assert f"wrote {rc}/runs/rc/sizing.json" in lines[result:]


def test_the_live_table_counts_and_keeps_each_line_whole_on_a_narrow_terminal(endless):
    with terminal("size", "design.yaml", cwd=endless, columns=50) as screen:
        ends = time.monotonic() + 30.0
        while len(set(COUNTS.findall(screen.text))) < 3 and time.monotonic() < ends:
            screen.read()
        os.write(screen.master, b"\x03")
        assert screen.finish() == 130
        assert screen.sane
    counts = [int(count) for count in COUNTS.findall(screen.text)]
    assert counts == sorted(counts)
    assert len(set(counts)) > 2
    assert "rc: SPECS NOT MET (1 of 2)" in screen.lines
    lines = [line.removesuffix("^C") for line in screen.lines]  # as the terminal shows the key
    table = [line for line in lines if not line.startswith(("wrote ", "m3eda: "))]
    assert max(map(len, table)) <= 50
    assert any(re.match(r"far .* NO$", line) for line in table)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_no_colour_and_no_movement_where_they_are_unwelcome(rc, environment):
    with terminal("size", "design.yaml", cwd=rc, **environment) as screen:
        assert screen.finish() == 0
        assert screen.sane
    assert "\x1b" not in screen.text
    assert "rc: all specs met (2 of 2)" in screen.lines


def test_quiet_says_nothing(rc):
    with terminal("size", "design.yaml", "--quiet", cwd=rc) as screen:
        assert screen.finish() == 0
        assert screen.sane
    assert screen.text == ""


def test_ctrl_c_leaves_the_terminal_as_it_was(endless):
    with terminal("size", "design.yaml", "--jobs", 2, cwd=endless) as screen:
        screen.wait_for("[1-9] of 100000 simulations")
        os.write(screen.master, b"\x03")
        assert screen.finish() == 130
        assert screen.sane
    assert any(line.startswith("rc: SPECS NOT MET") for line in screen.lines)
    assert screen.lines[-2] == (
        "m3eda: interrupted; run the same command again to go on where it stopped"
    )
    assert "Traceback" not in screen.text


def test_an_error_in_mid_run_leaves_the_terminal_as_it_was(rc):
    (rc / "plug.py").write_text(
        "from m3eda.agents.random import Random\nfrom m3eda.hookspecs import hookimpl\n"
        "class Late(Random):\n    def tell(self, trials):\n"
        "        if trials[-1].number >= 9:\n            raise RuntimeError('late')\n"
        "@hookimpl\ndef register_agents(register):\n    register('late', Late)\n"
    )
    changed(rc, "agent:", "plugins: [plug.py]\nagent:")
    with terminal("size", "design.yaml", "--agent", "late", cwd=rc) as screen:
        assert screen.finish() == 2
        assert screen.sane
    assert HIDE in screen.text
    message = "".join(screen.lines[-3:])
    assert message.endswith("agent late: tell() raised RuntimeError: late (plug.py:6)")
