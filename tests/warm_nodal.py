"""A plugin whose sessions misbehave on demand: the example simulator, kept running.

Option `fault` says how; `m3eda plugins check` runs the contract of sessions alone on it.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import replace
from pathlib import Path

from m3eda.hookspecs import hookimpl
from m3eda.simulate.types import OnlyCold, SimulationFailed, State

ROOT = Path(__file__).resolve().parent.parent


def _nodal():
    path = ROOT / "examples" / "custom_simulator" / "nodal.py"
    spec = importlib.util.spec_from_file_location("warm_nodal_base", path)
    module = sys.modules.setdefault(spec.name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module.Nodal


class WarmNodal(_nodal()):
    name = "warm-nodal"

    def __init__(self, options):
        super().__init__({})
        self.fault = options.get("fault", "")
        self.ahead = 4 if self.fault == "expect" else 0

    def available(self):
        return "warm-nodal-1"

    def open(self, rundir, *, strict):
        if self.fault == "closed":
            raise OnlyCold("there is no library")
        return (Expecting if self.fault == "expect" else Session)(self, rundir)


class Session:
    def __init__(self, simulator, rundir):
        self.broken = False
        self.simulator, self.rundir = simulator, rundir
        self.count = 0
        self.kept = []

    def run(self, deck):
        fault = self.simulator.fault
        self.count += 1
        if fault == "cold":
            raise OnlyCold("never")
        if fault == "dies":
            os._exit(3)
        if fault == "files":
            self.kept.append(os.dup(0))
        try:
            found = self.simulator.run(deck, self.rundir, 10.0)
        except SimulationFailed as failure:
            if fault == "state" and failure.state is State.VECTOR_MISSING:
                raise SimulationFailed(State.CRASH, "it went wrong") from failure
            if fault == "lines":
                raise SimulationFailed(failure.state, "two\nlines") from failure
            raise
        factor = 1.0 + 1e-9 * self.count if fault == "history" else 1.0
        return replace(found, analyses=tuple(scaled(each, factor) for each in found.analyses))

    def close(self):
        return


class Expecting(Session):
    """Answers with what was heard of first, whatever is asked."""

    def expect(self, decks):
        self.heard = list(decks)

    def run(self, deck):
        return super().run(self.heard.pop(0) if getattr(self, "heard", None) else deck)


def scaled(analysis, factor):
    vectors = {k: y if k == analysis.scale else factor * y for k, y in analysis.vectors.items()}
    return replace(analysis, vectors=vectors)


@hookimpl
def register_simulators(register):
    register("warm-nodal", WarmNodal)


def contract(kind, name):
    from m3eda.testing.sessions import SessionContract

    class NodalSessions(SessionContract):
        test_a_killed_session_leaves_no_process = None  # it ends by itself

    return NodalSessions
