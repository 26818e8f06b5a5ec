"""Uniform random search: the baseline that every other agent must beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m3eda.agents.history import History, take_options
from m3eda.design.types import Design, Sizing
from m3eda.simulate.trial import Trial


class Random:
    """Distinct sizings, uniform in each parameter's own scale; the designer's start goes first."""

    def __init__(self, design: Design, seed: int, options: Mapping[str, Any]) -> None:
        take_options("random", options, {})
        self._history = History(design, seed)

    def ask(self, n: int) -> list[Sizing]:
        start = self._history.start()
        drawn = self._history.draw(n)
        points = self._history.new_of(np.vstack([start, drawn]))
        return self._history.propose(points[:n])

    def tell(self, trials: Sequence[Trial]) -> None:
        self._history.tell(trials)
