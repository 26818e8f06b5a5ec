"""Every measure that comes with m3eda keeps the contract that an outsider's must keep."""

from __future__ import annotations

import pytest

from m3eda.design.functions import MeasureFunction
from m3eda.plugins import Plugins
from m3eda.testing.measures import MeasureContract

BUILT_IN = Plugins().measures


class TestBuiltIn(MeasureContract):
    @pytest.fixture(params=sorted(BUILT_IN))
    def function(self, request: pytest.FixtureRequest) -> MeasureFunction:
        return BUILT_IN[request.param]
