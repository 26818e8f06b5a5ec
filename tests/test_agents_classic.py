"""random, cma and trust-region: the contract, and what each promises of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from m3eda.agents.cma import Cma
from m3eda.agents.history import Cost, History
from m3eda.agents.mlp import Ensemble
from m3eda.agents.random import Random
from m3eda.agents.trust_region import TrustRegion
from m3eda.design.space import Space
from m3eda.design.types import Objective, Parameter
from m3eda.errors import DesignError
from m3eda.testing.agents import AgentContract, continuous, design_of, drive, failed, simulate


class TestRandomContract(AgentContract):
    @pytest.fixture
    def factory(self):
        return Random


class TestCmaContract(AgentContract):
    @pytest.fixture
    def factory(self):
        return Cma


class TestTrustRegionContract(AgentContract):
    @pytest.fixture
    def factory(self):
        return TrustRegion


class TestPublishedTrustRegionContract(AgentContract):
    @pytest.fixture
    def factory(self):
        return lambda design, seed, options: TrustRegion(
            design, seed, {"variant": "published", **options}
        )
