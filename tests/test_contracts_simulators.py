"""The simulators that come with m3eda keep the contracts that an outsider's must keep."""

from __future__ import annotations

import pytest
from m3eda_plugins.ngspice import ngspice, ngspice_batch

from m3eda.simulate.types import Simulator, WarmSimulator
from m3eda.testing.sessions import SessionContract
from m3eda.testing.simulators import SimulatorContract

pytestmark = pytest.mark.simulator


class TestNgspiceBatch(SimulatorContract):
    @pytest.fixture
    def simulator(self) -> Simulator:
        return ngspice_batch({})


class TestNgspice(SessionContract):
    """Its `run` is that of ngspice-batch, above."""

    @pytest.fixture
    def simulator(self) -> WarmSimulator:
        return ngspice({})
