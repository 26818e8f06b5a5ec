"""The contract of the simulator pyspice, for tests/test_pyspice.py to run in a fresh process.

Its sessions are forks of the process that runs it, where no other test may have loaded libngspice.
"""

from __future__ import annotations

import PySpice.Spice.NgSpice.Shared  # noqa: F401  imported once, for all sessions
import pytest
from m3eda_plugins.pyspice.simulator import PySpiceNgspice

from m3eda.simulate.types import Simulator
from m3eda.testing.sessions import WarmSimulatorContract

SIMULATOR = PySpiceNgspice({})
"""One for all: to find out its version is to start a process, which takes as long as a run."""


class TestPySpice(WarmSimulatorContract):
    sized = ("amplifier",)  # its sessions are those of ngspice, on a library of PySpice's

    @pytest.fixture
    def simulator(self) -> Simulator:
        return SIMULATOR
