"""Plugins that break: one clear line that names the plugin, and nothing lost."""

from __future__ import annotations

import json

import pytest

from tests.helpers import m3eda, only_line, plugin

pytestmark = pytest.mark.simulator

NOT_MET, BAD_INPUT, SIMULATOR, STORAGE, INTERRUPTED = 1, 2, 3, 4, 130

AGENT = """\
from m3eda.hookspecs import hookimpl
class Mine:
    def __init__(self, design, seed, options):
        {init}
    def ask(self, n):
        {ask}
    def tell(self, trials):
        {tell}
@hookimpl
def register_agents(register):
    register("mine", Mine)
"""

AGENTS = {
    "cannot be built": (
        {"init": "1 / 0"},
        " cannot be built: ZeroDivisionError: division by zero (plug.py:4)",
    ),
    "fails to ask": ({"ask": "{}['x']"}, ": ask() raised KeyError: 'x' (plug.py:6)"),
    "exits": ({"ask": "exit(0)"}, ": ask() raised SystemExit: 0 (plug.py:6)"),
    "gives words": (
        {"ask": "return ['r', 'c']"},
        ": ask() gave a list with a str (expected a list of mappings, name to value)",
    ),
    "fails to listen": (
        {"tell": "1 / 0"},
        ": tell() raised ZeroDivisionError: division by zero (plug.py:8)",
    ),
    "names nothing known": (
        {"ask": "return [{'rr': 1e3}]"},
        ": ask() gave values for rr (expected one for each of r, c)",
    ),
    "names too little": (
        {"ask": "return [{'r': 1e3}]"},
        ": ask() gave values for r (expected one for each of r, c)",
    ),
    "gives nan": (
        {"ask": "return [{'r': 1e3, 'c': float('nan')}]"},
        ": ask() gave c = nan (expected 1e-10 to 1e-07)",
    ),
    "leaves the range": (
        {"ask": "return [{'r': 1e3, 'c': 1.0}]"},
        ": ask() gave c = 1.0 (expected 1e-10 to 1e-07)",
    ),
    "leaves the grid": (
        {"ask": "return [{'r': 1234.0, 'c': 1e-9}]"},
        ": ask() gave r = 1234.0 (expected one of its 49 choices, such as 1000.0)",
    ),
    "gives a word": (
        {"ask": "return [{'r': 1e3, 'c': '1n'}]"},
        ": ask() gave c = '1n' (expected 1e-10 to 1e-07)",
    ),
    "gives no list": (
        {"ask": "return None"},
        ": ask() gave a NoneType (expected a list of mappings, name to value)",
    ),
    "gives one mapping": (
        {"ask": "return {'r': 1e3, 'c': 1e-9}"},
        ": ask() gave a dict (expected a list of mappings, name to value)",
    ),
}


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_that(rc, here, name):
    parts, line = AGENTS[name]
    usual = {"init": "pass", "ask": "return [{'r': 1e3, 'c': 1e-9}]", "tell": "pass"}
    plugin(rc, AGENT.format(**{**usual, **parts}))
    done = here("size", "design.yaml", "--agent", "mine")
    assert only_line(done) == f"agent mine{line}"
    assert done.returncode == BAD_INPUT


@pytest.mark.parametrize("ask", ["return []", "return [{'r': 1e3, 'c': 1e-9}]"])
def test_an_agent_with_nothing_new_ends_the_run(rc, here, ask):
    plugin(rc, AGENT.format(init="pass", ask=ask, tell="pass"))
    done = here("size", "design.yaml", "--agent", "mine", "--json")
    assert json.loads(done.stdout)["run"]["ended"] == "exhausted"
    assert done.returncode == NOT_MET


SIMULATOR_PLUGIN = """\
from m3eda.hookspecs import hookimpl
from m3eda_plugins.ngspice import ngspice
class Mine:
    name = "mine"
    calls = 0
    def __init__(self, options):
        self.inner = ngspice(options)
    def available(self):
        return "mine-1"
    def run(self, deck, rundir, timeout):
        self.calls += 1
        {fault}
        return self.inner.run(deck, rundir, timeout)
@hookimpl
def register_simulators(register):
    register("mine", Mine)
"""


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (
            "1 / 0",
            SIMULATOR,
            "simulator mine raised ZeroDivisionError: division by zero (plug.py:12)",
        ),
        ("exit(0)", SIMULATOR, "simulator mine raised SystemExit: 0 (plug.py:12)"),
        ("raise BaseException('odd')", SIMULATOR, "simulator mine raised BaseException: odd"),
        ("return None", SIMULATOR, "simulator mine gave a NoneType, not Waveforms"),
        (
            "from m3eda.simulate.types import SimulationFailed as F, State; "
            "raise F(State.COMPLETE, '2\\nlines')",
            SIMULATOR,
            "ac: crash: 2 lines (so failed each of the first 5 points",
        ),
        ("open('/gone/x')", STORAGE, "/gone/x: simulator mine stopped: No such file or directory"),
    ],
)
def test_a_simulator_that_always_fails_is_one_line_with_its_name(rc, here, fault, code, words):
    plugin(rc, SIMULATOR_PLUGIN.format(fault=fault))
    done = here("size", "design.yaml", "--simulator", "mine")
    assert words in only_line(done)
    assert done.returncode == code


def test_a_simulator_that_fails_once_costs_one_trial_and_not_the_run(hopeless):
    plugin(hopeless, SIMULATOR_PLUGIN.format(fault="assert self.calls != 7, 'once'"))
    done = m3eda("size", "design.yaml", "--simulator", "mine", "--stream", cwd=hopeless)
    assert done.returncode == NOT_MET
    lines = [json.loads(line) for line in done.stdout.splitlines()[:-1]]
    failed = [line for line in lines if line["state"] != "complete"]
    assert [line["number"] for line in failed] == [6]
    assert "simulator mine raised AssertionError: once (plug.py:12)" in failed[0]["reason"]


def test_a_mended_simulator_is_asked_again(rc, here):
    plugin(rc, SIMULATOR_PLUGIN.format(fault="1 / 0"))
    command = ("size", "design.yaml", "--simulator", "mine")
    assert here(*command).returncode == SIMULATOR
    plugin(rc, SIMULATOR_PLUGIN.format(fault="pass"))
    assert here(*command).returncode == 0


def test_a_traceback_is_there_for_plugin_authors(rc):
    plugin(rc, AGENT.format(init="pass", ask="1 / 0", tell="pass"))
    done = m3eda("size", "design.yaml", "--agent", "mine", cwd=rc, M3EDA_TRACEBACK="1")
    assert "ZeroDivisionError" in done.stderr.partition("m3eda: ")[0]
    assert done.returncode == BAD_INPUT
