"""The contract of a simulator on Xyce: on recordings of a real one, and on a real one on PATH."""

from __future__ import annotations

import shutil

import pytest
from m3eda_plugins.xyce import xyce

from m3eda.testing.sessions import WarmSimulatorContract
from m3eda.testing.simulators import SimulatorContract
from tests.fake_xyce import install


class TestRecordedXyce(SimulatorContract):
    @pytest.fixture
    def simulator(self, tmp_path_factory):
        return xyce({"program": str(install(tmp_path_factory.mktemp("xyce") / "bin"))})


@pytest.mark.skipif(shutil.which("Xyce") is None, reason="no Xyce is on PATH")
class TestRealXyce(WarmSimulatorContract):
    @pytest.fixture
    def simulator(self):
        return xyce({})
