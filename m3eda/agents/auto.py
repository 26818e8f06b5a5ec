"""`auto`: what was measured best, by what is known of the design at hand.

Gaussian processes from the first model on (`bo`). What is decided, once each, from the trials told:

- How many points one search of the models yields, by the time that a sizing took in the start
  design: several where a back end takes a millisecond, one for every simulator in a process of its
  own. The limit lies between the two, so that noise of the clock does not decide.
- Where the models have found nothing better for long, CMA-ES goes on from the best trial (`cma`).

Rules and figures: `bench/agents.py`, `bench/spaces.py`.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from m3eda.agents.acquisition import Model
from m3eda.agents.bo import Bo
from m3eda.agents.cma import Cma
from m3eda.agents.history import take_options
from m3eda.agents.options import real
from m3eda.design.types import Design, Sizing
from m3eda.simulate.trial import Trial
from m3eda.units import format_engineering

OPTIONS: Mapping[str, Any] = {"start": 0, "simulation_seconds": 0.0}
"""start: as for `bo`. simulation_seconds: what a sizing takes to simulate; 0 takes what the start
design took."""
BURST, BURST_BELOW = 4, 0.002
"""Points that one search yields, and seconds a sizing below which it does."""
HAND_OVER = 300
"""Trials without a better one at which `cma` takes over."""


class Auto:
    """Bayesian sizing that thinks as long as a simulation is worth.

    A proposal depends on the design, the seed, the options and the trials told, the seconds of the
    first of them included.
    """

    def __init__(self, design: Design, seed: int, options: Mapping[str, Any] | None = None) -> None:
        chosen = take_options("auto", options or {}, OPTIONS)
        self._fixed = real(chosen, "simulation_seconds")
        self._design, self._seed = design, seed
        self._bo = Bo(design, seed, {"start": chosen["start"]})
        self._cma: Cma | None = None
        self._trials: list[Trial] = []
        self._seconds: float | None = None

    def ask(self, n: int) -> list[Sizing]:
        if self._seconds is None and self._bo.started and self._trials:
            self._decide()
        if self._cma is None and self._bo.stalled >= HAND_OVER:
            self._cma = Cma(self._design, self._seed, {})
            self._cma.tell(self._trials)
        return self._bo.ask(n) if self._cma is None else self._cma.ask(n)

    def tell(self, trials: Sequence[Trial]) -> None:
        self._trials += trials
        self._bo.tell(trials)
        if self._cma is not None:
            self._cma.tell(trials)

    def retarget(self, design: Design, trials: Sequence[Trial]) -> bool:
        """Go on with other specs: `trials` replace those told."""
        self._design, self._trials = design, list(trials)
        if self._cma is not None:
            self._cma = Cma(design, self._seed, {})
            self._cma.tell(trials)
        return self._bo.retarget(design, trials)

    def models(self, measures: Collection[str]) -> list[Model]:
        """What is believed of some measures, and of the validity of all."""
        return self._bo.models(measures)

    def describe(self) -> str:
        """What it does and why, in one line."""
        if self._cma is not None:
            return f"CMA-ES, after {HAND_OVER} trials in which the models found nothing better"
        if self._seconds is None:
            return "start design, then Gaussian processes"
        points = "one point" if self._bo.burst == 1 else f"{self._bo.burst} points"
        if not self._seconds:
            return f"Gaussian processes, {points} a search"
        took = format_engineering(self._seconds, "s", 2)
        return f"Gaussian processes, {points} a search, as a sizing takes {took}"

    def doubt(self) -> str:
        """A word on a target that looks out of reach, else an empty string."""
        return self._bo.doubt()

    def _decide(self) -> None:
        """Fix how many points a search yields."""
        first = self._trials[: self._bo.start_count]
        took = [sum(r.seconds for r in trial.results.values()) for trial in first]
        self._seconds = self._fixed or statistics.median(took)
        self._bo.burst = BURST if 0.0 < self._seconds < BURST_BELOW else 1
