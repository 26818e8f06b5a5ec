"""`auto`: the agent measured best for the kind of space at hand (`bench/agents.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from m3eda.agents.bo import Bo
from m3eda.design.types import Design, Sizing
from m3eda.simulate.trial import Trial


class Auto:
    """Bayesian sizing from the first point to the last."""

    def __init__(self, design: Design, seed: int, options: Mapping[str, Any] | None = None) -> None:
        self._agent = Bo(design, seed, options)

    def ask(self, n: int) -> list[Sizing]:
        return self._agent.ask(n)

    def tell(self, trials: Sequence[Trial]) -> None:
        self._agent.tell(trials)
