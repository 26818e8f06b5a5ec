"""Small designs, simulators that need no program, and the command line as a user runs it."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from m3eda.design.types import (
    AgentChoice,
    Design,
    Limits,
    Measure,
    Parameter,
    SimulatorChoice,
    Spec,
    Testbench,
)
from m3eda.ledger import Ledger
from m3eda.simulate.types import Analysis, Deck, Waveforms
from tests.command_server import Server

TEMPLATE = "* divider\nv1 in 0 1\nr1 in out {{ r1 }}\nr2 out 0 {{ r2 }}\n.op\n.end\n"


def hide_module(folder: Path, name: str) -> None:
    """Have commands with `folder` as their PYTHONPATH find no module of that name."""
    (folder / "sitecustomize.py").write_text(
        "import importlib.util as u, sys\n"
        "find = u.find_spec\n"
        f"u.find_spec = lambda name, *a: None if name == {name!r} else find(name, *a)\n"
        f"sys.modules[{name!r}] = None  # an import of it raises\n"
    )


def divider(folder: Path, **changes) -> Design:
    """A resistive divider: v(out) = r2 / (r1 + r2), i = 1 / (r1 + r2)."""
    template = folder / "divider.cir.j2"
    template.write_text(TEMPLATE)
    design = {
        "name": "divider",
        "path": folder / "design.yaml",
        "testbenches": {"op": Testbench("op", template)},
        "parameters": {
            "r1": Parameter("r1", 1e3, 1e6, scale="log"),
            "r2": Parameter("r2", 1e3, 1e6, scale="log"),
        },
        "measures": {
            "ratio": Measure("ratio", "op", "v(out)", unit="V"),
            "current": Measure("current", "op", "-i(v1)", unit="A"),
        },
        "specs": {
            "ratio": Spec("ratio", Limits(target=0.25, tolerance=0.02)),
            "current": Spec("current", Limits(maximum=5e-5)),
        },
        "simulator": SimulatorChoice("fake"),
        "agent": AgentChoice("random", budget=200),
    }
    return Design(**{**design, **changes})


class DividerSimulator:
    """Solves the divider from the deck's values, and can be told to misbehave."""

    name = "fake"

    def __init__(self, before: Callable[[Deck], None] | None = None) -> None:
        self.runs: list[Mapping[str, object]] = []
        self.before = before

    def available(self) -> str:
        return "fake-1"

    def run(self, deck: Deck, rundir: Path, timeout: float) -> Waveforms:
        if self.before is not None:
            self.before(deck)
        self.runs.append(dict(deck.values))
        r1, r2 = float(deck.values["r1"]), float(deck.values["r2"])
        vectors = {
            "v(out)": np.array([r2 / (r1 + r2)]),
            "i(v1)": np.array([-1.0 / (r1 + r2)]),
        }
        return Waveforms((Analysis("op", vectors),), seconds=1e-6)


RC = """\
* RC low-pass filter
v1 in 0 dc 0 ac 1
r1 in out {{ r }}
c1 out 0 {{ c }}
.ac dec 20 1 10meg
.end
"""
RC_DESIGN = """\
m3eda: 1
design: rc
testbenches: {ac: rc.cir.j2}
parameters:
  r: {min: 1k, max: 100k, series: E24, unit: Ohm}
  c: {min: 100p, max: 100n, scale: log, unit: F}
measures:
  f3db: {testbench: ac, expr: bandwidth_3db(v(out)), unit: Hz}
  far: {testbench: ac, expr: "gain_at(v(out), 1meg)", unit: V/V}
specs:
  f3db: {target: 10k, tolerance: 200}
  far: {max: 0.011}
agent: {name: random, budget: 400, seed: 3}
"""
"""Random search with this seed meets both specs at its 24th point."""


@functools.cache
def _server() -> Server:
    made = Server()
    atexit.register(made.close)
    return made


def m3eda(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`m3eda` in a process of its own, run to its end; with PYTHONHASHSEED, an interpreter too."""
    settings, argv = {**os.environ, **environment}, [*map(str, arguments)]
    if sys.platform == "linux" and _server().serves(settings):
        return _server().run(argv, cwd, settings, 120.0)
    return subprocess.run(
        [sys.executable, "-m", "m3eda", *argv], cwd=cwd, env=settings, capture_output=True,
        text=True, timeout=120, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def started(*arguments: object, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """`m3eda` in a process of its own, to be watched, interrupted or killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "m3eda", *map(str, arguments)],
        cwd=cwd, env={**os.environ, **environment}, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def write_rc(folder: Path) -> Path:
    """The RC filter's design and template in `folder`."""
    (folder / "rc.cir.j2").write_text(RC)
    (folder / "design.yaml").write_text(RC_DESIGN)
    return folder


def changed(folder: Path, before: str, after: str, file: str = "design.yaml") -> None:
    """Replace `before`, which must be there, in a file of `folder`."""
    text = (folder / file).read_text()
    assert before in text
    (folder / file).write_text(text.replace(before, after))


def build_flags() -> list[str]:
    """Options of pip: where a setuptools is here that builds wheels, it need not fetch one."""
    try:
        major = int(metadata.version("setuptools").partition(".")[0])
    except metadata.PackageNotFoundError:
        return []
    return ["--no-build-isolation"] if major >= 77 else []


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr, without the program's name."""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("m3eda: "), done.stderr
    return lines[0].removeprefix("m3eda: ")


COUNTING = """\
#!/bin/sh
[ "$1" = --version ] && exec {real} "$@"
{real} "$@"
code=$?
for deck; do :; done
cksum < "$deck" >> {log}
exit $code
"""


class CountingNgspice:
    """An `ngspice` first on PATH that notes each deck it has simulated."""

    def __init__(self, folder: Path) -> None:
        (folder / "bin").mkdir()
        self.log = folder / "simulated.log"
        program = folder / "bin" / "ngspice"
        program.write_text(COUNTING.format(real=shutil.which("ngspice"), log=self.log))
        program.chmod(0o755)
        self.path = f"{program.parent}:{os.environ['PATH']}"

    @property
    def decks(self) -> Counter[str]:
        return Counter(self.log.read_text().splitlines() if self.log.exists() else ())


def mount(*arguments: str) -> int:
    """The exit code of `mount`; 1 where there is no such program."""
    try:
        done = subprocess.run(["mount", *arguments], capture_output=True, timeout=10, check=False)
    except OSError:
        return 1
    return done.returncode


def trials(run: Path, segment: int = 1) -> list[tuple[Any, Any]]:
    """Sizing and measures of each trial of a recipe in a run directory, in order."""
    with Ledger(run, read_only=True) as ledger:
        return [(t.sizing, t.results["nominal"].measures) for t in ledger.trials(segment)]


def plugin(folder: Path, text: str) -> None:
    """Give the design in `folder` a plugin file of its own, plug.py."""
    (folder / "plug.py").write_text(text)
    if "plugins:" not in (folder / "design.yaml").read_text():
        changed(folder, "agent:", "plugins: [plug.py]\nagent:")
